//! Index entries, and their encoding: one way only, so that a reader can check an index by making it again.
//!
//! An entry is some LEB128 numbers; the first entry of each index frame is encoded as if an entry with all zeros
//! stood before it.
//!
//! ```text
//!  (offset - offset of the entry before) / 8
//!  0 for a page frame, record type + 1 for a record
//!  page frames only:
//!    pages
//!    low.space
//!    zigzag(low.page - high.page of the page frame before)       page = address / 4096
//!    high.space - low.space
//!    high.page - low.page if the spaces are the same, else high.page
//! ```
//!
//! About 11 bytes for a page frame, 3 for a record.

use crate::layout::{FRAME_ALIGN, FrameHeader, PAGE_U64, PAGES_LIMIT};
use crate::pages::Run;
use crate::record::RecordType;

/// A place in memory: a space, and a byte address (or offset) in it. Ordered by space, then address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which address space or shared object.
    pub space: u32,
    /// The address in it, in bytes.
    pub address: u64,
}

/// Between which places the pages of a frame are. Not all pages between them need be in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Pages in the frame.
    pub pages: u32,
    /// The lowest of them.
    pub low: Place,
    /// After the last byte of the highest of them.
    pub high: Place,
}

impl Extent {
    pub(crate) fn of(runs: &[Run]) -> Self {
        let zero = Place { space: 0, address: 0 };
        let low = runs.iter().map(|run| Place { space: run.space, address: run.address }).min();
        let high = runs.iter().map(|run| Place { space: run.space, address: run.end() }).max();
        let pages = runs.iter().fold(0_u32, |sum, run| sum.wrapping_add(run.pages));
        Extent { pages, low: low.unwrap_or(zero), high: high.unwrap_or(zero) }
    }

    /// Whether a page at `place` may be in the frame.
    pub fn may_hold(&self, place: Place) -> bool {
        self.low <= place && place < self.high
    }
}

/// What an index entry points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A record.
    Record(RecordType),
    /// A page frame.
    Pages(Extent),
}

/// One record or page frame, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its frame starts in the stream, in bytes.
    pub offset: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What the numbers of the next entry are relative to.
#[derive(Clone, Copy, Default)]
struct Before {
    offset: u64,
    page: u64,
}

/// The entries of one index frame being made.
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
    before: Before,
}

impl Entries {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.before = Before::default();
    }

    pub(crate) fn record(&mut self, offset: u64, ty: RecordType) {
        self.place(offset);
        self.number(u64::from(ty.0) + 1);
    }

    pub(crate) fn pages(&mut self, offset: u64, extent: &Extent) {
        self.place(offset);
        let Extent { pages, low, high } = *extent;
        let (low_page, high_page) = (low.address / PAGE_U64, high.address / PAGE_U64);
        self.number(0);
        self.number(u64::from(pages));
        self.number(u64::from(low.space));
        self.number(zigzag(low_page.wrapping_sub(self.before.page)));
        self.number(u64::from(high.space.wrapping_sub(low.space)));
        let same = high.space == low.space;
        self.number(if same { high_page.wrapping_sub(low_page) } else { high_page });
        self.before.page = high_page;
    }

    fn place(&mut self, offset: u64) {
        self.number(offset.wrapping_sub(self.before.offset) / FRAME_ALIGN as u64);
        self.before.offset = offset;
        self.count = self.count.saturating_add(1);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// A signed difference as a small unsigned number.
fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// Reads the entries of one index frame; none if any of them makes no sense.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut decoder = Decoder { rest: bytes, before: Before::default() };
    let mut entries = Vec::new();
    while !decoder.rest.is_empty() {
        entries.push(decoder.entry()?);
    }
    Some(entries)
}

struct Decoder<'a> {
    rest: &'a [u8],
    before: Before,
}

impl Decoder<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(*byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn entry(&mut self) -> Option<Entry> {
        let step = self.number()?.checked_mul(FRAME_ALIGN as u64)?;
        // No frame is shorter than its header, so an index is never much larger than what it indexes.
        let offset =
            self.before.offset.checked_add(step).filter(|_| step >= size_of::<FrameHeader>() as u64)?;
        self.before.offset = offset;
        let kind = match self.number()? {
            0 => EntryKind::Pages(self.extent()?),
            number => EntryKind::Record(RecordType(u16::try_from(number - 1).ok()?)),
        };
        Some(Entry { offset, kind })
    }

    fn extent(&mut self) -> Option<Extent> {
        let pages = u32::try_from(self.number()?).ok().filter(|pages| (1..=PAGES_LIMIT).contains(pages))?;
        let low_space = u32::try_from(self.number()?).ok()?;
        let low_page = self.before.page.wrapping_add(unzigzag(self.number()?));
        let spaces = u32::try_from(self.number()?).ok()?;
        let last = self.number()?;
        let high_page = if spaces == 0 { low_page.checked_add(last)? } else { last };
        self.before.page = high_page;
        let low = Place { space: low_space, address: low_page.checked_mul(PAGE_U64)? };
        let high = Place { space: low_space.checked_add(spaces)?, address: high_page.checked_mul(PAGE_U64)? };
        (low < high).then_some(Extent { pages, low, high })
    }
}
