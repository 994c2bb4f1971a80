//! Memory that a process has from the one it was forked from: mappings that are still alike, with pages that neither has
//! written since, and that both have in the same page frames (copy on write).
//!
//! Such a page is saved once, with the process that comes first, and shared again after a restore, as a fork shares it. Of an
//! heir only what differs is saved; what its donor has and it has not is dropped after the fork.
//!
//! ```text
//! donor    [ a ][ b ][ c ][   ]
//! heir     [ a ][ B ][   ][ d ]      saved: B, d      dropped: c      inherited: a
//! ```

use super::mapping::{Backing, Record};
use crate::error::Error;
use rekindle_procfs::pagemap;
use rekindle_sys::PAGE_SIZE;
use rekindle_sys::vm::{self, PageFilter, PageIs};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// A range of addresses: start, and one past the end.
pub type Range = (u64, u64);

/// The mapping of a donor (whose mappings these are) that one of an heir can be made from: as it is, cut, made longer at
/// its end, or with another protection.
pub fn donor_of<'d>(heir: &Record, donor: &'d [Record]) -> Option<&'d Record> {
    let before = donor.partition_point(|mapping| mapping.start <= heir.start);
    let from = before.checked_sub(1).and_then(|index| donor.get(index))?;
    let like = |m: &Record| {
        let flags = m.vm_flags().0.into_iter().filter(|code| !VARYING.contains(code)).collect::<Vec<_>>();
        (m.shared, m.backing, (m.file, m.object), m.name.clone(), m.policy.clone(), m.huge_page, flags)
    };
    let same_place =
        from.backing() == Backing::Anonymous || heir.offset == from.offset + (heir.start - from.start);
    let fits = heir.start < from.end && !heir.shared && heir.huge_page == 0 && same_place;
    // A stack that reaches further down is another mapping; pages behind the end of a file's part are no part of it.
    let grows = heir.end > from.end && heir.backing() != Backing::Anonymous;
    (fits && !grows && like(heir) == like(from)).then_some(from)
}

/// VmFlags that a protection changes (mprotect(2)), and soft-dirty.
const VARYING: [[u8; 2]; 4] = [*b"rd", *b"wr", *b"ex", *b"sd"];

/// Pages of an heir's mapping that are to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The first address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// The donor has no pages there: those of zeros need not be saved.
    pub zeros_are_nothing: bool,
}

/// What of an heir's mapping differs from its donor's.
#[derive(Debug, Default)]
pub struct Difference {
    /// Pages to be saved.
    pub saved: Vec<Saved>,
    /// Pages that the donor has, and the heir has not.
    pub dropped: Vec<Range>,
}

impl Difference {
    fn save(&mut self, start: u64, end: u64, zeros_are_nothing: bool) {
        match self.saved.last_mut() {
            Some(last) if last.end == start && last.zeros_are_nothing == zeros_are_nothing => last.end = end,
            _ => self.saved.push(Saved { start, end, zeros_are_nothing }),
        }
    }

    fn drop(&mut self, start: u64, end: u64) {
        match self.dropped.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.dropped.push((start, end)),
        }
    }
}

/// The page table of a stopped process.
pub struct PageTable {
    pid: i32,
    pagemap: File,
    mem: File,
    /// Entries that have been read, by the address of the first. A donor has many heirs, which ask for the same.
    windows: RefCell<HashMap<u64, Vec<u8>>>,
}

/// Pages whose entries are read at a time: 1 MiB of entries.
const WINDOW: u64 = 1 << 17;
/// Bytes of entries that are kept of a process.
const WINDOWS_MAX: usize = 4 << 20;

impl PageTable {
    /// That of a process.
    pub fn open(pid: i32) -> Result<Self, Error> {
        let open = |name: &str| {
            File::open(format!("/proc/{pid}/{name}")).map_err(|error| Error::proc(pid, name, error))
        };
        Ok(Self { pid, pagemap: open("pagemap")?, mem: open("mem")?, windows: RefCell::default() })
    }

    /// The ranges that hold pages of its own.
    fn own_pages(&self, (start, end): Range) -> Result<Vec<Range>, Error> {
        let filter = PageFilter {
            all_of: PageIs::empty(),
            none_of: PageIs::FILE | PageIs::PFNZERO,
            any_of: PageIs::PRESENT | PageIs::SWAPPED,
            tell: PageIs::empty(),
        };
        let mut ranges: Vec<Range> = Vec::new();
        let scanned =
            vm::scan_pages(self.pagemap.as_fd(), start, end, &filter, |region| match ranges.last_mut() {
                Some(last) if last.1 == region.start => last.1 = region.end,
                _ => ranges.push((region.start, region.end)),
            });
        scanned.map_err(|errno| Error::call("PAGEMAP_SCAN (needs Linux 6.7)", errno))?;
        Ok(ranges)
    }

