//! `/proc/PID/maps`: the mappings of an address space, lowest address first (proc_pid_maps(5)).
//!
//! ```text
//! 7f04bae47000-7f04bae48000 r--p 00000000 fe:00 10035222                   /tmp/gone (deleted)
//! start        end          perm offset   dev   inode                      name, to the end of the line
//! ```
//!
//! Numbers are hexadecimal, but the inode. In names the kernel replaces a newline by `\012` and nothing else, not
//! even the backslash, so that two things cannot be told apart by this text alone:
//!
//! * a name with a newline and a name with a literal `\012` ([`Mapping::name_is_ambiguous`]);
//! * an unlinked `x` and an existing file that is called `x (deleted)` ([`Mapping::deleted`]).
//!
//! Who must know follows `/proc/PID/map_files/START-END`, or compares device and inode.

use bitflags::bitflags;

use crate::text::{At, Words, cut, lines, unescape, words};
use crate::{Dev, ParseError};

const FILE: &str = "/proc/PID/maps";

bitflags! {
    /// The four letters of a mapping. The first three have the values of PROT_READ, PROT_WRITE and PROT_EXEC.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Perms: u8 {
        /// `r`
        const READ = 1;
        /// `w`
        const WRITE = 2;
        /// `x`
        const EXEC = 4;
        /// `s`: writes reach the object behind the mapping; otherwise `p`, private (copy on write).
        const SHARED = 8;
    }
}

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind its last byte.
    pub end: u64,
    /// What its pages may be used for, and whether it is shared.
    pub perms: Perms,
    /// Where it starts in its file, in bytes; 0 without a file.
    pub offset: u64,
    /// The device its file is on; 0:0 without a file. Some file systems (btrfs, older overlayfs) give
    /// another number here than stat(2) does.
    pub dev: Dev,
    /// The inode of its file; 0 without one.
    pub inode: u64,
    /// The path as the reader's root sees it, or a name in brackets, or nothing. Escapes are undone, a
    /// ` (deleted)` is left on.
    pub name: Vec<u8>,
}

/// Mappings that the kernel makes and names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// `[heap]`: between `start_brk` and `brk`, if it is not of a file.
    Heap,
    /// `[stack]`: where `start_stack` points to, the main thread's stack.
    Stack,
    /// `[vdso]`: code of the kernel's that runs in user mode.
    Vdso,
    /// `[vvar]`: the data of the vDSO.
    Vvar,
    /// `[vvar_vclock]`: more of it, for the clocks of hypervisors (Linux 6.13).
    VvarVclock,
    /// `[vsyscall]`: a page in the kernel's half of the addresses (x86); listed, yet not a mapping of the process.
    Vsyscall,
    /// `[uprobes]`: where instructions under a uprobe are executed out of line.
    Uprobes,
}

impl Special {
    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"[heap]" => Some(Self::Heap),
            b"[stack]" => Some(Self::Stack),
            b"[vdso]" => Some(Self::Vdso),
            b"[vvar]" => Some(Self::Vvar),
            b"[vvar_vclock]" => Some(Self::VvarVclock),
            b"[vsyscall]" => Some(Self::Vsyscall),
            b"[uprobes]" => Some(Self::Uprobes),
            _ => None,
        }
    }
}

impl Mapping {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no length. The kernel never lists such a mapping.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `addr` lies in it.
    #[must_use]
    pub const fn contains(&self, addr: u64) -> bool {
        self.start <= addr && addr < self.end
    }

    /// Whether it has a path. So do shared anonymous memory (`/dev/zero (deleted)`), memfds
    /// (`/memfd:NAME (deleted)`) and System V segments (`/SYSV00000000 (deleted)`).
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.name.starts_with(b"/")
    }

    /// The path without its ` (deleted)`, if it is a path that ends so. See the module's text for what this
    /// cannot tell.
    #[must_use]
    pub fn deleted(&self) -> Option<&[u8]> {
        if self.is_file() { self.name.strip_suffix(b" (deleted)") } else { None }
    }

    /// The name that the program gave to anonymous memory by `PR_SET_VMA_ANON_NAME`: `[anon:NAME]` for private,
    /// `[anon_shmem:NAME]` (Linux 6.2) for shared memory.
    #[must_use]
    pub fn anon_name(&self) -> Option<&[u8]> {
        let name = self.name.strip_prefix(b"[anon:").or_else(|| self.name.strip_prefix(b"[anon_shmem:"))?;
        name.strip_suffix(b"]")
    }

    /// Which of the kernel's own mappings it is.
    #[must_use]
    pub fn special(&self) -> Option<Special> {
        Special::from_name(&self.name)
    }

    /// Whether the name holds a newline, which the kernel prints as it prints a literal `\012`.
    #[must_use]
    pub fn name_is_ambiguous(&self) -> bool {
        self.name.contains(&b'\n')
    }
}

