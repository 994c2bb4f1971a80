//! The command line taken apart, as getopt_long(3) does it for CRIU: options before and after the command, `--name
//! VALUE` and `--name=VALUE`, `--no-name`, unambiguous beginnings of names, short options in one word (`-Rv4`).
//!
//! ```text
//! /etc/criu/default.conf ─> $HOME/.criu/default.conf ─> $CRIU_CONFIG_FILE ─> --config FILE ─> the command line
//! ```
//!
//! What comes later overrides (config.rs reads the files). What is wrong is told all at once.

pub(crate) mod config;
pub(crate) mod table;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use table::{OPTIONS, Opt, Takes};

/// An option that was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) option: &'static Opt,
    pub(crate) value: Value,
}

/// With what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    On,
    Off,
    Text(OsString),
}

/// A command line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) given: Vec<Given>,
    /// The command, and words that belong to it.
    pub(crate) words: Vec<OsString>,
    /// What follows `--`.
    pub(crate) rest: Vec<OsString>,
    /// Sentences about what is wrong with it.
    pub(crate) complaints: Vec<String>,
}

impl Line {
    /// Takes one apart; it does not hold the program's own name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut line = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_bytes() {
                b"--" => line.rest.extend(arguments.by_ref()),
                [b'-', b'-', name @ ..] => line.long(name, &mut arguments),
                [b'-', letters @ ..] if !letters.is_empty() => line.short(letters, &mut arguments),
                _ => line.words.push(argument),
            }
        }
        line
    }

    /// Whether an option is on.
    pub(crate) fn has(&self, name: &str) -> bool {
        let last = self.given.iter().rfind(|given| given.option.name == name);
        last.is_some_and(|given| given.value != Value::Off)
    }

    /// `name` or `name=value`.
    fn long(&mut self, text: &[u8], more: &mut impl Iterator<Item = OsString>) {
        let (name, attached) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (&text[..at], Some(OsStr::from_bytes(&text[at + 1..]).to_owned())),
            None => (text, None),
        };
        let shown = format!("--{}", name.escape_ascii());
        match find(name) {
            Err(why) => self.complaints.push(format!("{why} {shown}; see criu --help")),
            Ok((option, Value::Off)) if attached.is_none() => self.add(option, Value::Off),
            Ok((_, Value::Off)) => self.complaints.push(format!("{shown} takes no value")),
            Ok((option, _)) => self.with_value(option, &shown, attached, more),
        }
    }

    /// The letters of a word like `-Rv4`.
    fn short(&mut self, mut letters: &[u8], more: &mut impl Iterator<Item = OsString>) {
        while let [letter, rest @ ..] = letters {
            let shown = format!("-{}", letter.escape_ascii());
            let Some(option) = OPTIONS.iter().find(|option| option.short == Some(char::from(*letter))) else {
                self.complaints.push(format!("there is no option {shown}; see criu --help"));
                return;
            };
            letters = match option.takes {
                Takes::Switch | Takes::Order => rest,
                Takes::Value(_) | Takes::Maybe(_) => &[],
            };
            let attached =
                (letters.is_empty() && !rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
            self.with_value(option, &shown, attached, more);
        }
    }

    fn with_value(
        &mut self,
        option: &'static Opt,
        shown: &str,
        attached: Option<OsString>,
        more: &mut impl Iterator<Item = OsString>,
    ) {
        match (option.takes, attached) {
            (Takes::Switch | Takes::Order, Some(_)) => {
                self.complaints.push(format!("{shown} takes no value"));
            }
            (Takes::Switch | Takes::Order | Takes::Maybe(_), None) => self.add(option, Value::On),
            (Takes::Value(_) | Takes::Maybe(_), Some(text)) => self.add(option, Value::Text(text)),
            (Takes::Value(what), None) => match more.next() {
                Some(text) => self.add(option, Value::Text(text)),
                None => self.complaints.push(format!("{shown} needs a value: {what}")),
            },
        }
    }

    fn add(&mut self, option: &'static Opt, value: Value) {
        self.given.push(Given { option, value });
    }
}

/// The option that a name, or the beginning of just one name, means; off if that is what it says.
fn find(name: &[u8]) -> Result<(&'static Opt, Value), &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "there is no option")?;
    let exact = OPTIONS.iter().find(|option| option.name == name);
    if let Some(option) = exact {
        return Ok((option, Value::On));
    }
    if let Some(switch) = name.strip_prefix("no-").and_then(switch) {
        return Ok((switch, Value::Off));
    }
    // `track` is --track-mem; `no-shell` is --no-shell-job. The empty word would be anything.
    let mut begun: Vec<(&'static Opt, Value)> = Vec::new();
    begun.extend(
        OPTIONS.iter().filter(|option| option.name.starts_with(name)).map(|option| (option, Value::On)),
    );
    if let Some(off) = name.strip_prefix("no-") {
        let switches = OPTIONS.iter().filter(|option| option.takes == Takes::Switch);
        begun.extend(
            switches.filter(|option| option.name.starts_with(off)).map(|option| (option, Value::Off)),
        );
    }
    match (begun.pop(), begun.is_empty(), name.is_empty()) {
        (Some(only), true, false) => Ok(only),
        (Some(_), false, false) => Err("several options begin with"),
        _ => Err("there is no option"),
    }
}

fn switch(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name && option.takes == Takes::Switch)
}

impl Value {
    /// The text, if there is one.
    pub(crate) fn text(&self) -> Option<&OsStr> {
        match self {
            Self::Text(text) => Some(text),
            Self::On | Self::Off => None,
        }
    }
}

/// `criu --help`.
pub(crate) fn help() -> String {
    let mut text = String::from(HEAD);
    for Opt { name, short, takes, fate, about } in OPTIONS {
        let short = short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let value = match takes {
            Takes::Switch | Takes::Order => String::new(),
            Takes::Value(what) => format!(" {what}"),
            Takes::Maybe(what) => format!("[={what}]"),
        };
        let yet = if matches!(fate, table::Fate::NotYet(_)) { " (not supported yet)" } else { "" };
        text.push_str(&format!("  {:31} {about}{yet}\n", format!("{short}--{name}{value}")));
    }
    text
}

const HEAD: &str = "\
Usage:
  criu dump -t PID [-D DIR] [options]
  criu restore [-D DIR] [-d] [options]
  criu check [--feature NAME]
  criu cpuinfo dump|check [-D DIR]

This is rekindle behind CRIU's command line, for scripts and tools that call criu.
Not supported yet: criu pre-dump, page-server, lazy-pages, service, swrk, dedup, exec.

Options, before or after the command; --no-NAME takes most of those without a value
back. They may also stand in /etc/criu/default.conf and $HOME/.criu/default.conf,
one a line, without dashes.
";

/// A word as it can be shown.
pub(crate) fn shown(text: &OsStr) -> String {
    match text.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => text.as_bytes().escape_ascii().to_string(),
    }
}

/// An argument made of bytes.
fn argument(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
