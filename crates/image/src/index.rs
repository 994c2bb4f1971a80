//! The index of an image in a file: found from the back, without reading the rest.
//!
//! ```text
//!  ... | index frame | ... | index frame | padding | end frame | footer |
//!           ^-- previous ------'  ^--------- index ----'  ^- end ---'
//! ```
//!
//! What it says is verified as far as it can be without the rest: checksums, order, and that the chain is complete.
//! That the frames are what it says is checked when they are read ([`read_pages`](crate::read_pages)), and for the
//! whole image by [`verify`](crate::verify).

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

use zerocopy::FromBytes;

use crate::error::ReadError;
use crate::frame::{self, FrameKind};
use crate::header::Header;
use crate::index_entries::{self, Entry, EntryKind, Place};
use crate::layout::{ENTRIES_LIMIT, EndBody, FileHeader, Footer, FrameHeader, IndexHead};
use crate::ledger;
use crate::read_at::{ReadAt, fill_at, read_exact_at, read_header, read_payload};
use crate::summary::Summary;

/// Where all records and page frames of an image are.
#[derive(Debug)]
pub struct Index {
    header: Header,
    summary: Summary,
    entries: Vec<Entry>,
    by_place: Vec<Sorted>,
}

/// A page frame, in the order of the lowest places.
#[derive(Clone, Copy, Debug)]
struct Sorted {
    entry: u32,
    /// The highest end of this frame and all before it.
    reach: Place,
}

impl Index {
    /// Reads header, end and index of an image that starts at the beginning of `file` and ends at its end.
    ///
    /// # Errors
    /// If `file` is no image, or these parts of it are damaged.
    pub fn read<F: Read + Seek>(file: &mut F) -> Result<Self, ReadError> {
        let len = file.seek(SeekFrom::End(0)).map_err(ReadError::io(0))?;
        Self::read_at(&Seeking(Mutex::new(file)), len)
    }

    /// As [`read`](Self::read), for an image of `len` bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_at<F: ReadAt + ?Sized>(file: &F, len: u64) -> Result<Self, ReadError> {
        let mut bytes = [0; size_of::<FileHeader>()];
        let got = fill_at(file, &mut bytes, 0)?;
        let header = Header::decode(&bytes[..got])?;
        let end = find_end(file, len)?;
        let (summary, last) = read_end(file, end)?;
        let entries = read_chain(file, last, end, &summary)?;
        let records =
            entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Record(_))).count() as u64;
        let page_frames = entries.len() as u64 - records;
        if (records, page_frames) != (summary.records, summary.page_frames) {
            return Err(ReadError::corrupt("the index does not list as many frames as there are", end));
        }
        let by_place = sort(&entries);
        Ok(Index { header, summary, entries, by_place })
    }

    /// What the image says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The counts and the digest that the image claims to have.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// All records and page frames, in stream order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The page frames that may hold the page at `place`, latest in the stream first: where several do hold it, the
    /// first of these counts.
    pub fn pages_at(&self, place: Place) -> Vec<Entry> {
        let low = |sorted: &Sorted| match self.entries.get(sorted.entry as usize).map(|entry| entry.kind) {
            Some(EntryKind::Pages(extent)) => extent.low,
            _ => Place { space: 0, address: 0 },
        };
        let end = self.by_place.partition_point(|sorted| low(sorted) <= place);
        let reaching = self.by_place[..end].iter().rev().take_while(|sorted| sorted.reach > place);
        let entries = reaching.filter_map(|sorted| self.entries.get(sorted.entry as usize).copied());
        let mut found: Vec<Entry> = entries
            .filter(|entry| matches!(entry.kind, EntryKind::Pages(extent) if extent.may_hold(place)))
            .collect();
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.offset));
        found
    }
}

/// Where the end frame is, by the footer.
fn find_end<F: ReadAt + ?Sized>(file: &F, len: u64) -> Result<u64, ReadError> {
    let Some(at) = len.checked_sub(size_of::<Footer>() as u64) else {
        return Err(ReadError::Truncated { offset: len, reading: "the file header" });
    };
    let mut bytes = [0; size_of::<Footer>()];
    read_exact_at(file, &mut bytes, at, "the footer")?;
    let tail = (size_of::<FrameHeader>() + size_of::<EndBody>()) as u64;
    match at.checked_sub(tail) {
        Some(end) if frame::check_footer(&bytes, end).is_ok() => Ok(end),
        _ => Err(ReadError::NoFooter),
    }
}

