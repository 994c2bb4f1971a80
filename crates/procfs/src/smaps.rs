//! `/proc/PID/smaps`: what [`maps`] says, and how each mapping is populated and flagged.
//!
//! ```text
//! 7f04bae47000-7f04bae48000 r--p 00000000 fe:00 10035222                   /tmp/x     a line as in maps
//! Size:                  4 kB                                                         about 23 counters
//! ...
//! THPeligible:           0
//! VmFlags: rd mr mw me                                                                the last line of a mapping
//! ```
//!
//! Every mapping of a file has the same counters, so their names are kept once and shared between the entries
//! ([`Counters`]): with 50 000 mappings, a name per value would be a million allocations.
//!
//! A mapping without a `VmFlags` line is an error, not a mapping without flags: those flags decide how a mapping is
//! restored, and their absence means that the text was cut.

use std::fmt;
use std::sync::Arc;

use crate::ParseError;
use crate::maps::{self, Mapping};
use crate::text::{At, cut, lines, radix, trim, trim_start, words};

const FILE: &str = "/proc/PID/smaps";

/// One mapping with its counters and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its first line, as in maps.
    pub mapping: Mapping,
    /// The numeric lines, known or not.
    pub counters: Counters,
    /// The codes of the `VmFlags` line.
    pub vm_flags: VmFlags,
    /// Lines `name: value` whose value is no number: none that Linux prints today.
    pub rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// A mapping of which nothing but its line in /proc/PID/maps is known: no counters, no flags.
    #[must_use]
    pub fn of_maps(mapping: Mapping) -> Self {
        let counters = Counters { names: Arc::new([]), values: Box::default() };
        Self { mapping, counters, vm_flags: VmFlags::default(), rest: Vec::new() }
    }

    /// Kibibytes resident in memory; pages of hugetlbfs are not counted.
    #[must_use]
    pub fn rss_kb(&self) -> Option<u64> {
        self.counters.get(b"Rss")
    }

    /// Kibibytes swapped out; of a mapping of shared memory also what is swapped out of the object behind it.
    #[must_use]
    pub fn swap_kb(&self) -> Option<u64> {
        self.counters.get(b"Swap")
    }

    /// Kibibytes (its proportional share) locked into memory.
    #[must_use]
    pub fn locked_kb(&self) -> Option<u64> {
        self.counters.get(b"Locked")
    }

    /// The size of its pages in kibibytes: 4, or that of the huge pages of a hugetlbfs mapping.
    #[must_use]
    pub fn kernel_page_kb(&self) -> Option<u64> {
        self.counters.get(b"KernelPageSize")
    }

    /// Kibibytes in transparent huge pages.
    #[must_use]
    pub fn anon_huge_kb(&self) -> Option<u64> {
        self.counters.get(b"AnonHugePages")
    }

    /// Kibibytes of memory that belongs to no file, in a private mapping of a file: its changed pages.
    #[must_use]
    pub fn anonymous_kb(&self) -> Option<u64> {
        self.counters.get(b"Anonymous")
    }

    /// Kibibytes in huge pages of hugetlbfs, shared and private, which no other counter includes.
    #[must_use]
    pub fn hugetlb_kb(&self) -> Option<u64> {
        self.counters.get(b"Shared_Hugetlb")?.checked_add(self.counters.get(b"Private_Hugetlb")?)
    }

    /// The protection key (pkeys(7)), where the processor and the kernel have them.
    #[must_use]
    pub fn protection_key(&self) -> Option<u64> {
        self.counters.get(b"ProtectionKey")
    }
}

/// The numbers of one entry under their names.
#[derive(Clone, PartialEq, Eq)]
pub struct Counters {
    /// Shared by all entries that have the same lines.
    names: Arc<[Name]>,
    /// As many as there are names.
    values: Box<[u64]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    name: Box<[u8]>,
    unit: Unit,
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Kibibytes: the line ends in `kB`.
    Kb,
    /// A number without unit: `THPeligible`, `ProtectionKey`.
    Plain,
}

