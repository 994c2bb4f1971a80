//! Why a command failed: lines for the log, each of which a tool may show to its user.

use rekindle::{Error, Refusal};
use std::io;

/// A failed command: one sentence or more, a line each.
#[derive(Debug)]
pub(crate) struct Failure {
    lines: Vec<String>,
}

impl Failure {
    /// It failed for this reason.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()] }
    }

    /// It failed for all of these.
    pub(crate) fn of(lines: Vec<String>) -> Self {
        Self { lines }
    }

    /// A call of ours failed.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        let text = error.to_string();
        Self::new(format!("{what}: {}", text.split(" (os error").next().unwrap_or_default()))
    }

    /// The sentences.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Says them to the log, as the last thing that it gets.
    pub(crate) fn tell(self) {
        self.into_lines().iter().for_each(|line| tracing::error!("{line}"));
    }

    /// All of it in one sentence.
    pub(crate) fn sentence(&self) -> String {
        self.lines.join("; ")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusals) => {
                Self::of(refusals.iter().map(Refusal::to_string).map(as_here).collect())
            }
            Error::DoesNotFit(reasons) => Self::of(reasons.into_iter().map(as_here).collect()),
            error => Self::of(error.to_string().lines().map(str::to_owned).collect()),
        }
    }
}

impl From<rekindle_foreground::Error> for Failure {
    fn from(error: rekindle_foreground::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Options that remedies name are those of rekindle's own command line; this one calls them otherwise, or lacks them.
const OPTIONS: [(&str, &str); 2] =
    [(", or pass --accept-changed-files", ""), ("--deleted-files-max", "--ghost-limit")];

fn as_here(line: String) -> String {
    OPTIONS.iter().fold(line, |line, (theirs, ours)| line.replace(theirs, ours))
}