/// Reads the end frame; what it says of the image, and where the last index frame is.
fn read_end<F: ReadAt + ?Sized>(file: &F, offset: u64) -> Result<(Summary, u64), ReadError> {
    let (_, info) = read_header(file, offset, None)?;
    if info.kind != FrameKind::End {
        return Err(info.corrupt("the footer does not point to the end frame"));
    }
    let mut payload = Vec::new();
    read_payload(file, &info, &mut payload)?;
    let Ok(body) = EndBody::read_from_bytes(&payload) else {
        return Err(info.corrupt("the end frame has another size than it must"));
    };
    Ok((ledger::summary(&body, offset), body.index.get()))
}

/// Reads the index frames from the last, at `offset`, back to the first; all entries, in stream order.
fn read_chain<F: ReadAt + ?Sized>(
    file: &F,
    offset: u64,
    end: u64,
    summary: &Summary,
) -> Result<Vec<Entry>, ReadError> {
    let mut missing = count_entries(summary, end)?;
    let mut frames = Vec::new();
    let mut payload = Vec::new();
    let (mut at, mut above) = (offset, end);
    while at != 0 {
        if at >= above {
            return Err(ReadError::corrupt("the index frames are not in order", at));
        }
        let (_, info) = read_header(file, at, None)?;
        if info.kind != FrameKind::Index {
            return Err(info.corrupt("a frame that must be an index frame is none"));
        }
        read_payload(file, &info, &mut payload)?;
        let Some((head, entries)) = decode(&payload, at, missing) else {
            return Err(info.corrupt("an index frame contradicts itself, the one after it, or the end"));
        };
        missing = head.first.get();
        (above, at) = (entries.first().map_or(at, |entry| entry.offset), head.previous.get());
        frames.push(entries);
    }
    if missing != 0 {
        return Err(ReadError::corrupt("the index does not list as many frames as there are", end));
    }
    Ok(frames.into_iter().rev().flatten().collect())
}

/// How many entries the index must have, if there can be as many.
fn count_entries(summary: &Summary, end: u64) -> Result<u64, ReadError> {
    let count = summary.records.saturating_add(summary.page_frames);
    if count > ENTRIES_LIMIT {
        return Err(ReadError::LongIndex { entries: count, limit: ENTRIES_LIMIT });
    }
    if count > end / size_of::<FrameHeader>() as u64 {
        return Err(ReadError::corrupt(
            "the counts at the end are of more frames than there is room for",
            end,
        ));
    }
    Ok(count)
}

/// Decodes the index frame at `offset`, whose last entry is the last of the first `due` of the stream.
fn decode(payload: &[u8], offset: u64, due: u64) -> Option<(IndexHead, Vec<Entry>)> {
    let (head, bytes) = IndexHead::read_from_prefix(payload).ok()?;
    let IndexHead { previous, first, count, reserved } = head;
    let count = u64::from(count.get());
    let in_order = first.get().checked_add(count) == Some(due);
    if !in_order || reserved.get() != 0 {
        return None;
    }
    let entries = index_entries::decode(bytes)?;
    let in_place = entries.first()?.offset > previous.get() && entries.last()?.offset < offset;
    (entries.len() as u64 == count && in_place).then_some((head, entries))
}

fn sort(entries: &[Entry]) -> Vec<Sorted> {
    let pages = |(number, entry): (usize, &Entry)| match entry.kind {
        EntryKind::Pages(extent) => Some((extent, u32::try_from(number).ok()?)),
        EntryKind::Record(_) => None,
    };
    let mut frames: Vec<_> = entries.iter().enumerate().filter_map(pages).collect();
    frames.sort_by_key(|(extent, _)| extent.low);
    let mut reach = Place { space: 0, address: 0 };
    let sorted = frames.iter().map(|(extent, entry)| {
        reach = reach.max(extent.high);
        Sorted { entry: *entry, reach }
    });
    sorted.collect()
}

/// Random access by seeking.
struct Seeking<'a, F>(Mutex<&'a mut F>);

impl<F: Read + Seek> ReadAt for Seeking<'_, F> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(offset))?;
        file.read(buf)
    }
}