/// All mappings, in the order of the file (ascending addresses).
///
/// # Errors
/// A line that is not of the form above, or a mapping that ends before it starts.
pub fn parse(text: &[u8]) -> Result<Vec<Mapping>, ParseError> {
    lines(FILE, text).map(|(at, line)| parse_line(at, line)).collect()
}

/// The two addresses of `START-END`, as in the names of the links in `/proc/PID/map_files`.
#[must_use]
pub fn parse_range(text: &[u8]) -> Option<(u64, u64)> {
    let (start, end) = cut(text, b'-')?;
    Some((crate::text::radix(start, 16)?, crate::text::radix(end, 16)?))
}

/// One line, of maps or of smaps.
pub(crate) fn parse_line(at: At, line: &[u8]) -> Result<Mapping, ParseError> {
    let mut words = words(line);
    let (start, end) = range(at, &mut words)?;
    let perms = perms(at, at.word(words.next(), "the permissions")?)?;
    let offset = at.hex(words.next(), "the offset (hexadecimal)")?;
    let dev = at.word(words.next(), "the device")?;
    let dev =
        Dev::parse(dev, 16).ok_or_else(|| at.expected("the device (MAJOR:MINOR in hexadecimal)", dev))?;
    let inode = at.dec(words.next(), "the inode")?;
    let name = unescape(words.rest(), b"\n");
    Ok(Mapping { start, end, perms, offset, dev, inode, name })
}

fn range(at: At, words: &mut Words<'_>) -> Result<(u64, u64), ParseError> {
    let word = at.word(words.next(), "the addresses")?;
    let (start, end) = parse_range(word).ok_or_else(|| at.expected("START-END in hexadecimal", word))?;
    if end < start {
        return Err(at.bad(format!("the mapping ends (at {end:#x}) before it starts (at {start:#x})")));
    }
    Ok((start, end))
}