    /// Gives `with` the entries of a range, no longer than a window.
    fn entries<T>(&self, (start, end): Range, with: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        let mut windows = self.windows.borrow_mut();
        let len = ((end - start) / PAGE_SIZE * 8) as usize;
        let known: usize = windows.values().map(Vec::len).sum();
        if windows.get(&start).is_none_or(|window| window.len() != len) {
            if known + len > WINDOWS_MAX {
                windows.clear();
            }
            let mut window = vec![0; len];
            let offset = start / PAGE_SIZE * 8;
            let read = self.pagemap.read_exact_at(&mut window, offset);
            read.map_err(|error| Error::proc(self.pid, "pagemap", error))?;
            windows.insert(start, window);
        }
        Ok(with(windows.get(&start).map_or(&[], Vec::as_slice)))
    }

    fn page(&self, address: u64) -> Result<[u8; PAGE_SIZE as usize], Error> {
        let mut page = [0; PAGE_SIZE as usize];
        // Not by process_vm_readv(2), which would unshare it.
        let read = self.mem.read_exact_at(&mut page, address);
        read.map_err(|error| {
            Error::proc(self.pid, "mem", format!("reading the page at {address:x}: {error}"))
        })?;
        Ok(page)
    }
}

/// What differs in a mapping of an heir, made from one of its donor.
pub fn difference(heir: (&PageTable, &Record), donor: (&PageTable, &Record)) -> Result<Difference, Error> {
    let common = (heir.1.start, heir.1.end.min(donor.1.end));
    let is_anonymous = heir.1.backing() == Backing::Anonymous;
    let mut difference = Difference::default();
    for range in ranges_in_use(common, heir.0, donor.0)? {
        let mut at = range.0;
        while at < range.1 {
            let stop = range.1.min(at + WINDOW * PAGE_SIZE);
            compare((at, stop), heir.0, donor.0, is_anonymous, &mut difference)?;
            at = stop;
        }
    }
    if heir.1.end > common.1 {
        difference.save(common.1, heir.1.end, is_anonymous);
    }
    Ok(difference)
}

/// The ranges in which one of the two has pages of its own. A small mapping is one.
fn ranges_in_use(common: Range, heir: &PageTable, donor: &PageTable) -> Result<Vec<Range>, Error> {
    if (common.1 - common.0) / PAGE_SIZE <= WINDOW {
        return Ok(vec![common]);
    }
    let mut all = heir.own_pages(common)?;
    all.extend(donor.own_pages(common)?);
    all.sort_unstable();
    all.dedup_by(|next, before| {
        let touches = next.0 <= before.1;
        if touches {
            before.1 = before.1.max(next.1);
        }
        touches
    });
    Ok(all)
}

/// Sorts out the pages of a range: the same frame in both, the heir's alone or another than the donor's, the donor's
/// alone.
fn compare(
    range: Range,
    heir: &PageTable,
    donor: &PageTable,
    is_anonymous: bool,
    difference: &mut Difference,
) -> Result<(), Error> {
    donor.entries(range, |theirs| {
        heir.entries(range, |ours| {
            if ours == theirs && !may_be_hidden(ours) {
                return Ok(());
            }
            let pairs = pagemap::entries(ours).zip(pagemap::entries(theirs));
            for (address, (a, b)) in (range.0..).step_by(PAGE_SIZE as usize).zip(pairs) {
                match (is_own(a), is_own(b)) {
                    (true, true) if is_same_page(a, b, address, heir, donor)? => {}
                    (true, has_donor) => {
                        difference.save(address, address + PAGE_SIZE, is_anonymous && !has_donor);
                    }
                    (false, true) => difference.drop(address, address + PAGE_SIZE),
                    (false, false) => {}
                }
            }
            Ok(())
        })?
    })?
}

/// Whether a page is the process's own: not the file's, no guard.
fn is_own(entry: pagemap::Entry) -> bool {
    (entry.present() || entry.swapped()) && !entry.file_or_shared() && !entry.guard()
}

/// Whether equal entries may stand for different pages: where frames are hidden (no `CAP_SYS_ADMIN`).
fn may_be_hidden(entries: &[u8]) -> bool {
    pagemap::entries(entries).any(|entry| is_own(entry) && entry.pfn().is_none() && !is_told_swap(entry))
}

fn is_told_swap(entry: pagemap::Entry) -> bool {
    entry.swap().is_some_and(|swap| swap.offset != 0 || swap.kind != 0)
}

fn is_same_page(
    a: pagemap::Entry,
    b: pagemap::Entry,
    address: u64,
    heir: &PageTable,
    donor: &PageTable,
) -> Result<bool, Error> {
    // A page that is mapped once is nobody else's.
    if a.present() != b.present() || (a.present() && (a.exclusive() || b.exclusive())) {
        return Ok(false);
    }
    match (a.pfn(), b.pfn()) {
        (Some(a), Some(b)) => Ok(a == b),
        (None, None) if is_told_swap(a) && is_told_swap(b) => Ok(a.swap() == b.swap()),
        // Where they are is hidden: the same contents will do.
        _ => Ok(heir.page(address)? == donor.page(address)?),
    }
}