impl Counters {
    /// The value of the first line called `name` (without its colon).
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<u64> {
        self.iter().find(|(found, ..)| *found == name).map(|(_, value, _)| value)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64, Unit)> {
        self.names.iter().zip(&self.values).map(|(name, value)| (&*name.name, *value, name.unit))
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value, _)| (String::from_utf8_lossy(name), value)))
            .finish()
    }
}

/// The flags of a mapping, as the two-letter codes that the kernel prints, in its order, known or not.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct VmFlags(pub Vec<[u8; 2]>);

impl VmFlags {
    /// Whether `code` is among them: `flags.has(*b"gd")`, or with a name from [`flag`].
    #[must_use]
    pub fn has(&self, code: [u8; 2]) -> bool {
        self.0.contains(&code)
    }

    /// Those that [`flag`] does not list: a newer kernel's, whose meaning for a restore nobody has thought about.
    pub fn unknown(&self) -> impl Iterator<Item = [u8; 2]> {
        self.0.iter().copied().filter(|code| flag::meaning(*code).is_none())
    }
}

impl fmt::Debug for VmFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<_> = self.0.iter().map(|code| code.escape_ascii().to_string()).collect();
        write!(f, "VmFlags({})", codes.join(" "))
    }
}

/// All mappings, in the order of the file (ascending addresses).
///
/// # Errors
/// A line of neither form, or a mapping that has no `VmFlags`.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, ParseError> {
    let mut reader = Reader { names: Arc::new([]), open: None, done: Vec::new() };
    for (at, line) in lines(FILE, text) {
        reader.line(at, line)?;
    }
    reader.close()?;
    Ok(reader.done)
}

/// How many bytes at the start of a part of the file are whole mappings, for whoever reads it in parts.
#[must_use]
pub fn end_of_whole_entries(part: &[u8]) -> usize {
    let whole_lines = memchr::memrchr(b'\n', part).map_or(&[][..], |end| &part[..end]);
    let Some(last) = memchr::memmem::rfind(whole_lines, b"\nVmFlags:") else { return 0 };
    let rest = whole_lines.get(last + 1..).unwrap_or_default();
    last + 1 + memchr::memchr(b'\n', rest).unwrap_or(rest.len()) + 1
}

/// What has been read so far.
struct Reader {
    /// The names of the entry before; the next one most likely has the same.
    names: Arc<[Name]>,
    open: Option<Open>,
    done: Vec<Entry>,
}

