//! Page buffers: a page frame in memory, filled by a checkpoint or by a [`Reader`](crate::Reader).
//!
//! The buffer is laid out as a raw page frame is in the stream, so that neither writing nor reading one copies it:
//!
//! ```text
//!  aligned to 4096
//!  | frame header 32 | page head 16 | run table 16 each ... 0 | contents, up to 1 MiB |
//!  '------------------------- 4096 bytes --------------------'
//! ```
//!
//! Buffers are meant to be reused: fresh memory costs more than filling it (page faults).

use std::fmt;

use zerocopy::FromBytes;

use crate::aligned::Aligned;
use crate::codec::Coder;
use crate::error::{PushError, ReadError};
use crate::frame::FrameInfo;
use crate::index_entries::Extent;
use crate::layout::{
    DATA_LIMIT, FrameHeader, PAGE, PAGE_U64, PAGES_LIMIT, PageHead, RAW_HEAD, RUNS_LIMIT, RunEntry, codec,
};

/// Consecutive pages of one space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Which address space or shared object.
    pub space: u32,
    /// Where the first page is in that space, in bytes; a multiple of 4096.
    pub address: u64,
    /// Pages of 4096 bytes, at least one.
    pub pages: u32,
}

impl Run {
    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.pages as usize * PAGE
    }

    /// The address after the last byte.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(u64::from(self.pages) * PAGE_U64)
    }

    /// Whether the run is not empty, starts at a page, and ends before the end of the address space.
    pub(crate) fn check(&self) -> Result<(), PushError> {
        let Run { space: _, address, pages } = *self;
        if pages == 0 {
            return Err(PushError::NoPages);
        }
        if !address.is_multiple_of(PAGE_U64) {
            return Err(PushError::Unaligned { address });
        }
        match address.checked_add(u64::from(pages) * PAGE_U64) {
            Some(_) => Ok(()),
            None => Err(PushError::Wraps { address, pages }),
        }
    }
}

/// Where the frame header ends and the payload starts.
const HEADER: usize = size_of::<FrameHeader>();

/// Up to 1 MiB of page contents in up to 253 runs, at an aligned address. `Send`, and made to be reused.
pub struct PageBuffer {
    pub(crate) block: Aligned,
    pub(crate) runs: Vec<Run>,
    pub(crate) pages: u32,
    /// A compressed frame, as it is in the stream; longest use so far.
    pub(crate) packed: Vec<u8>,
    pub(crate) coder: Coder,
}

impl fmt::Debug for PageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBuffer").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Default for PageBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl PageBuffer {
    /// An empty buffer. Its memory is touched as it is used.
    pub fn new() -> Self {
        PageBuffer {
            block: Aligned::new(PAGE + DATA_LIMIT),
            runs: Vec::with_capacity(RUNS_LIMIT),
            pages: 0,
            packed: Vec::new(),
            coder: Coder::default(),
        }
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.pages = 0;
    }

    /// Whether there are no runs.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Pages held.
    pub fn len_pages(&self) -> u32 {
        self.pages
    }

    /// Pages that still fit; zero also when the run table is full (a run that extends the last one may fit even so).
    pub fn room_pages(&self) -> u32 {
        if self.runs.len() < RUNS_LIMIT { PAGES_LIMIT - self.pages } else { 0 }
    }

    /// Appends `pages` pages at `address` (bytes) of `space` and gives the memory to put their contents into, which
    /// holds leftovers of earlier use. Extends the last run where it continues it.
    ///
    /// # Errors
    /// [`PushError::Full`] if they do not fit, others if the run itself is impossible; the buffer is as before.
    pub fn push(&mut self, space: u32, address: u64, pages: u32) -> Result<&mut [u8], PushError> {
        let run = Run { space, address, pages };
        run.check()?;
        let extends = self.runs.last().is_some_and(|last| last.space == space && last.end() == address);
        let room = if extends { PAGES_LIMIT - self.pages } else { self.room_pages() };
        if pages > room {
            return Err(PushError::Full { pages, room });
        }
        match self.runs.last_mut() {
            Some(last) if extends => last.pages += pages,
            _ => self.runs.push(run),
        }
        let start = self.pages as usize * PAGE;
        self.pages += pages;
        Ok(&mut self.data_mut()[start..])
    }

    /// Keeps the first `pages` pages only, shortening or dropping the last runs: for a read that came back short.
    pub fn truncate(&mut self, pages: u32) {
        while self.pages > pages {
            let excess = self.pages - pages;
            match self.runs.last_mut() {
                Some(last) if last.pages > excess => {
                    last.pages -= excess;
                    self.pages = pages;
                }
                Some(last) => {
                    self.pages -= last.pages;
                    self.runs.pop();
                }
                None => self.pages = 0,
            }
        }
    }

    /// The runs, in the order of their contents.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The contents of all runs, one after the other; starts at a multiple of 4096 in memory.
    pub fn data(&self) -> &[u8] {
        &self.block.bytes()[PAGE..][..self.pages as usize * PAGE]
    }

    /// The contents of all runs, to be changed.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let len = self.pages as usize * PAGE;
        &mut self.block.bytes_mut()[PAGE..][..len]
    }

    /// Each run with its contents.
    pub fn iter(&self) -> impl Iterator<Item = (Run, &[u8])> {
        let mut rest = self.data();
        self.runs.iter().map_while(move |run| {
            let (contents, after) = rest.split_at_checked(run.bytes())?;
            rest = after;
            Some((*run, contents))
        })
    }

    /// The pages held, for the index.
    pub(crate) fn extent(&self) -> Extent {
        Extent::of(&self.runs)
    }
}

