//! Writing: frames in the order in which they are given, numbered, padded, indexed and counted.
//!
//! Small frames gather in an aligned buffer; raw page frames go to the output as they are, from their own memory.
//! So every `write_all` of the output, up to and including the last, has an address, a length and a place in the
//! stream that are multiples of 4096: the output may be a file opened with `O_DIRECT`.
//!
//! A writer that is dropped, or failed, leaves a stream without an end, which every reader refuses as cut off.

use std::io::Write;

use zerocopy::IntoBytes;

use crate::aligned::Aligned;
use crate::error::WriteError;
use crate::frame;
use crate::header::Header;
use crate::layout::{
    self, FLAG_OPTIONAL, FRAME_ALIGN, FrameHeader, PAGE, RECORD_HARD_LIMIT, RECORD_LIMIT, TAIL, kind,
};
use crate::ledger::{self, Ledger};
use crate::record::{Need, RecordType};
use crate::sealed::SealedPages;
use crate::summary::Summary;

/// Bytes gathered before they are written.
const STAGE: usize = 256 << 10;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// Writes an image to any [`Write`]. Give it an unbuffered one; it gathers small frames itself.
pub struct Writer<W: Write> {
    stage: Stage<W>,
    ledger: Ledger,
    /// The message being encoded.
    message: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a stream with its file header. `out` must stand at the start of the image.
    ///
    /// # Errors
    /// If the header asks for a feature that no reader has, or has an impossible page size.
    pub fn new(out: W, header: &Header) -> Result<Self, WriteError> {
        let bytes = header.encode()?;
        let mut stage = Stage { out, buffer: Aligned::new(STAGE), filled: 0, written: 0, failed: false };
        stage.put(&bytes)?;
        Ok(Writer { stage, ledger: Ledger::new(&bytes), message: Vec::new() })
    }

    /// Bytes of the stream so far, the gathered ones included.
    pub fn offset(&self) -> u64 {
        self.stage.offset()
    }

    /// The output, for its own state; writing to it breaks the stream.
    pub fn get_ref(&self) -> &W {
        &self.stage.out
    }

    /// Writes a record of at most 64 KiB.
    ///
    /// # Errors
    /// [`WriteError::RecordTooLarge`] above that (nothing is written then), or if the output fails.
    pub fn record<M: prost::Message>(
        &mut self,
        ty: RecordType,
        need: Need,
        message: &M,
    ) -> Result<(), WriteError> {
        self.message(ty, need, message, RECORD_LIMIT)
    }