/// An entry whose end has not been seen.
struct Open {
    at: At,
    mapping: Mapping,
    /// Set once a line differs from the names of the entry before.
    own_names: Option<Vec<Name>>,
    values: Vec<u64>,
    vm_flags: Option<VmFlags>,
    rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Reader {
    fn line(&mut self, at: At, line: &[u8]) -> Result<(), ParseError> {
        if self.open.as_mut().is_some_and(|open| open.same_as_before(&self.names, line)) {
            return Ok(());
        }
        match split_field(line) {
            None => self.begin(at, line),
            Some((name, value)) => {
                let Some(open) = &mut self.open else {
                    return Err(at.expected("a mapping before its counters", line));
                };
                open.field(at, &self.names, name, value)
            }
        }
    }

    fn begin(&mut self, at: At, line: &[u8]) -> Result<(), ParseError> {
        self.close()?;
        let mapping = maps::parse_line(at, line)?;
        let values = Vec::with_capacity(self.names.len());
        self.open = Some(Open { at, mapping, own_names: None, values, vm_flags: None, rest: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), ParseError> {
        let Some(Open { at, mapping, own_names, values, vm_flags, rest }) = self.open.take() else {
            return Ok(());
        };
        let vm_flags = vm_flags.ok_or_else(|| {
            at.bad(format!("the mapping at {:#x} has no VmFlags: cut short?", mapping.start))
        })?;
        if let Some(own) = own_names {
            self.names = own.into();
        } else if let Some(fewer) = self.names.get(..values.len()).filter(|_| values.len() < self.names.len())
        {
            self.names = fewer.into();
        }
        let counters = Counters { names: Arc::clone(&self.names), values: values.into() };
        self.done.push(Entry { mapping, counters, vm_flags, rest });
        Ok(())
    }
}

impl Open {
    /// Takes the line if it is the counter that stood here in the entry before: 22 lines of 25, so this is what the time
    /// for a large file depends on.
    fn same_as_before(&mut self, before: &[Name], line: &[u8]) -> bool {
        let Some(known) = before.get(self.values.len()).filter(|_| self.own_names.is_none()) else {
            return false;
        };
        let value = line.strip_prefix(&*known.name).and_then(|rest| rest.strip_prefix(b":"));
        match value.and_then(|value| counter(trim_start(value))) {
            Some((value, unit)) if unit == known.unit => self.values.push(value),
            _ => return false,
        }
        true
    }

    fn field(&mut self, at: At, before: &[Name], name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        if name == b"VmFlags" {
            return self.flags(at, value);
        }
        match counter(value) {
            Some((value, unit)) => self.counter(before, name, value, unit),
            None => self.rest.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn counter(&mut self, before: &[Name], name: &[u8], value: u64, unit: Unit) {
        let same =
            before.get(self.values.len()).is_some_and(|known| *known.name == *name && known.unit == unit);
        if self.own_names.is_some() || !same {
            let so_far = || before.iter().take(self.values.len()).cloned().collect();
            self.own_names.get_or_insert_with(so_far).push(Name { name: name.into(), unit });
        }
        self.values.push(value);
    }

    fn flags(&mut self, at: At, value: &[u8]) -> Result<(), ParseError> {
        if self.vm_flags.is_some() {
            return Err(at.bad("a second VmFlags line for one mapping"));
        }
        let mut flags = Vec::with_capacity(value.len() / 3 + 1);
        for word in words(value) {
            flags.push(word.try_into().map_err(|_| at.expected("a flag of two letters", word))?);
        }
        self.vm_flags = Some(VmFlags(flags));
        Ok(())
    }
}

/// `name: value`, or nothing if the line begins a mapping. A mapping's first word holds a `-` and no colon ends it.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = cut(line, b':')?;
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| (name, trim(value)))
}

fn counter(value: &[u8]) -> Option<(u64, Unit)> {
    match value.strip_suffix(b" kB") {
        Some(digits) => Some((radix(digits, 10)?, Unit::Kb)),
        None => Some((radix(value, 10)?, Unit::Plain)),
    }
}

macro_rules! flags {
    ($($name:ident $code:literal $meaning:literal;)*) => {
        /// The codes of `VmFlags` that are known here, with the `VM_` flag that each stands for
        /// (Documentation/filesystems/proc.rst; meanings may change between kernels, as that page warns).
        pub mod flag {
            $(#[doc = concat!("`", stringify!($code), "`: ", $meaning)] pub const $name: [u8; 2] = *$code;)*

            /// All of them, each with its meaning.
            pub const KNOWN: &[([u8; 2], &str)] = &[$(($name, $meaning)),*];

            /// What `code` means.
            #[must_use]
            pub fn meaning(code: [u8; 2]) -> Option<&'static str> {
                KNOWN.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
            }
        }
    };
}

flags! {
    RD b"rd" "VM_READ: readable";
    WR b"wr" "VM_WRITE: writable";
    EX b"ex" "VM_EXEC: executable";
    SH b"sh" "VM_SHARED: shared";
    MR b"mr" "VM_MAYREAD: may be made readable";
    MW b"mw" "VM_MAYWRITE: may be made writable";
    ME b"me" "VM_MAYEXEC: may be made executable";
    MS b"ms" "VM_MAYSHARE: shared, or a shared mapping of a file opened read-only";
    GD b"gd" "VM_GROWSDOWN: grows downwards (MAP_GROWSDOWN, the stack)";
    PF b"pf" "VM_PFNMAP: page frames without page structures (device memory, vvar)";
    DW b"dw" "VM_DENYWRITE: its file cannot be written (before Linux 5.16)";
    LO b"lo" "VM_LOCKED: locked in memory";
    IO b"io" "VM_IO: device memory";
    SR b"sr" "VM_SEQ_READ: madvise(MADV_SEQUENTIAL)";
    RR b"rr" "VM_RAND_READ: madvise(MADV_RANDOM)";
    DC b"dc" "VM_DONTCOPY: not inherited by fork (MADV_DONTFORK)";
    DE b"de" "VM_DONTEXPAND: cannot be expanded by mremap";
    AC b"ac" "VM_ACCOUNT: counted in the commit limit";
    NR b"nr" "VM_NORESERVE: no swap space reserved (MAP_NORESERVE)";
    HT b"ht" "VM_HUGETLB: huge pages of hugetlbfs";
    SF b"sf" "VM_SYNC: synchronous page faults (MAP_SYNC, persistent memory)";
    NL b"nl" "VM_NONLINEAR: non-linear mapping (before Linux 4.0)";
    AR b"ar" "VM_ARCH_1: specific to the architecture";
    WF b"wf" "VM_WIPEONFORK: zeroed in the child of a fork (MADV_WIPEONFORK)";
    DD b"dd" "VM_DONTDUMP: left out of core dumps (MADV_DONTDUMP)";
    SD b"sd" "VM_SOFTDIRTY: soft-dirty as a whole (a new mapping, or since clear_refs)";
    MM b"mm" "VM_MIXEDMAP: pages with and without page structures";
    HG b"hg" "VM_HUGEPAGE: madvise(MADV_HUGEPAGE)";
    NH b"nh" "VM_NOHUGEPAGE: madvise(MADV_NOHUGEPAGE)";
    MG b"mg" "VM_MERGEABLE: madvise(MADV_MERGEABLE), or PR_SET_MEMORY_MERGE";
    BT b"bt" "VM_ARM64_BTI: guarded by branch target identification (arm64)";
    MT b"mt" "VM_MTE: memory tags in use (arm64)";
    UM b"um" "VM_UFFD_MISSING: userfaultfd gets the faults on missing pages";
    UW b"uw" "VM_UFFD_WP: userfaultfd gets the faults on write-protected pages";
    UI b"ui" "VM_UFFD_MINOR: userfaultfd gets the minor faults";
    SS b"ss" "VM_SHADOW_STACK: a shadow stack";
    SL b"sl" "VM_SEALED: sealed by mseal";
    DP b"dp" "VM_DROPPABLE: the kernel may drop its pages at any time (MAP_DROPPABLE)";
    LF b"lf" "VM_LOCKONFAULT: locked in memory page by page as touched (MLOCK_ONFAULT)";
    GU b"gu" "VM_MAYBE_GUARD: may hold guard pages (MADV_GUARD_INSTALL)";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two mappings as Linux 6.18 prints them.
    const SAMPLE: &[u8] = b"\
7f2a6e7bc000-7f2a6e7bd000 r--p 00000000 fe:00 10035216                   /tmp/cap/w/new\\012line
Size:                  4 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   0 kB
Pss:                   0 kB
Pss_Dirty:             0 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         0 kB
Referenced:            0 kB
Anonymous:             0 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                0 kB
THPeligible:           0
VmFlags: rd mr mw me 
7f2a6e7c8000-7f2a6e7ca000 rw-p 00000000 00:00 0 
Size:                  8 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   8 kB
Pss:                   8 kB
Pss_Dirty:             8 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         8 kB
Referenced:            8 kB
Anonymous:             8 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  4 kB
SwapPss:               4 kB
Locked:                8 kB
THPeligible:           1
VmFlags: rd wr mr mw me gd lo ac sl 
";

    #[test]
    fn parts_end_where_a_mapping_does() {
        let whole: Vec<Entry> = parse(SAMPLE).unwrap();
        assert_eq!(end_of_whole_entries(SAMPLE), SAMPLE.len());
        for cut in 0..SAMPLE.len() {
            let end = end_of_whole_entries(&SAMPLE[..cut]);
            assert!(end <= cut);
            let parts = [parse(&SAMPLE[..end]).unwrap(), parse(&SAMPLE[end..]).unwrap()].concat();
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    #[test]
    fn two_real_mappings() {
        let entries = parse(SAMPLE).unwrap();
        let [file, stack] = entries.as_slice() else { panic!("{} entries", entries.len()) };
        assert_eq!(file.mapping.name, b"/tmp/cap/w/new\nline");
        assert_eq!(file.rss_kb(), Some(0));
        assert_eq!(file.vm_flags.0, [*b"rd", *b"mr", *b"mw", *b"me"]);
        assert_eq!(stack.counters.iter().count(), 23);
        assert_eq!(stack.swap_kb(), Some(4));
        assert_eq!(stack.locked_kb(), Some(8));
        assert_eq!(stack.kernel_page_kb(), Some(4));
        assert_eq!(stack.anon_huge_kb(), Some(0));
        assert_eq!(stack.anonymous_kb(), Some(8));
        assert_eq!(stack.hugetlb_kb(), Some(0));
        assert_eq!(stack.protection_key(), None);
        assert_eq!(stack.counters.iter().last(), Some((&b"THPeligible"[..], 1, Unit::Plain)));
        assert!(stack.vm_flags.has(*b"gd") && stack.vm_flags.has(flag::SL) && !stack.vm_flags.has(flag::SS));
        assert!(Arc::ptr_eq(&file.counters.names, &stack.counters.names));
        assert_eq!(format!("{:?}", file.vm_flags), "VmFlags(rd mr mw me)");
    }

    #[test]
    fn entries_with_other_counters_keep_their_own() {
        let text = b"\
1000-2000 r--p 0 00:00 0
A: 1 kB
B: 2
VmFlags: rd
2000-3000 r--p 0 00:00 0
A: 3 kB
VmFlags: rd
3000-4000 r--p 0 00:00 0
A: 4 kB
C: 5 kB
Word: some text
VmFlags: ?? zz
";
        let entries = parse(text).unwrap();
        let counters: Vec<Vec<_>> = entries.iter().map(|entry| entry.counters.iter().collect()).collect();
        assert_eq!(counters[0], [(&b"A"[..], 1, Unit::Kb), (b"B", 2, Unit::Plain)]);
        assert_eq!(counters[1], [(&b"A"[..], 3, Unit::Kb)]);
        assert_eq!(counters[2], [(&b"A"[..], 4, Unit::Kb), (b"C", 5, Unit::Kb)]);
        assert_eq!(entries[2].rest, [(b"Word".to_vec(), b"some text".to_vec())]);
        assert_eq!(entries[2].vm_flags.unknown().collect::<Vec<_>>(), [*b"??", *b"zz"]);
    }

    #[test]
    fn cut_texts_are_refused() {
        let cut = SAMPLE.len() - 40;
        assert!(parse(&SAMPLE[..cut]).unwrap_err().what.contains("0x7f2a6e7c8000 has no VmFlags"));
        assert!(parse(b"Rss: 4 kB\n").unwrap_err().what.starts_with("expected a mapping before"));
        assert!(parse(b"1000-2000 r--p 0 00:00 0\nVmFlags: rd\nVmFlags: rd\n").is_err());
        assert!(parse(b"1000-2000 r--p 0 00:00 0\nVmFlags: rdx\n").is_err());
        assert_eq!(parse(b"").unwrap(), []);
    }
}
