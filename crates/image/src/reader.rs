//! Reading, strictly forward: every frame is verified before it is given out, and the end before the last `None`.
//!
//! The reader asks its input for exactly the bytes of the image and never for one more, so another image, or anything
//! else, may follow in a pipe. It does not buffer: give it a [`std::io::BufReader`] if records are many and nothing
//! follows. Page contents go straight into a [`PageBuffer`].

use std::io::{ErrorKind, Read};

use crate::error::ReadError;
use crate::frame::{self, FrameInfo, FrameKind};
use crate::header::Header;
use crate::layout::{FileHeader, Footer, FrameHeader};
use crate::ledger::Ledger;
use crate::pages::{PageBuffer, PageFrame};
use crate::record::{Need, Record, RecordType};
use crate::summary::Summary;

/// Reads an image from any [`Read`].
pub struct Reader<R: Read> {
    input: Input<R>,
    header: Header,
    ledger: Ledger,
    state: State,
    /// Of the last frame that was not a page frame.
    payload: Vec<u8>,
    /// For [`Reader::next`]; taken out while it is read into.
    pages: Option<PageBuffer>,
}

enum State {
    Reading,
    Ended(Summary),
    Refused,
}

/// What [`Reader::next`] gives.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// A record.
    Record(Record<'a>),
    /// Pages.
    Pages(PageFrame<'a>),
}

/// What [`Reader::next_into`] gives.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A record; the buffer was left alone.
    Record(Record<'a>),
    /// Pages, which are in the buffer now.
    Pages {
        /// Where their frame starts in the stream, in bytes.
        offset: u64,
    },
}

/// A frame as it is while the reader is borrowed mutably.
enum Step {
    Record { ty: RecordType, need: Need, offset: u64 },
    Pages { offset: u64 },
    End,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// If there is none, or it is not of an image that this version can read.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut input = Input { input, offset: 0 };
        let mut bytes = [0; size_of::<FileHeader>()];
        let got = input.fill(&mut bytes)?;
        let header = Header::decode(&bytes[..got])?;
        let ledger = Ledger::new(&bytes);
        Ok(Reader { input, header, ledger, state: State::Reading, payload: Vec::new(), pages: None })
    }

    /// What the image says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset
    }

    /// The counts and the digest, once the end was reached and verified.
    pub fn summary(&self) -> Option<Summary> {
        match self.state {
            State::Ended(summary) => Some(summary),
            State::Reading | State::Refused => None,
        }
    }

    /// Gives the input back.
    pub fn into_inner(self) -> R {
        self.input.input
    }

    /// The next record or page frame; `None` after the end, when all of the image was verified.
    ///
    /// # Errors
    /// If the image is refused; after that it stays so.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it owns")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        let mut pages = self.pages.take().unwrap_or_default();
        let step = self.guarded_step(&mut pages);
        let pages = self.pages.insert(pages);
        Ok(match step? {
            Step::Record { ty, need, offset } => {
                Some(Frame::Record(Record { ty, need, payload: &self.payload, offset }))
            }
            Step::Pages { offset } => Some(Frame::Pages(PageFrame { buffer: pages, offset })),
            Step::End => None,
        })
    }

    /// As [`next`](Self::next), but reads pages into a buffer of the caller's, who can pass it to another thread and
    /// give another one for the next frame. The buffer is overwritten by a page frame only.
    ///
    /// # Errors
    /// As [`next`](Self::next); the buffer is empty then.
    pub fn next_into(&mut self, pages: &mut PageBuffer) -> Result<Option<Incoming<'_>>, ReadError> {
        Ok(match self.guarded_step(pages)? {
            Step::Record { ty, need, offset } => {
                Some(Incoming::Record(Record { ty, need, payload: &self.payload, offset }))
            }
            Step::Pages { offset } => Some(Incoming::Pages { offset }),
            Step::End => None,
        })
    }

    fn guarded_step(&mut self, pages: &mut PageBuffer) -> Result<Step, ReadError> {
        match self.state {
            State::Reading => {}
            State::Ended(_) => return Ok(Step::End),
            State::Refused => return Err(ReadError::Stopped),
        }
        let step = self.step(pages);
        if step.is_err() {
            self.state = State::Refused;
            pages.clear();
        }
        step
    }

    /// Reads frames up to one that the caller is to see.
    fn step(&mut self, pages: &mut PageBuffer) -> Result<Step, ReadError> {
        loop {
            let offset = self.input.offset;
            let mut bytes = [0; size_of::<FrameHeader>()];
            self.input.read(&mut bytes, "a frame header")?;
            let header = frame::parse(&bytes);
            let info = FrameInfo::of(&header, offset, Some(self.ledger.sequence()))?;
            if info.kind == FrameKind::Pages {
                self.input.read(pages.landing(info.detail, info.padded()), info.name())?;
                pages.accept(&info)?;
            } else {
                self.payload.resize(info.padded(), 0);
                self.input.read(&mut self.payload, info.name())?;
                info.checked_payload(&self.payload)?;
                self.payload.truncate(info.length);
            }
            if info.kind == FrameKind::End {
                return self.end(offset);
            }
            if !self.ledger.frame(&header) {
                return Err(info.corrupt("the image has more frames than can be numbered"));
            }
            if let Some(step) = self.enter(&info, pages)? {
                return Ok(step);
            }
        }
    }

    /// Enters a verified frame into the ledger; what the caller is to see of it.
    fn enter(&mut self, info: &FrameInfo, pages: &PageBuffer) -> Result<Option<Step>, ReadError> {
        let offset = info.offset;
        let step = match info.kind {
            FrameKind::Record => {
                let ty = RecordType(info.detail as u16);
                self.ledger.record(offset, ty);
                Step::Record { ty, need: info.need(), offset }
            }
            FrameKind::Pages => {
                self.ledger.pages(offset, &pages.extent());
                Step::Pages { offset }
            }
            FrameKind::Index => {
                self.ledger.check_index(&self.payload, offset)?;
                return Ok(None);
            }
            FrameKind::Padding | FrameKind::Skippable | FrameKind::End => return Ok(None),
        };
        self.ledger.check_index_not_overdue(offset)?;
        Ok(Some(step))
    }

    fn end(&mut self, offset: u64) -> Result<Step, ReadError> {
        let summary = self.ledger.check_end(&self.payload, offset)?;
        let mut footer = [0; size_of::<Footer>()];
        self.input.read(&mut footer, "the footer")?;
        frame::check_footer(&footer, offset)?;
        self.state = State::Ended(summary);
        Ok(Step::End)
    }
}

/// The input and how much of it was read.
struct Input<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Fills `bytes`; what `reading` names is cut off if the input ends before.
    fn read(&mut self, bytes: &mut [u8], reading: &'static str) -> Result<(), ReadError> {
        let got = self.fill(bytes)?;
        if got == bytes.len() { Ok(()) } else { Err(ReadError::Truncated { offset: self.offset, reading }) }
    }

    /// Reads until `bytes` are full or the input ends.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let mut got = 0;
        while got < bytes.len() {
            match self.input.read(&mut bytes[got..]) {
                Ok(0) => break,
                Ok(more) => {
                    let more = more.min(bytes.len() - got); // a `Read` may lie
                    got += more;
                    self.offset += more as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::io(self.offset)(error)),
            }
        }
        Ok(got)
    }
}
