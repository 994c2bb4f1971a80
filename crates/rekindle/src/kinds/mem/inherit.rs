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
use rekindle_sys::vm::{self, PageFilter, PageIs};
use rekindle_sys::{Errno, PAGE_SIZE};
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
        (m.shared, m.backing, m.file, m.name.clone(), m.policy.clone(), m.huge_page, flags)
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

/// What of an heir's mapping differs from its donor's.
#[derive(Debug, Default)]
pub struct Difference {
    /// Pages to be saved.
    pub saved: Vec<Range>,
    /// Pages that the donor has, and the heir has not.
    pub dropped: Vec<Range>,
}

/// The page tables of two stopped processes.
pub struct Comparison {
    heir: Side,
    donor: Side,
}

struct Side {
    pid: i32,
    pagemap: File,
}

impl Side {
    fn open(pid: i32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/pagemap");
        let pagemap = File::open(&path).map_err(|error| Error::proc(pid, "pagemap", error))?;
        Ok(Self { pid, pagemap })
    }

    /// The ranges of pages of its own.
    fn own_pages(&self, (start, end): Range) -> Result<Vec<Range>, Error> {
        let guards = if vm::knows_categories(self.pagemap.as_fd(), PageIs::GUARD) {
            PageIs::GUARD
        } else {
            PageIs::empty()
        };
        let filter = PageFilter {
            all_of: PageIs::empty(),
            none_of: PageIs::FILE | PageIs::PFNZERO | guards,
            any_of: PageIs::PRESENT | PageIs::SWAPPED,
            tell: PageIs::empty(),
        };
        let mut ranges: Vec<Range> = Vec::new();
        let scanned = vm::scan_pages(self.pagemap.as_fd(), start, end, &filter, |region| {
            add(&mut ranges, region.start, region.end);
        });
        scanned.map_err(|errno| Error::call("PAGEMAP_SCAN (needs Linux 6.7)", errno))?;
        Ok(ranges)
    }

    fn entries(&self, start: u64, pages: usize, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.resize(pages * 8, 0);
        let offset = start / PAGE_SIZE * 8;
        self.pagemap.read_exact_at(bytes, offset).map_err(|error| Error::proc(self.pid, "pagemap", error))
    }

    fn page(&self, address: u64) -> Result<[u8; PAGE_SIZE as usize], Error> {
        let mut page = [0; PAGE_SIZE as usize];
        match vm::read(self.pid, address, &mut page) {
            Ok(count) if count == page.len() => Ok(page),
            Ok(_) => Err(Error::call(format!("reading the page at {address:x}"), Errno::FAULT)),
            Err(errno) => Err(Error::call(format!("reading the page at {address:x}"), errno)),
        }
    }
}

/// Pages whose entries are read at a time.
const WINDOW: u64 = 4096;

impl Comparison {
    /// Of two processes.
    pub fn of(heir: i32, donor: i32) -> Result<Self, Error> {
        Ok(Self { heir: Side::open(heir)?, donor: Side::open(donor)? })
    }

    /// What differs in a mapping of the heir, made from one of the donor.
    pub fn difference(&self, heir: &Record, donor: &Record) -> Result<Difference, Error> {
        let common = (heir.start, heir.end.min(donor.end));
        let (ours, theirs) = (self.heir.own_pages(common)?, self.donor.own_pages(common)?);
        let mut difference = Difference::default();
        for range in without(&theirs, &ours) {
            add(&mut difference.dropped, range.0, range.1);
        }
        let alone = without(&ours, &theirs);
        let both = without(&ours, &alone);
        let mut changed = Vec::new();
        for (start, end) in both {
            let mut at = start;
            while at < end {
                let stop = end.min(at + WINDOW * PAGE_SIZE);
                self.compare(at, stop, &mut changed)?;
                at = stop;
            }
        }
        if heir.end > common.1 {
            changed.push((common.1, heir.end));
        }
        difference.saved = merged(&alone, &changed);
        Ok(difference)
    }

    /// Adds the pages of a range that are not in the same frame.
    fn compare(&self, start: u64, end: u64, changed: &mut Vec<Range>) -> Result<(), Error> {
        let pages = ((end - start) / PAGE_SIZE) as usize;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.heir.entries(start, pages, &mut ours)?;
        self.donor.entries(start, pages, &mut theirs)?;
        let pairs = pagemap::entries(&ours).zip(pagemap::entries(&theirs));
        for (index, (a, b)) in (0_u64..).zip(pairs) {
            let address = start + index * PAGE_SIZE;
            if !self.is_same_page(a, b, address)? {
                add(changed, address, address + PAGE_SIZE);
            }
        }
        Ok(())
    }

    fn is_same_page(&self, a: pagemap::Entry, b: pagemap::Entry, address: u64) -> Result<bool, Error> {
        // A page that is mapped once is nobody else's.
        if a.present() != b.present() || (a.present() && (a.exclusive() || b.exclusive())) {
            return Ok(false);
        }
        match (a.pfn(), b.pfn(), a.swap(), b.swap()) {
            (Some(a), Some(b), ..) => Ok(a == b),
            (None, None, Some(a), Some(b)) if a.offset != 0 || a.kind != 0 => Ok(a == b),
            // The kernel hides where pages are (no CAP_SYS_ADMIN): the same contents will do.
            _ => Ok(self.heir.page(address)? == self.donor.page(address)?),
        }
    }
}

/// Adds a range behind the others, joined with the last if it follows on it.
fn add(ranges: &mut Vec<Range>, start: u64, end: u64) {
    match ranges.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => ranges.push((start, end)),
    }
}

/// What of some ranges is not in others; both in order.
fn without(ranges: &[Range], others: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    let mut others = others.iter().peekable();
    for (start, end) in ranges.iter().copied() {
        let mut at = start;
        while let Some(other) = others.peek() {
            if other.1 <= at {
                others.next();
                continue;
            }
            if other.0 >= end {
                break;
            }
            if other.0 > at {
                left.push((at, other.0));
            }
            at = other.1;
            if at >= end {
                break;
            }
        }
        if at < end {
            left.push((at, end));
        }
    }
    left
}

/// Two lists of ranges that have nothing in common, as one; all in order.
fn merged(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut all: Vec<Range> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut joined = Vec::with_capacity(all.len());
    for (start, end) in all {
        add(&mut joined, start, end);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_without_others() {
        assert_eq!(without(&[(0, 10)], &[(2, 3), (5, 7)]), [(0, 2), (3, 5), (7, 10)]);
        assert_eq!(without(&[(0, 4), (6, 9)], &[(3, 7)]), [(0, 3), (7, 9)]);
        assert_eq!(without(&[(0, 4)], &[(0, 4)]), []);
        assert_eq!(without(&[(2, 4)], &[(0, 1), (5, 6)]), [(2, 4)]);
        assert_eq!(without(&[(0, 2), (3, 4), (6, 8)], &[(1, 7)]), [(0, 1), (7, 8)]);
    }

    #[test]
    fn ranges_are_joined() {
        assert_eq!(merged(&[(0, 1), (4, 5)], &[(1, 2), (6, 7)]), [(0, 2), (4, 5), (6, 7)]);
    }
}