/// Reading: the payload of a frame is put into the buffer by the reader, then accepted.
impl PageBuffer {
    /// Where to put the payload of a page frame with the zeros after it, `len` bytes in all.
    pub(crate) fn landing(&mut self, codec: u32, len: usize) -> &mut [u8] {
        self.clear();
        if codec == codec::RAW {
            return &mut self.block.bytes_mut()[HEADER..HEADER + len];
        }
        if self.packed.len() < len {
            self.packed.resize(len, 0);
        }
        &mut self.packed[..len]
    }

    /// Verifies the payload in the landing place and makes its runs and contents the buffer's; empty if that fails.
    pub(crate) fn accept(&mut self, frame: &FrameInfo) -> Result<(), ReadError> {
        let accepted = self.take_landed(frame);
        if accepted.is_err() {
            self.clear();
        }
        accepted
    }

    fn take_landed(&mut self, frame: &FrameInfo) -> Result<(), ReadError> {
        let raw = frame.detail == codec::RAW;
        let landed = if raw { &self.block.bytes()[HEADER..] } else { &self.packed[..] };
        let payload = frame.checked_payload(landed)?;
        let head = decode_head(payload, frame)?;
        let runs = payload[size_of::<PageHead>()..].chunks_exact(size_of::<RunEntry>());
        for entry in runs.take(head.runs.get() as usize) {
            self.runs.push(decode_run(entry, frame)?);
        }
        if self.runs.iter().map(|run| u64::from(run.pages)).sum::<u64>() != u64::from(head.pages.get()) {
            return Err(frame.corrupt("the runs of a page frame do not add up to its pages"));
        }
        self.pages = head.pages.get();
        if raw { Ok(()) } else { self.expand(frame) }
    }

    fn expand(&mut self, frame: &FrameInfo) -> Result<(), ReadError> {
        let table = size_of::<PageHead>() + self.runs.len() * size_of::<RunEntry>();
        let stored = &self.packed[table..frame.length];
        let contents = &mut self.block.bytes_mut()[PAGE..][..self.pages as usize * PAGE];
        match self.coder.expand(frame.detail, stored, contents) {
            Some(()) => Ok(()),
            None => Err(frame.corrupt("compressed pages do not expand to what their frame says")),
        }
    }
}

/// Reads and checks the head of a page frame's payload; what it says fits the payload.
fn decode_head(payload: &[u8], frame: &FrameInfo) -> Result<PageHead, ReadError> {
    let Ok((head, _)) = PageHead::read_from_prefix(payload) else {
        return Err(frame.corrupt("a page frame is too short for its head"));
    };
    let PageHead { pages, runs, stored, reserved } = head;
    let (pages, runs, stored) = (pages.get(), runs.get() as usize, stored.get() as usize);
    if pages == 0 || pages > PAGES_LIMIT || runs == 0 || runs > RUNS_LIMIT || reserved.get() != 0 {
        return Err(frame.corrupt("the head of a page frame is out of its limits"));
    }
    let bytes = pages as usize * PAGE;
    let table = size_of::<PageHead>() + runs * size_of::<RunEntry>();
    let fits = match frame.detail {
        codec::RAW => {
            let zeros = payload.get(table..RAW_HEAD).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            stored == bytes && frame.length == RAW_HEAD + bytes && zeros
        }
        _ => stored != 0 && stored < bytes && frame.length == table + stored,
    };
    if fits { Ok(head) } else { Err(frame.corrupt("the sizes in a page frame contradict each other")) }
}

fn decode_run(entry: &[u8], frame: &FrameInfo) -> Result<Run, ReadError> {
    let run = match RunEntry::read_from_bytes(entry) {
        Ok(RunEntry { space, pages, address }) => {
            Run { space: space.get(), address: address.get(), pages: pages.get() }
        }
        Err(_) => return Err(frame.corrupt("a page frame is too short for its run table")),
    };
    match run.check() {
        Ok(()) if run.pages <= PAGES_LIMIT => Ok(run),
        _ => Err(frame.corrupt("a run of pages is empty, not aligned, too long or wraps around")),
    }
}

/// The runs that the payload of a page frame seems to have, unchecked, for whoever comes before the check.
pub(crate) fn runs_unchecked(payload: &[u8]) -> Vec<Run> {
    let Ok((head, table)) = PageHead::read_from_prefix(payload) else { return Vec::new() };
    let runs = (head.runs.get() as usize).min(RUNS_LIMIT);
    let entries = table.chunks_exact(size_of::<RunEntry>()).take(runs);
    let entries = entries.filter_map(|entry| RunEntry::read_from_bytes(entry).ok());
    entries.map(|e| Run { space: e.space.get(), address: e.address.get(), pages: e.pages.get() }).collect()
}

/// A page frame as read: verified and expanded.
#[derive(Clone, Copy, Debug)]
pub struct PageFrame<'a> {
    pub(crate) buffer: &'a PageBuffer,
    /// Where the frame starts in the stream, in bytes.
    pub offset: u64,
}

impl<'a> PageFrame<'a> {
    /// The runs, in the order of their contents.
    pub fn runs(&self) -> &'a [Run] {
        self.buffer.runs()
    }

    /// The contents of all runs, one after the other; starts at a multiple of 4096 in memory.
    pub fn data(&self) -> &'a [u8] {
        self.buffer.data()
    }

    /// Each run with its contents.
    pub fn iter(&self) -> impl Iterator<Item = (Run, &'a [u8])> + use<'a> {
        self.buffer.iter()
    }
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<PageBuffer>();
    assert!(RUNS_LIMIT == 253);
};
