//! `/proc/PID/cgroup`: where a process stands in each cgroup hierarchy (cgroups(7), "/proc files").
//!
//! ```text
//! 4:memory:/jobs/41          version 1: number of the hierarchy, its controllers, path
//! 9:name=systemd:/           version 1 without controllers
//! 0::/user.slice (deleted)   version 2
//! ```
//!
//! Paths are those below the root of the reader's cgroup namespace (`/../x` is outside of it), printed as they are: a
//! cgroup's name cannot hold a newline.

use crate::ParseError;
use crate::text::{At, cut, lines};

const FILE: &str = "/proc/PID/cgroup";

/// The place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// The number of the hierarchy; 0 for version 2.
    pub hierarchy: u32,
    /// The controllers of a version 1 hierarchy, or its name as `name=NAME`; empty for version 2.
    pub controllers: Vec<Vec<u8>>,
    /// The path, with its ` (deleted)` if the cgroup was removed.
    pub path: Vec<u8>,
}

impl Cgroup {
    /// Whether it is the unified hierarchy of version 2.
    #[must_use]
    pub const fn is_v2(&self) -> bool {
        self.hierarchy == 0
    }

    /// The path of a removed cgroup without its ` (deleted)`. (A cgroup whose name ends so reads the same.)
    #[must_use]
    pub fn deleted(&self) -> Option<&[u8]> {
        self.path.strip_suffix(b" (deleted)")
    }
}

/// All hierarchies, in the order of the file.
///
/// # Errors
/// A line that is not of the form above.
pub fn parse(text: &[u8]) -> Result<Vec<Cgroup>, ParseError> {
    lines(FILE, text).map(|(at, line)| cgroup(at, line)).collect()
}

fn cgroup(at: At, line: &[u8]) -> Result<Cgroup, ParseError> {
    let split = cut(line, b':').and_then(|(id, rest)| Some((id, cut(rest, b':')?)));
    let (id, (controllers, path)) = split.ok_or_else(|| at.expected("NUMBER:CONTROLLERS:PATH", line))?;
    let hierarchy = at.dec(Some(id), "the number of the hierarchy")?;
    let controllers = match controllers {
        [] => Vec::new(),
        some => some.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
    };
    Ok(Cgroup { hierarchy, controllers, path: path.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let all = parse(b"9:name=systemd:/\n2:cpu,cpuacct:/a:b\xff\n0::/x (deleted)\n").unwrap();
        assert_eq!(all[0].controllers, [b"name=systemd".to_vec()]);
        assert_eq!(all[1].controllers, [b"cpu".to_vec(), b"cpuacct".to_vec()]);
        assert_eq!((all[1].hierarchy, all[1].path.as_slice(), all[1].is_v2()), (2, &b"/a:b\xff"[..], false));
        assert_eq!((all[2].is_v2(), all[2].deleted()), (true, Some(&b"/x"[..])));
        assert!(all[2].controllers.is_empty());
    }

    #[test]
    fn broken_lines_are_refused() {
        assert_eq!(parse(b"0::/\n1:x\n").unwrap_err().line, 2);
        assert!(parse(b"x::/\n").is_err());
    }
}
