//! Why an image could not be written, was refused, or a buffer took no more pages. Each says what to do.

use std::io;

use crate::layout::PAGES_LIMIT;
use crate::record::RecordType;

/// Why a stream is not an image that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not one byte.
    #[error("the image is empty; the checkpoint that was to write it failed or has not run")]
    Empty,
    /// Something else than an image.
    #[error("this is not a rekindle image; name the file (or pipe) that `rekindle checkpoint` wrote")]
    NotAnImage,
    /// Written by a later rekindle.
    #[error("the image has format version {found}, this rekindle knows up to {known}; use a newer rekindle")]
    NewerVersion {
        /// The image's version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Needs what this reader cannot do.
    #[error("the image needs features that this rekindle does not have: {}; use a newer rekindle", names.join(", "))]
    UnknownFeature {
        /// Name of each, or "bit N".
        names: Vec<String>,
    },
    /// Ends too soon.
    #[error(
        "the image is cut off: it ends at byte {offset}, inside {reading}; the checkpoint or the copy was \
         interrupted: copy it again, or take a new checkpoint"
    )]
    Truncated {
        /// Bytes there were.
        offset: u64,
        /// What should have followed.
        reading: &'static str,
    },
    /// Not what was written.
    #[error("the image is damaged at byte {offset}: {what}; copy it again, or take a new checkpoint")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
        /// Where the damaged frame, or field, starts.
        offset: u64,
    },
    /// Above a limit of the format.
    #[error(
        "{what} at byte {offset} of the image has {size} bytes, the limit is {limit}; no rekindle writes this"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The most that is allowed, in bytes.
        limit: u64,
        /// Where its frame starts.
        offset: u64,
    },
    /// Frames lost, doubled or exchanged.
    #[error(
        "the frame at byte {offset} of the image has number {found} where {expected} is due: frames were lost, \
         doubled or exchanged; copy the image again, or take a new checkpoint"
    )]
    OutOfOrder {
        /// The number that is due.
        expected: u32,
        /// The number found.
        found: u32,
        /// Where the frame starts.
        offset: u64,
    },
    /// A kind of frame of a later rekindle.
    #[error("the image needs frames of kind {kind} (at byte {offset}), unknown here; use a newer rekindle")]
    UnknownFrame {
        /// The frame's kind.
        kind: u16,
        /// Where the frame starts.
        offset: u64,
    },
    /// A codec of a later rekindle.
    #[error("pages at byte {offset} of the image use codec {codec}, unknown here; use a newer rekindle")]
    UnknownCodec {
        /// The codec's number.
        codec: u32,
        /// Where the frame starts.
        offset: u64,
    },
    /// A type of record of a later rekindle.
    #[error("the image needs records of type {ty} (at byte {offset}), unknown here; use a newer rekindle")]
    UnknownRecord {
        /// The record's type.
        ty: RecordType,
        /// Where its frame starts.
        offset: u64,
    },
    /// A record that is no message of its type.
    #[error(
        "the record of type {ty} at byte {offset} of the image cannot be decoded: {source}; it was not written by \
         rekindle, or by one with a fault: please report it"
    )]
    Undecodable {
        /// The record's type.
        ty: RecordType,
        /// Where its frame starts.
        offset: u64,
        /// What the decoder found.
        source: prost::DecodeError,
    },
    /// No footer where a file ends.
    #[error(
        "the file does not end as an image does: it is cut off, still being written, or has something appended; \
         wait for the checkpoint to finish, or copy the image again"
    )]
    NoFooter,
    /// More entries than are held in memory.
    #[error(
        "the index of the image has {entries} entries, at most {limit} are read: read the image from its start"
    )]
    LongIndex {
        /// Entries that the image says there are.
        entries: u64,
        /// The most that are read.
        limit: u64,
    },
    /// An entry of the index asked for as what it is not.
    #[error(
        "byte {offset} of the image holds no {wanted}; the index entry is of another image, or of another kind"
    )]
    WrongEntry {
        /// What was asked for.
        wanted: &'static str,
        /// Where the entry points.
        offset: u64,
    },
    /// Used again after it failed.
    #[error("the image was refused before; nothing more is read from it")]
    Stopped,
    /// The input failed.
    #[error("cannot read the image at byte {offset}: {source}")]
    Io {
        /// Where in the stream.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
}

impl ReadError {
    pub(crate) fn corrupt(what: &'static str, offset: u64) -> Self {
        ReadError::Corrupt { what, offset }
    }

    pub(crate) fn io(offset: u64) -> impl Fn(io::Error) -> Self {
        move |source| ReadError::Io { offset, source }
    }
}

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output failed.
    #[error("cannot write the image at byte {offset}: {source}")]
    Io {
        /// Where in the stream.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// A record above its limit.
    #[error("a record of type {ty} has {size} bytes, the limit is {limit}: split it into several records")]
    RecordTooLarge {
        /// The record's type.
        ty: RecordType,
        /// Its size in bytes.
        size: usize,
        /// The most that is allowed, in bytes.
        limit: usize,
    },
    /// A message that does not encode to the length it said.
    #[error("a record of type {ty} cannot be encoded: {source}")]
    Unencodable {
        /// The record's type.
        ty: RecordType,
        /// The cause.
        source: prost::EncodeError,
    },
    /// A header that asks readers for what none can do.
    #[error("no reader of this version has the features {}; do not require them", names.join(", "))]
    UnknownFeature {
        /// Name of each, or "bit N".
        names: Vec<String>,
    },
    /// A header with a page size that no machine has.
    #[error("a page size of {found} bytes is not a power of two from 4096 to 2 MiB")]
    PageSize {
        /// The size, in bytes.
        found: u32,
    },
    /// The sequence number is used up.
    #[error("the image has more than 2^32 - 1 frames; use fuller page frames")]
    TooManyFrames,
    /// Used again after it failed.
    #[error("writing the image failed before; the stream is not usable")]
    Stopped,
}

impl WriteError {
    pub(crate) fn io(offset: u64) -> impl Fn(io::Error) -> Self {
        move |source| WriteError::Io { offset, source }
    }
}

/// Why a page buffer did not take a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// More pages than there is room for, or the run table is full.
    #[error("{pages} more pages do not fit into a frame with room for {room}: seal it and start another")]
    Full {
        /// Pages that were to be added.
        pages: u32,
        /// Pages that still fit.
        room: u32,
    },
    /// A run of nothing.
    #[error("a run of zero pages (a frame holds 1 to {PAGES_LIMIT})")]
    NoPages,
    /// An address in the middle of a page.
    #[error("address {address:#x} is not a multiple of 4096")]
    Unaligned {
        /// The address.
        address: u64,
    },
    /// A run past the end of the address space.
    #[error("a run of {pages} pages at {address:#x} passes the end of the address space")]
    Wraps {
        /// The address.
        address: u64,
        /// Pages of the run.
        pages: u32,
    },
}