    /// Writes a record of at most 1 MiB, which readers must decode with `Record::decode_large`.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_large<M: prost::Message>(
        &mut self,
        ty: RecordType,
        need: Need,
        message: &M,
    ) -> Result<(), WriteError> {
        self.message(ty, need, message, RECORD_HARD_LIMIT)
    }

    /// Writes a record of at most 1 MiB that is encoded already.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_bytes(&mut self, ty: RecordType, need: Need, payload: &[u8]) -> Result<(), WriteError> {
        check_size(ty, payload.len(), RECORD_HARD_LIMIT)?;
        let flags = match need {
            Need::Required => 0,
            Need::Optional => FLAG_OPTIONAL,
        };
        let offset = self.offset();
        self.frame(kind::RECORD, flags, u32::from(ty.0), payload)?;
        self.ledger.record(offset, ty);
        self.index_if_due()
    }

    /// Writes sealed pages; an empty frame is left out. Raw ones go out in one `write_all` of an aligned slice.
    ///
    /// # Errors
    /// If the output fails.
    pub fn pages(&mut self, pages: &mut SealedPages) -> Result<(), WriteError> {
        if pages.is_empty() {
            return Ok(());
        }
        if pages.is_raw() {
            self.pad_to(0)?;
        }
        let offset = self.offset();
        let mut header = pages.header();
        header.sequence = self.ledger.sequence().into();
        header.header_checksum = header.sum().into();
        self.number(&header)?;
        let raw = pages.is_raw();
        let extent = pages.extent();
        let frame = pages.frame_mut();
        frame[..size_of::<FrameHeader>()].copy_from_slice(header.as_bytes());
        if raw {
            self.stage.put_aligned(frame)?;
        } else {
            self.stage.put(frame)?;
        }
        self.ledger.pages(offset, &extent);
        self.index_if_due()
    }

    /// Writes out what was gathered, padded to a multiple of 4096, and flushes the output: for a reader at the other
    /// end of a pipe who is to get on with what there is.
    ///
    /// # Errors
    /// If the output fails.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.pad_to(0)?;
        self.stage.flush()
    }

    /// Writes index, end and footer, and flushes; gives the output back. The caller syncs it, if it is a file.
    ///
    /// # Errors
    /// If the output fails.
    pub fn finish(mut self) -> Result<(W, Summary), WriteError> {
        if self.ledger.has_entries() {
            self.index()?;
        }
        self.pad_to(PAGE - TAIL)?;
        let end = self.offset();
        let body = self.ledger.end_body();
        let header = frame::header(kind::END, 0, 0, self.ledger.sequence(), body.as_bytes());
        for part in [header.as_bytes(), body.as_bytes(), frame::footer(end).as_bytes()] {
            self.stage.put(part)?;
        }
        self.stage.flush()?;
        Ok((self.stage.out, ledger::summary(&body, end)))
    }

    fn message<M: prost::Message>(
        &mut self,
        ty: RecordType,
        need: Need,
        message: &M,
        limit: usize,
    ) -> Result<(), WriteError> {
        check_size(ty, message.encoded_len(), limit)?;
        let mut bytes = std::mem::take(&mut self.message);
        bytes.clear();
        let encoded = message.encode(&mut bytes).map_err(|source| WriteError::Unencodable { ty, source });
        let written = encoded.and_then(|()| self.record_bytes(ty, need, &bytes));
        self.message = bytes;
        written
    }

    fn index_if_due(&mut self) -> Result<(), WriteError> {
        if self.ledger.index_is_due() { self.index() } else { Ok(()) }
    }

    fn index(&mut self) -> Result<(), WriteError> {
        let (offset, payload) = (self.offset(), self.ledger.index_payload());
        self.frame(kind::INDEX, 0, 0, &payload)?;
        self.ledger.index(offset);
        Ok(())
    }

    /// Writes a padding frame, if one is needed, so that the next starts `place` bytes past a multiple of 4096.
    fn pad_to(&mut self, place: usize) -> Result<(), WriteError> {
        let len = layout::padding(self.offset(), place);
        match len.checked_sub(size_of::<FrameHeader>()) {
            Some(payload) => self.frame(kind::PADDING, 0, 0, &ZEROS[..payload]),
            None => Ok(()),
        }
    }

    fn frame(&mut self, kind: u16, flags: u16, detail: u32, payload: &[u8]) -> Result<(), WriteError> {
        let header = frame::header(kind, flags, detail, self.ledger.sequence(), payload);
        self.number(&header)?;
        self.stage.put(header.as_bytes())?;
        self.stage.put(payload)?;
        self.stage.put(&ZEROS[..payload.len().next_multiple_of(FRAME_ALIGN) - payload.len()])
    }

    fn number(&mut self, header: &FrameHeader) -> Result<(), WriteError> {
        if self.ledger.frame(header) {
            return Ok(());
        }
        self.stage.failed = true;
        Err(WriteError::TooManyFrames)
    }
}

fn check_size(ty: RecordType, size: usize, limit: usize) -> Result<(), WriteError> {
    if size <= limit { Ok(()) } else { Err(WriteError::RecordTooLarge { ty, size, limit }) }
}

/// The output with the bytes that are not written yet. What is written is always a multiple of [`PAGE`] long.
struct Stage<W> {
    out: W,
    buffer: Aligned,
    filled: usize,
    written: u64,
    failed: bool,
}

impl<W: Write> Stage<W> {
    fn offset(&self) -> u64 {
        self.written + self.filled as u64
    }

    /// Gathers bytes; writes the buffer whenever it is full.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let space = &mut self.buffer.bytes_mut()[self.filled..];
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == STAGE {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Writes a multiple of [`PAGE`] bytes from where they are. What was gathered goes first; its length is one too.
    fn put_aligned(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write()?;
        self.guarded(|out| out.write_all(bytes))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn write(&mut self) -> Result<(), WriteError> {
        let filled = std::mem::take(&mut self.filled);
        if filled != 0 {
            let buffer = std::mem::replace(&mut self.buffer, Aligned::new(0));
            let result = self.guarded(|out| out.write_all(&buffer.bytes()[..filled]));
            self.buffer = buffer;
            result?;
        }
        self.written += filled as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.write()?;
        self.guarded(|out| out.flush())
    }

    /// Does output, if none failed before.
    fn guarded(&mut self, output: impl FnOnce(&mut W) -> std::io::Result<()>) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Stopped);
        }
        let result = output(&mut self.out).map_err(WriteError::io(self.written));
        self.failed = result.is_err();
        result
    }
}
