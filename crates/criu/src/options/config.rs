//! Configuration files: criu(8), "CONFIGURATION FILES". One long option a line, without dashes; a value is set apart by
//! white space, and may be in double quotes, where `\"` is a quote; `#` begins a comment.

use super::{Line, argument, find, shown};
use crate::options::table::Takes;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Read for everybody.
const SYSTEM_WIDE: &str = "/etc/criu/default.conf";
/// Read for one user, below the home directory.
const OF_USER: &str = ".criu/default.conf";
/// Longer ones are no configuration.
const LONGEST: u64 = 1 << 20;

/// What to do about a file that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Asked,
    IfThere,
}

/// A command line with what configuration files say put before it.
pub(crate) fn apply(line: Line) -> Line {
    let mut files: Vec<(PathBuf, Need)> = Vec::new();
    if !line.has("no-default-config") {
        files.push((SYSTEM_WIDE.into(), Need::IfThere));
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        files.extend(home.map(|home| (Path::new(&home).join(OF_USER), Need::IfThere)));
    }
    let named = std::env::var_os("CRIU_CONFIG_FILE").filter(|name| !name.is_empty());
    files.extend(named.map(|name| (name.into(), Need::Asked)));
    let asked = line.given.iter().rfind(|given| given.option.name == "config");
    files.extend(asked.and_then(|given| given.value.text()).map(|name| (name.into(), Need::Asked)));

    let mut all = Line::default();
    for (path, need) in files {
        match read(&path) {
            Ok(text) => parse(&text, &path, &mut all),
            Err(error) if error.kind() == ErrorKind::NotFound && need == Need::IfThere => {}
            Err(error) => {
                all.complaints
                    .push(format!("the configuration file {} cannot be read: {error}", path.display()));
            }
        }
    }
    all.given.extend(line.given);
    all.complaints.extend(line.complaints);
    Line { words: line.words, rest: line.rest, ..all }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is longer than a configuration may be"));
    }
    Ok(text)
}

fn parse(text: &[u8], path: &Path, all: &mut Line) {
    for (number, text) in text.split(|byte| *byte == b'\n').enumerate() {
        let place = format!("{}, line {}", path.display(), number + 1);
        let words = match words(text) {
            Ok(words) => words,
            Err(why) => {
                all.complaints.push(format!("{place}: {why}"));
                continue;
            }
        };
        let before = all.complaints.len();
        match words.as_slice() {
            [] => {}
            [name] => take(all, name, None),
            [name, value] => take(all, name, Some(value)),
            [_, _, extra, ..] => {
                let extra = extra.escape_ascii();
                all.complaints.push(format!("an option has one value; put it in quotes, or remove {extra}"));
            }
        }
        for complaint in all.complaints.iter_mut().skip(before) {
            *complaint = format!("{place}: {complaint}");
        }
    }
}

/// The words of a line. A quote opens and closes inside of a word too.
fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b'\\' if quoted && bytes.peek() == Some(&b'"') => {
                bytes.next();
                word.get_or_insert_default().push(b'"');
            }
            b'#' if !quoted => break,
            _ if byte.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    if quoted { Err("a quote is not closed") } else { Ok(words) }
}

fn take(all: &mut Line, name: &[u8], value: Option<&Vec<u8>>) {
    let known = find(name).map(|(option, _)| option);
    match known {
        // Which files are read is decided before they are.
        Ok(option) if option.name == "config" || option.name == "no-default-config" => {
            all.complaints.push(format!("{} belongs on the command line", option.name));
            return;
        }
        _ if name.first() == Some(&b'-') => {
            let shown = shown(OsStr::new(&argument(name.to_vec())));
            all.complaints.push(format!("options stand without dashes in a configuration file: {shown}"));
            return;
        }
        _ => {}
    }
    let attached = known.is_ok_and(|option| matches!(option.takes, Takes::Maybe(_)));
    let mut more: Vec<OsString> = Vec::new();
    let mut text = name.to_vec();
    match value {
        Some(value) if attached || known.is_ok_and(|option| option.takes == Takes::Switch) => {
            text.push(b'=');
            text.extend(value);
        }
        Some(value) => more.push(argument(value.clone())),
        None => {}
    }
    let mut more = more.into_iter();
    all.long(&text, &mut more);
    if more.next().is_some() {
        let name = name.escape_ascii();
        all.complaints.push(format!("{name} takes no value, or has one already"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<String>, Vec<String>) {
        let mut line = Line::default();
        parse(text.as_bytes(), Path::new("f"), &mut line);
        let told = line.given.iter().map(|given| format!("{} {:?}", given.option.name, given.value));
        (told.collect(), line.complaints)
    }

    #[test]
    fn lines_are_options() {
        let text = "tcp-established\n\n  #comment\nno-restore-sibling   # off\nmanage-cgroups ignore\n\
                    work-dir \"/a b/\\\"c\\\" \\d\"\nlog-file=x#y\nverbosity 4";
        let (given, complaints) = read_text(text);
        assert_eq!(complaints, [""; 0]);
        let expected = [
            "tcp-established On",
            "restore-sibling Off",
            "manage-cgroups Text(\"ignore\")",
            "work-dir Text(\"/a b/\\\"c\\\" \\\\d\")",
            "log-file Text(\"x\")",
            "verbosity Text(\"4\")",
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn wrong_lines_are_told_with_their_place() {
        let wrong = "bogus\n--shell-job\nconfig x\ntree 1 2\nwork-dir \"a\nshell-job yes\ntree\nlog-file=a b";
        let (given, complaints) = read_text(wrong);
        assert_eq!(given, ["log-file Text(\"a\")"]);
        for number in 1..=8 {
            assert!(complaints[number - 1].starts_with(&format!("f, line {number}: ")), "{complaints:?}");
        }
    }
}
