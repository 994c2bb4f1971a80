//! The ledger of a stream: what was written or read so far, and so what its index and its end must say.
//!
//! Writer, reader and verifier keep the same ledger. The writer writes what it says; the others compare. Memory stays
//! bounded however long the stream is: index entries are kept only until the next index frame.

use zerocopy::IntoBytes;

use crate::error::ReadError;
use crate::index_entries::{Entries, Extent};
use crate::layout::{EndBody, FileHeader, FrameHeader, INDEX_LIMIT, IndexHead, PAGE_U64, TAIL};
use crate::record::RecordType;
use crate::summary::{Digest, Summary};

/// Bytes of entries after which the writer writes an index frame.
const INDEX_DUE: usize = 256 << 10;
/// Most bytes of entries in an index frame.
const ENTRY_BYTES_LIMIT: usize = INDEX_LIMIT - size_of::<IndexHead>();

pub(crate) struct Ledger {
    frames: u32,
    records: u64,
    page_frames: u64,
    page_bytes: u64,
    digest: blake3::Hasher,
    /// Of the records and page frames since the last index frame.
    entries: Entries,
    /// Entries in all index frames so far.
    indexed: u64,
    /// Where the last index frame starts, or zero.
    last_index: u64,
}

impl Ledger {
    pub(crate) fn new(file_header: &[u8; size_of::<FileHeader>()]) -> Self {
        let mut digest = blake3::Hasher::new();
        digest.update(file_header);
        let entries = Entries::default();
        Ledger {
            frames: 0,
            records: 0,
            page_frames: 0,
            page_bytes: 0,
            digest,
            entries,
            indexed: 0,
            last_index: 0,
        }
    }

    /// The number of the next frame.
    pub(crate) fn sequence(&self) -> u32 {
        self.frames
    }

    /// Takes any frame but the end frame; false when no number is left for a frame after it.
    #[must_use]
    pub(crate) fn frame(&mut self, header: &FrameHeader) -> bool {
        self.digest.update(header.as_bytes());
        match self.frames.checked_add(1) {
            Some(frames) => self.frames = frames,
            None => return false,
        }
        true
    }

    pub(crate) fn record(&mut self, offset: u64, ty: RecordType) {
        self.records += 1;
        self.entries.record(offset, ty);
    }

    pub(crate) fn pages(&mut self, offset: u64, extent: &Extent) {
        self.page_frames += 1;
        self.page_bytes = self.page_bytes.saturating_add(u64::from(extent.pages) * PAGE_U64);
        self.entries.pages(offset, extent);
    }

    /// Whether there are enough entries for an index frame.
    pub(crate) fn index_is_due(&self) -> bool {
        self.entries.bytes.len() >= INDEX_DUE
    }

    /// Whether there are entries that no index frame holds.
    pub(crate) fn has_entries(&self) -> bool {
        self.entries.count != 0
    }

    /// Whether there are more entries than an index frame could hold: a reader refuses the stream.
    pub(crate) fn check_index_not_overdue(&self, offset: u64) -> Result<(), ReadError> {
        match self.entries.bytes.len() > ENTRY_BYTES_LIMIT {
            true => Err(ReadError::corrupt("an index frame is missing before this", offset)),
            false => Ok(()),
        }
    }

    /// The index frame that is to hold the entries so far.
    pub(crate) fn index_payload(&self) -> Vec<u8> {
        let (previous, first) = (self.last_index.into(), self.indexed.into());
        let head = IndexHead { previous, first, count: self.entries.count.into(), reserved: 0.into() };
        [head.as_bytes(), &self.entries.bytes].concat()
    }

    /// Takes the index frame at `offset`.
    pub(crate) fn index(&mut self, offset: u64) {
        self.indexed += u64::from(self.entries.count);
        self.last_index = offset;
        self.entries.clear();
    }

    /// Checks an index frame, then takes it.
    pub(crate) fn check_index(&mut self, payload: &[u8], offset: u64) -> Result<(), ReadError> {
        if !self.has_entries() {
            return Err(ReadError::corrupt("an index frame has nothing to index", offset));
        }
        if payload != self.index_payload() {
            return Err(ReadError::corrupt("the index does not list the frames before it", offset));
        }
        self.index(offset);
        Ok(())
    }

    /// The payload of the end frame.
    pub(crate) fn end_body(&self) -> EndBody {
        EndBody {
            frames: u64::from(self.frames).into(),
            records: self.records.into(),
            page_frames: self.page_frames.into(),
            page_bytes: self.page_bytes.into(),
            index: self.last_index.into(),
            digest: *self.digest.finalize().as_bytes(),
        }
    }

    /// Checks the end frame at `offset`.
    pub(crate) fn check_end(&self, payload: &[u8], offset: u64) -> Result<Summary, ReadError> {
        let body = self.end_body();
        let digest_at = payload.len().saturating_sub(body.digest.len());
        if self.has_entries() {
            return Err(ReadError::corrupt("the last index frame is missing", offset));
        }
        if payload.get(digest_at..) != Some(&body.digest[..]) {
            return Err(ReadError::corrupt("the digest is not that of the frames before the end", offset));
        }
        if payload != body.as_bytes() {
            return Err(ReadError::corrupt("the counts at the end are not those of the frames", offset));
        }
        Ok(summary(&body, offset))
    }
}

/// What an end frame at `offset` says of its stream.
pub(crate) fn summary(body: &EndBody, offset: u64) -> Summary {
    let EndBody { frames, records, page_frames, page_bytes, index: _, digest } = *body;
    Summary {
        frames: frames.get(),
        records: records.get(),
        page_frames: page_frames.get(),
        page_bytes: page_bytes.get(),
        length: offset.saturating_add(TAIL as u64),
        digest: Digest(digest),
    }
}
