//! `/proc/PID/numa_maps`: the memory policy of each mapping, and on which nodes its pages are (proc_pid_numa_maps(5),
//! mbind(2); CONFIG_NUMA).
//!
//! ```text
//! 7f2a6d80a000 interleave:0 anon=2 dirty=2 N0=2 kernelpagesize_kB=4
//! 7f2a6d706000 prefer (many)=relative:0-1,3 file=/dev/zero\040(deleted)
//! start        policy                       details
//! ```
//!
//! A policy is `MODE[=FLAG[|FLAG]][:NODES]`, and a mode can be of two words. The kernel builds it in 64 bytes: a long
//! list of nodes ends early, and nothing tells. In the path behind `file=` blanks, tabs, newlines and `=` are written
//! as `\ooo`, the backslash is not: what [`maps`](crate::maps) says about `\012` holds here for all four.

use bitflags::bitflags;

use crate::ParseError;
use crate::bits::Ranges;
use crate::text::{At, cut, lines, radix, trim_start, unescape, words};

const FILE: &str = "/proc/PID/numa_maps";

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its first address, as in maps.
    pub start: u64,
    /// Its memory policy (or, where it has none of its own, the task's).
    pub policy: Policy,
    /// The details, as they stand: `anon=2`, `stack`, `file=/x`.
    pub rest: Vec<Vec<u8>>,
}

/// A memory policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What kind.
    pub mode: Mode,
    /// How it is bound to its nodes.
    pub flags: ModeFlags,
    /// Its nodes; empty for modes that have none.
    pub nodes: Ranges,
}

/// Kinds of policies, `MPOL_` (include/uapi/linux/mempolicy.h).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `default`
    Default,
    /// `prefer`: one node first.
    Preferred,
    /// `bind`: these nodes only.
    Bind,
    /// `interleave`: page by page over the nodes.
    Interleave,
    /// `local`: the node of the processor that allocates.
    Local,
    /// `prefer (many)`: these nodes first (Linux 5.15).
    PreferredMany,
    /// `weighted interleave` (Linux 6.9)
    WeightedInterleave,
    /// Anything else, as it stands.
    Other(Vec<u8>),
}

bitflags! {
    /// Flags of a policy, with the values of set_mempolicy(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ModeFlags: u16 {
        /// `static`: MPOL_F_STATIC_NODES
        const STATIC = 1 << 15;
        /// `relative`: MPOL_F_RELATIVE_NODES
        const RELATIVE = 1 << 14;
        /// `balancing`: MPOL_F_NUMA_BALANCING (Linux 5.12)
        const BALANCING = 1 << 13;
    }
}

impl Entry {
    /// The number of a detail `name=NUMBER`: pages for `anon`, `dirty`, `mapped`, `N0`...; kibibytes for
    /// `kernelpagesize_kB`.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<u64> {
        self.rest.iter().find_map(|detail| radix(detail.strip_prefix(name)?.strip_prefix(b"=")?, 10))
    }

    /// Whether a detail without a value is there: `heap`, `stack`, `huge`.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.rest.iter().any(|detail| detail == name)
    }

    /// The path of its file, escapes undone, a ` (deleted)` left on.
    #[must_use]
    pub fn file(&self) -> Option<Vec<u8>> {
        let path = self.rest.iter().find_map(|detail| detail.strip_prefix(b"file="))?;
        Some(unescape(path, b"\n\t= "))
    }
}

/// All mappings, in the order of the file. The kernel's own (`[vsyscall]`) are not among them.
///
/// # Errors
/// A line that is not of the form above. An unknown mode is none, an unknown flag is.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, ParseError> {
    lines(FILE, text).map(|(at, line)| entry(at, line)).collect()
}

fn entry(at: At, line: &[u8]) -> Result<Entry, ParseError> {
    let mut words_of_line = words(line);
    let start = at.hex(words_of_line.next(), "the address (hexadecimal)")?;
    let (mode, rest) = mode(words_of_line.rest());
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let (qualifiers, details) = rest.split_at(end);
    let (flags, nodes) = qualifiers_of(at, qualifiers)?;
    let rest = words(details).map(<[u8]>::to_vec).collect();
    Ok(Entry { start, policy: Policy { mode, flags, nodes }, rest })
}

