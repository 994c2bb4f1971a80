//! `/proc/PID/ns/*`: links whose text names a namespace, `pid:[4026531836]` (namespaces(7)). Two processes are in
//! the same namespace when kind and inode agree. `/proc/PID/fd/N` of a pipe or a socket reads alike:
//! `socket:[11917]`.

use crate::ParseError;
use crate::text::{At, bracketed_inode};

/// The kind (`pid`, `net`, ...) and the inode.
///
/// # Errors
/// Anything but `KIND:[NUMBER]`, such as `anon_inode:[eventfd]` or a path.
pub fn parse(link: &[u8]) -> Result<(&[u8], u64), ParseError> {
    let at = At::file("/proc/PID/ns/*");
    bracketed_inode(link).ok_or_else(|| at.expected("KIND:[NUMBER]", link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_inode() {
        assert_eq!(parse(b"pid:[4026531836]"), Ok((&b"pid"[..], 4_026_531_836)));
        assert_eq!(parse(b"pipe:[7]"), Ok((&b"pipe"[..], 7)));
        for other in [&b"anon_inode:[eventfd]"[..], b"/etc/passwd", b"pid:[1", b"pid:1]", b"pid:[]", b""] {
            assert!(parse(other).is_err());
        }
    }
}
