//! How things are written for people: sizes, times, names, tables; and how they get to standard output.

use crate::failure::Failure;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Prints to standard output. A reader who has gone away (`| head`) has what they wanted.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("writing to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Says something on standard error, if anybody is there to hear it. (`eprintln!` would panic if not.)
pub(crate) fn say(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Prints JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    print(&json_text(value)?)
}

/// A value as JSON, with a newline.
pub(crate) fn json_text(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::failed(format!("making JSON: {error}")))
}

/// Why a call failed, without the number that the standard library appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Whether somebody reads standard error as it comes.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A number of bytes: `512 B`, `34.1 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut amount = count as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while amount >= 1023.95 {
        let Some(next) = units.next() else { break };
        (amount, unit) = (amount / 1024.0, next);
    }
    if amount < 99.95 { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

/// A time: `350 us`, `12 ms`, `1.5 s`.
pub(crate) fn time(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        1_000_000..100_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

/// How many processes there are, where there is more than one.
pub(crate) fn tree(processes: usize) -> String {
    if processes == 1 { String::new() } else { format!("{}, ", count(processes, "process")) }
}

/// `1 thread`, `8 threads`, `2 processes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {noun}{plural}")
}

/// A large number with its thousands apart: `1 234 567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A name of Linux's, which is any bytes: what is not plain text is shown escaped.
pub(crate) fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// A command line, its arguments separated by zeros, as a shell would be given it.
pub(crate) fn command_line(arguments: &[u8]) -> String {
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments).split(|byte| *byte == 0);
    arguments.map(|argument| quoted(&name(argument))).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+./:=,@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// Rows with their columns aligned and `indent` before each; the last column is left as it is.
pub(crate) fn table(indent: &str, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text broken into lines of at most `width` characters (words longer than that apart), the lines after the first
/// behind `indent`.
pub(crate) fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(indent);
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// How wide standard output is, in characters; 100 when it is no terminal.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(100, |size| usize::from(size.ws_col).max(40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown =
            [0, 1023, 1024, 1536, 102_349, 1 << 20, (1 << 20) - 1, 35 << 20, 1 << 40, u64::MAX].map(bytes);
        let expected = [
            "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 KiB", "1.0 MiB", "1.0 MiB", "35.0 MiB", "1.0 TiB",
            "16.0 EiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn times() {
        let shown = [0, 999, 1_500, 48_300, 1_234_000, 250_000_000].map(|us| time(Duration::from_micros(us)));
        assert_eq!(shown, ["0 us", "999 us", "1.5 ms", "48 ms", "1.2 s", "250 s"]);
    }

    #[test]
    fn names_and_command_lines() {
        assert_eq!(name("caf\u{e9}".as_bytes()), "caf\u{e9}");
        assert_eq!(name(b"a\nb\xff"), r"a\nb\xff");
        assert_eq!(command_line(b"sh\0-c\0echo 'x'\0\0"), r"sh -c 'echo '\''x'\''' ''");
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(thousands(12), "12");
        assert_eq!(
            [count(1, "process"), count(2, "process"), count(0, "file")],
            ["1 process", "2 processes", "0 files"]
        );
    }

    #[test]
    fn tables_align_and_text_wraps() {
        let rows = [["a", "bbb", "last"], ["long", "b", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table("  ", &rows), "  a     bbb  last\n  long  b\n");
        assert_eq!(wrapped("one two three", 7, "> "), "one two\n> three");
        assert_eq!(wrapped("", 7, ""), "");
    }
}