/// The mode, and what follows it.
fn mode(text: &[u8]) -> (Mode, &[u8]) {
    let known = [
        (&b"default"[..], Mode::Default),
        (b"prefer (many)", Mode::PreferredMany),
        (b"prefer", Mode::Preferred),
        (b"bind", Mode::Bind),
        (b"interleave", Mode::Interleave),
        (b"weighted interleave", Mode::WeightedInterleave),
        (b"local", Mode::Local),
    ];
    for (name, mode) in known {
        if let Some(rest @ ([] | [b' ' | b':' | b'=', ..])) = text.strip_prefix(name) {
            return (mode, rest);
        }
    }
    let end = text.iter().position(|byte| b" :=".contains(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (Mode::Other(name.to_vec()), rest)
}

/// `[=FLAG[|FLAG]][:NODES]`
fn qualifiers_of(at: At, text: &[u8]) -> Result<(ModeFlags, Ranges), ParseError> {
    let (names, nodes) = cut(text, b':').unwrap_or((text, &[]));
    let flags = match names.strip_prefix(b"=") {
        Some(names) => flags(at, names)?,
        None => ModeFlags::empty(),
    };
    let nodes = Ranges::parse(trim_start(nodes)).ok_or_else(|| at.expected("a list of nodes", nodes))?;
    Ok((flags, nodes))
}

fn flags(at: At, names: &[u8]) -> Result<ModeFlags, ParseError> {
    names.split(|byte| *byte == b'|').try_fold(ModeFlags::empty(), |flags, name| match name {
        b"static" => Ok(flags | ModeFlags::STATIC),
        b"relative" => Ok(flags | ModeFlags::RELATIVE),
        b"balancing" => Ok(flags | ModeFlags::BALANCING),
        other => Err(at.expected("static, relative or balancing", other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &[u8]) -> Policy {
        let line = [b"7f2a6d704000 ", text, b" anon=2 N0=2\n"].concat();
        let entry = parse(&line).unwrap().remove(0);
        assert_eq!((entry.start, entry.value(b"anon"), entry.rest.len()), (0x7f2a_6d70_4000, Some(2), 2));
        entry.policy
    }

    fn simple(mode: Mode) -> Policy {
        Policy { mode, flags: ModeFlags::empty(), nodes: Ranges::default() }
    }

    fn with(mode: Mode, flags: ModeFlags, nodes: &[(u32, u32)]) -> Policy {
        Policy { mode, flags, nodes: Ranges(nodes.to_vec()) }
    }

    #[test]
    fn every_mode() {
        let none = ModeFlags::empty();
        assert_eq!(policy(b"default"), simple(Mode::Default));
        assert_eq!(policy(b"local"), simple(Mode::Local));
        assert_eq!(policy(b"prefer:0"), with(Mode::Preferred, none, &[(0, 0)]));
        assert_eq!(policy(b"interleave:0-1,3"), with(Mode::Interleave, none, &[(0, 1), (3, 3)]));
        assert_eq!(policy(b"weighted interleave:0"), with(Mode::WeightedInterleave, none, &[(0, 0)]));
        assert_eq!(
            policy(b"prefer (many)=relative:0"),
            with(Mode::PreferredMany, ModeFlags::RELATIVE, &[(0, 0)])
        );
        assert_eq!(policy(b"bind=static:0"), with(Mode::Bind, ModeFlags::STATIC, &[(0, 0)]));
        let both = ModeFlags::STATIC | ModeFlags::BALANCING;
        assert_eq!(policy(b"bind=static|balancing:0"), with(Mode::Bind, both, &[(0, 0)]));
        assert_eq!(policy(b"defaults:2"), with(Mode::Other(b"defaults".to_vec()), none, &[(2, 2)]));
    }

    #[test]
    fn details() {
        let text = br"7f2a6d702000 local file=/dev/zero\040(deleted) huge
7fff359e3000 default stack anon=15 dirty=15 active=1 N0=15 kernelpagesize_kB=4
7fff7bace000 default
";
        let entries = parse(text).unwrap();
        assert_eq!(entries[0].file().unwrap(), b"/dev/zero (deleted)");
        assert!(entries[0].has(b"huge") && entries[1].has(b"stack") && !entries[1].has(b"heap"));
        assert_eq!(entries[1].value(b"kernelpagesize_kB"), Some(4));
        assert_eq!((entries[1].value(b"N1"), entries[1].file()), (None, None));
        assert!(entries[2].rest.is_empty());
    }

    #[test]
    fn broken_lines_are_refused() {
        assert!(parse(b"x default\n").is_err());
        assert!(parse(b"1000 bind:x\n").is_err());
        assert!(parse(b"1000 bind=sticky:0\n").is_err());
    }
}
