//! The one error of this crate: which file, which line, what was expected there.

use thiserror::Error;

/// A `/proc` file that does not read as the kernel documents it.
///
/// Seen in practice when a file was read only in part, when the process vanished halfway, or when the text is
/// not from the kernel at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.sentence())]
pub struct ParseError {
    /// The file, as a pattern: `/proc/PID/maps`.
    pub file: &'static str,
    /// What was expected, and what stood there instead.
    pub what: String,
    /// The line, counted from 1; 0 when the complaint is about the file as a whole.
    pub line: usize,
}

impl ParseError {
    fn sentence(&self) -> String {
        match self.line {
            0 => format!("{}: {}", self.file, self.what),
            line => format!("{}, line {line}: {}", self.file, self.what),
        }
    }
}
