//! `/proc/PID/task/TID/children`: the children that a thread has forked (proc_tid_children(5); CONFIG_PROC_CHILDREN).
//! Pids with blanks between and behind them, no newline. Exact only while the children are stopped, as the page says.

use crate::ParseError;
use crate::text::{At, words};

/// The pids, in the order of the file.
///
/// # Errors
/// A word that is no pid.
pub fn parse(text: &[u8]) -> Result<Vec<i32>, ParseError> {
    let at = At { file: "/proc/PID/task/TID/children", line: 1 };
    words(text).map(|word| at.dec(Some(word), "a pid")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_and_blanks() {
        assert_eq!(parse(b"6224 41 "), Ok(vec![6224, 41]));
        assert_eq!(parse(b""), Ok(vec![]));
        assert!(parse(b"-1 ").is_err());
        assert!(parse(b"4294967296 ").is_err());
    }
}
