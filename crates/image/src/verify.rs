//! Verifying a whole image in a file, with several threads.
//!
//! The threads take turns at walking from frame header to frame header, which keeps the ledger of the stream; the
//! payload of the frame that it found, each thread reads and checks by itself. So sequence, digest and index are
//! checked in order, and the bytes in parallel.
//!
//! ```text
//!  walk (locked):      header 0 | header 1 | header 2 | ...          ledger, digest, index, end
//!  thread A                     '- payload 0 --------| ...          checksum, runs, expansion
//!  thread B                                '- payload 1 ------| ...
//! ```
//!
//! Of several faults the first in the stream is reported, as a [`Reader`](crate::Reader) would.

use std::sync::{Mutex, MutexGuard};
use std::thread;

use crate::error::ReadError;
use crate::frame::{self, FrameInfo, FrameKind};
use crate::header::Header;
use crate::index_entries::Extent;
use crate::layout::{FileHeader, Footer, PAGE};
use crate::ledger::Ledger;
use crate::pages::{self, PageBuffer};
use crate::read_at::{ReadAt, fill_at, read_exact_at, read_header, read_page_payload, read_payload};
use crate::record::RecordType;
use crate::summary::Summary;

/// Checks everything that a streaming reader would check, of an image of `len` bytes: headers, sequence, checksums,
/// run tables, compressed contents, index, digest, footer; and that nothing follows. Uses `threads` threads, at least
/// one; the caller's is one of them.
///
/// # Errors
/// The first fault in the stream.
pub fn verify<F: ReadAt + Sync + ?Sized>(file: &F, len: u64, threads: usize) -> Result<Summary, ReadError> {
    let mut bytes = [0; size_of::<FileHeader>()];
    let got = fill_at(file, &mut bytes, 0)?;
    Header::decode(&bytes[..got])?;
    let walk = Walk { ledger: Ledger::new(&bytes), offset: got as u64, state: State::Walking, fault: None };
    let walk = Mutex::new(walk);
    thread::scope(|scope| {
        for _ in 1..threads {
            let builder = thread::Builder::new().name("verify".into());
            if builder.spawn_scoped(scope, || work(file, len, &walk)).is_err() {
                break; // the threads there are do it all
            }
        }
        work(file, len, &walk);
    });
    let walk = walk.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match (walk.fault, walk.state) {
        (Some((_, error)), _) => Err(error),
        (None, State::Ended(summary)) => Ok(summary),
        (None, State::Walking | State::Stopped) => Err(ReadError::Stopped),
    }
}

struct Walk {
    ledger: Ledger,
    offset: u64,
    state: State,
    /// The first fault so far, and the frame it is in.
    fault: Option<(u64, ReadError)>,
}

enum State {
    Walking,
    Ended(Summary),
    Stopped,
}

/// What one thread does: walks to a frame, checks it, until the end or a fault.
fn work<F: ReadAt + Sync + ?Sized>(file: &F, len: u64, walk: &Mutex<Walk>) {
    let lock = || -> MutexGuard<'_, Walk> { walk.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) };
    let mut pages = None;
    let mut payload = Vec::new();
    loop {
        let Some(info) = lock().next(file, len) else { return };
        let checked = match info.kind {
            FrameKind::Pages => read_page_payload(file, &info, pages.get_or_insert_with(PageBuffer::new)),
            _ => read_payload(file, &info, &mut payload),
        };
        if let Err(error) = checked {
            lock().stop(info.offset, error);
        }
    }
}

impl Walk {
    /// Walks to the next frame whose payload is to be checked; none after the end or a fault.
    fn next<F: ReadAt + ?Sized>(&mut self, file: &F, len: u64) -> Option<FrameInfo> {
        while matches!(self.state, State::Walking) {
            let offset = self.offset;
            match self.step(file, len) {
                Ok(Some(info)) => return Some(info),
                Ok(None) => {}
                Err(error) => self.stop(offset, error),
            }
        }
        None
    }

    fn stop(&mut self, offset: u64, error: ReadError) {
        self.state = State::Stopped;
        if self.fault.as_ref().is_none_or(|(first, _)| offset < *first) {
            self.fault = Some((offset, error));
        }
    }

    /// Takes one frame; gives it back if its payload is still to be checked.
    fn step<F: ReadAt + ?Sized>(&mut self, file: &F, len: u64) -> Result<Option<FrameInfo>, ReadError> {
        let offset = self.offset;
        let (header, info) = read_header(file, offset, Some(self.ledger.sequence()))?;
        self.offset = info.next_offset();
        if info.kind == FrameKind::End {
            return self.end(file, len, &info).map(|()| None);
        }
        if !self.ledger.frame(&header) {
            return Err(info.corrupt("the image has more frames than can be numbered"));
        }
        match info.kind {
            FrameKind::Record => self.ledger.record(offset, RecordType(info.detail as u16)),
            FrameKind::Pages => self.ledger.pages(offset, &extent_unchecked(file, &info)?),
            FrameKind::Index => {
                let mut payload = Vec::new();
                read_payload(file, &info, &mut payload)?;
                self.ledger.check_index(&payload, offset)?;
                return Ok(None);
            }
            FrameKind::Padding | FrameKind::Skippable | FrameKind::End => {}
        }
        self.ledger.check_index_not_overdue(offset)?;
        Ok(Some(info))
    }

    fn end<F: ReadAt + ?Sized>(&mut self, file: &F, len: u64, info: &FrameInfo) -> Result<(), ReadError> {
        let mut payload = Vec::new();
        read_payload(file, info, &mut payload)?;
        let summary = self.ledger.check_end(&payload, info.offset)?;
        let mut footer = [0; size_of::<Footer>()];
        read_exact_at(file, &mut footer, info.next_offset(), "the footer")?;
        frame::check_footer(&footer, info.offset)?;
        if summary.length != len {
            return Err(ReadError::corrupt("the file goes on after the image's end", summary.length));
        }
        self.state = State::Ended(summary);
        Ok(())
    }
}

/// The extent of a page frame whose payload was not checked yet. If it is nonsense, the thread that checks the payload
/// says so, of a frame before any other in which that could be noticed.
fn extent_unchecked<F: ReadAt + ?Sized>(file: &F, info: &FrameInfo) -> Result<Extent, ReadError> {
    let mut bytes = [0; PAGE];
    let len = info.length.min(PAGE);
    read_exact_at(file, &mut bytes[..len], info.payload_offset(), info.name())?;
    Ok(Extent::of(&pages::runs_unchecked(&bytes[..len])))
}