fn perms(at: At, word: &[u8]) -> Result<Perms, ParseError> {
    let bad = || at.expected("four letters of permissions", word);
    let &[read, write, exec, shared] = word else { return Err(bad()) };
    let letters = [
        (read, b'r', b'-', Perms::READ),
        (write, b'w', b'-', Perms::WRITE),
        (exec, b'x', b'-', Perms::EXEC),
        (shared, b's', b'p', Perms::SHARED),
    ];
    letters.into_iter().try_fold(Perms::empty(), |perms, (letter, yes, no, bit)| match letter {
        letter if letter == yes => Ok(perms | bit),
        letter if letter == no => Ok(perms),
        _ => Err(bad()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &[u8]) -> Mapping {
        let mut all = parse(line).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn name_of(name: &[u8]) -> Mapping {
        one(&[b"7f04bae45000-7f04bae46000 r--p 00000000 fe:00 10035224                   ", name, b"\n"]
            .concat())
    }

    #[test]
    fn a_line_with_everything() {
        let mapping =
            one(b"7f04bb400000-7f04bb4f5000 rw-s 000f5000 fe:10 18714                      /usr/lib/x.so\n");
        let expected = Mapping {
            start: 0x7f04_bb40_0000,
            end: 0x7f04_bb4f_5000,
            perms: Perms::READ | Perms::WRITE | Perms::SHARED,
            offset: 0xf5000,
            dev: Dev { major: 0xfe, minor: 0x10 },
            inode: 18714,
            name: b"/usr/lib/x.so".to_vec(),
        };
        assert_eq!(mapping, expected);
        assert_eq!(mapping.len(), 0xf5000);
        assert!(mapping.is_file() && mapping.deleted().is_none() && mapping.special().is_none());
        assert!(mapping.contains(0x7f04_bb40_0000) && !mapping.contains(0x7f04_bb4f_5000));
    }

    #[test]
    fn anonymous_memory_has_no_name() {
        let mapping = one(b"7f04bab0d000-7f04bab0f000 rw-p 00000000 00:00 0 \n");
        assert!(mapping.name.is_empty() && !mapping.is_file());
        assert_eq!(one(b"7f04bab0d000-7f04bab0f000 rw-p 00000000 00:00 0").name, b"");
    }

    #[test]
    fn the_last_page_of_all() {
        let mapping =
            one(b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
        assert_eq!(mapping.special(), Some(Special::Vsyscall));
        assert_eq!(mapping.perms, Perms::EXEC);
    }

    #[test]
    fn names_are_bytes() {
        assert_eq!(name_of(b"/tmp/cap/w/\xff\xfe bin").name, b"/tmp/cap/w/\xff\xfe bin");
        assert_eq!(name_of(b"/tmp/cap/w/ sp ").name, b"/tmp/cap/w/ sp ");
        assert_eq!(name_of(b"/tmp/cap/w/back\\slash").name, b"/tmp/cap/w/back\\slash");
        assert_eq!(name_of(b"/tmp/cap/w/tab\t\\040").name, b"/tmp/cap/w/tab\t\\040");
        let newline = name_of(b"/tmp/cap/w/end\\012");
        assert_eq!(newline.name, b"/tmp/cap/w/end\n");
        assert!(newline.name_is_ambiguous());
    }

    #[test]
    fn deleted_files() {
        assert_eq!(name_of(b"/memfd:me m\\012fd (deleted)").deleted(), Some(&b"/memfd:me m\nfd"[..]));
        assert_eq!(name_of(b"/dev/zero (deleted)").deleted(), Some(&b"/dev/zero"[..]));
        assert_eq!(name_of(b"/x(deleted)").deleted(), None);
        assert_eq!(name_of(b"[anon:x (deleted)").deleted(), None);
    }

    #[test]
    fn names_in_brackets() {
        assert_eq!(name_of(b"[anon:my heap]").anon_name(), Some(&b"my heap"[..]));
        assert_eq!(name_of(b"[anon_shmem:buf]").anon_name(), Some(&b"buf"[..]));
        assert_eq!(name_of(b"[anon:cut").anon_name(), None);
        assert_eq!(name_of(b"/[heap]").special(), None);
        for (name, special) in [
            (&b"[heap]"[..], Special::Heap),
            (b"[stack]", Special::Stack),
            (b"[vdso]", Special::Vdso),
            (b"[vvar]", Special::Vvar),
            (b"[vvar_vclock]", Special::VvarVclock),
            (b"[uprobes]", Special::Uprobes),
        ] {
            assert_eq!(name_of(name).special(), Some(special));
        }
    }

    #[test]
    fn broken_lines_are_named() {
        for (line, complaint) in [
            (&b"x"[..], "expected START-END in hexadecimal, found \"x\""),
            (b"2000-1000 r--p 0 00:00 0", "the mapping ends (at 0x1000) before it starts (at 0x2000)"),
            (b"1000-2000 r--q 0 00:00 0", "expected four letters of permissions, found \"r--q\""),
            (b"1000-2000 r-- 0 00:00 0", "expected four letters of permissions, found \"r--\""),
            (b"1000-2000 r--p", "the line ends where the offset (hexadecimal) should stand"),
            (b"1000-2000 r--p 0 0000 0", "expected the device (MAJOR:MINOR in hexadecimal), found \"0000\""),
            (b"1000-2000 r--p 0 00:00 -1", "expected the inode, found \"-1\""),
            (b"10000000000000000-2 r--p", "expected START-END in hexadecimal, found \"10000000000000000-2\""),
        ] {
            let error = parse(&[b"1000-2000 r--p 0 00:00 0\n", line].concat()).unwrap_err();
            assert_eq!((error.file, error.line, error.what.as_str()), (FILE, 2, complaint));
        }
    }

    #[test]
    fn ranges_of_map_files() {
        assert_eq!(parse_range(b"400000-401000"), Some((0x40_0000, 0x40_1000)));
        assert_eq!(parse_range(b"400000"), None);
    }
}
