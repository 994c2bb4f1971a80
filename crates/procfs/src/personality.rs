//! `/proc/PID/personality`: the execution domain and its flags, personality(2), as eight hexadecimal digits.

use crate::ParseError;
use crate::text::{At, lines};

const FILE: &str = "/proc/PID/personality";

/// The number that personality(2) would return.
///
/// # Errors
/// Anything but one hexadecimal number of 32 bits.
pub fn parse(text: &[u8]) -> Result<u32, ParseError> {
    let at = At { file: FILE, line: 1 };
    at.hex(lines(FILE, text).next().map(|(_, line)| line), "a hexadecimal number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal() {
        assert_eq!(parse(b"00040000\n"), Ok(0x0004_0000)); // ADDR_NO_RANDOMIZE
        assert!(parse(b"").is_err());
        assert!(parse(b"100000000\n").is_err());
    }
}
