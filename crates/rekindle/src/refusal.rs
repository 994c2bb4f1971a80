//! Refusals: what cannot be captured, named, with what to do about it. All are collected before one is reported.

use serde::Serialize;
use std::fmt;

/// One thing that stands in the way of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A stable word for scripts, such as `fd-kind` or `mapping-device`.
    pub code: &'static str,
    /// The process.
    pub pid: i32,
    /// What it is about: `fd 7 (socket:[123])`, `mapping 7f00-8000 /dev/x`.
    pub subject: String,
    /// Why it cannot be captured.
    pub why: String,
    /// What the user can do.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, {}: {}", self.pid, self.subject, self.why)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// A list of refusals in the making, for one process.
#[derive(Debug, Default)]
pub struct Refusals {
    pid: i32,
    list: Vec<Refusal>,
}

impl Refusals {
    /// An empty list for a process.
    pub fn of(pid: i32) -> Self {
        Self { pid, list: Vec::new() }
    }

    /// Adds one.
    pub fn add(
        &mut self,
        code: &'static str,
        subject: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (subject, why, remedy) = (subject.into(), why.into(), remedy.into());
        self.list.push(Refusal { code, pid: self.pid, subject, why, remedy });
    }

    /// Adds others.
    pub fn extend(&mut self, others: Vec<Refusal>) {
        self.list.extend(others);
    }

    /// All of them.
    pub fn into_list(self) -> Vec<Refusal> {
        self.list
    }
}

/// Bytes of a name as text for a message: what is not UTF-8 is shown escaped.
pub(crate) fn show(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
