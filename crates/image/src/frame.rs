//! What makes a frame acceptable, before its payload is read: the one place where frame headers are judged.

use zerocopy::{FromBytes, IntoBytes};

use crate::error::ReadError;
use crate::layout::{
    self, EndBody, FLAG_OPTIONAL, FRAME_ALIGN, FrameHeader, INDEX_LIMIT, PAGE, PAGE_U64, PAYLOAD_LIMIT,
    RAW_HEAD, RECORD_HARD_LIMIT, codec, kind,
};
use crate::record::Need;

/// What a frame is, to this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Record,
    Pages,
    Padding,
    Index,
    End,
    /// Of a later version, and optional.
    Skippable,
}

/// A frame whose header was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameInfo {
    pub(crate) kind: FrameKind,
    pub(crate) optional: bool,
    pub(crate) detail: u32,
    /// Bytes of payload; within the limit of the kind.
    pub(crate) length: usize,
    pub(crate) checksum: u64,
    /// Where the frame starts in the stream.
    pub(crate) offset: u64,
}

impl FrameInfo {
    /// Judges the header found at `offset`, where frame number `due` must be (any frame, at random access).
    pub(crate) fn of(header: &FrameHeader, offset: u64, due: Option<u32>) -> Result<Self, ReadError> {
        if header.header_checksum.get() != header.sum() {
            return Err(ReadError::corrupt("a frame header does not match its checksum", offset));
        }
        let FrameHeader { kind, flags, sequence, length, detail, payload_checksum, header_checksum: _ } =
            *header;
        let (found, detail) = (sequence.get(), detail.get());
        if let Some(expected) = due.filter(|due| *due != found) {
            return Err(ReadError::OutOfOrder { expected, found, offset });
        }
        let optional = flags.get() & FLAG_OPTIONAL != 0;
        let info = FrameInfo {
            kind: frame_kind(kind.get(), optional, offset)?,
            optional,
            detail,
            length: length.get() as usize,
            checksum: payload_checksum.get(),
            offset,
        };
        info.check_flags(flags.get())?;
        info.check_detail()?;
        info.check_length()?;
        Ok(info)
    }

    fn check_flags(&self, flags: u16) -> Result<(), ReadError> {
        let known = match self.kind {
            FrameKind::Record | FrameKind::Skippable => FLAG_OPTIONAL,
            _ => 0,
        };
        if flags & !known == 0 {
            Ok(())
        } else {
            Err(self.corrupt("a frame has flags that its kind cannot have"))
        }
    }

    fn check_detail(&self) -> Result<(), ReadError> {
        let FrameInfo { kind, detail, offset, .. } = *self;
        match kind {
            FrameKind::Pages if detail > codec::ZSTD => {
                Err(ReadError::UnknownCodec { codec: detail, offset })
            }
            FrameKind::Pages if detail == codec::RAW && !offset.is_multiple_of(PAGE_U64) => {
                Err(self.corrupt("a raw page frame is not at a multiple of 4096"))
            }
            FrameKind::Pages | FrameKind::Skippable => Ok(()),
            FrameKind::Record if detail <= u32::from(u16::MAX) => Ok(()),
            FrameKind::Record => Err(self.corrupt("a record type is out of range")),
            FrameKind::Padding | FrameKind::Index | FrameKind::End if detail == 0 => Ok(()),
            _ => Err(self.corrupt("reserved bytes of a frame header are not zero")),
        }
    }

    fn check_length(&self) -> Result<(), ReadError> {
        let (what, limit) = match self.kind {
            FrameKind::Record => ("a record", RECORD_HARD_LIMIT),
            FrameKind::Pages if self.detail == codec::RAW => ("a page frame", PAYLOAD_LIMIT),
            FrameKind::Pages => ("a compressed page frame", PAYLOAD_LIMIT - FRAME_ALIGN),
            FrameKind::Padding => ("a padding frame", PAGE),
            FrameKind::Index => ("an index frame", INDEX_LIMIT),
            FrameKind::End => ("the end frame", size_of::<EndBody>()),
            FrameKind::Skippable => ("a frame", PAYLOAD_LIMIT),
        };
        if self.length > limit {
            let (size, limit) = (self.length as u64, limit as u64);
            return Err(ReadError::TooLarge { what, size, limit, offset: self.offset });
        }
        let whole = match self.kind {
            FrameKind::Pages if self.detail == codec::RAW => {
                self.length > RAW_HEAD && (self.length - RAW_HEAD).is_multiple_of(PAGE)
            }
            FrameKind::End => self.length == limit,
            _ => true,
        };
        if whole { Ok(()) } else { Err(self.corrupt("a frame has a length that its kind cannot have")) }
    }

    /// Bytes of payload and of the zeros after it.
    pub(crate) fn padded(&self) -> usize {
        self.length.next_multiple_of(FRAME_ALIGN)
    }

    /// Where the payload starts in the stream.
    pub(crate) fn payload_offset(&self) -> u64 {
        self.offset.saturating_add(size_of::<FrameHeader>() as u64)
    }

    /// Where the next frame starts in the stream.
    pub(crate) fn next_offset(&self) -> u64 {
        self.payload_offset().saturating_add(self.padded() as u64)
    }

    /// What a reader that does not know a record must do.
    pub(crate) fn need(&self) -> Need {
        if self.optional { Need::Optional } else { Need::Required }
    }

    /// The payload at the front of `read`, which holds at least [`padded`](Self::padded) bytes, once it is verified.
    pub(crate) fn checked_payload<'a>(&self, read: &'a [u8]) -> Result<&'a [u8], ReadError> {
        let Some((payload, zeros)) =
            read.get(..self.padded()).and_then(|read| read.split_at_checked(self.length))
        else {
            return Err(self.corrupt("a frame is shorter than it says"));
        };
        if layout::checksum(payload) != self.checksum {
            return Err(self.corrupt("the payload of a frame does not match its checksum"));
        }
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(self.corrupt("the bytes after a payload are not zero"));
        }
        if self.kind == FrameKind::Padding && payload.iter().any(|byte| *byte != 0) {
            return Err(self.corrupt("a padding frame holds something else than zeros"));
        }
        Ok(payload)
    }

    pub(crate) fn corrupt(&self, what: &'static str) -> ReadError {
        ReadError::corrupt(what, self.offset)
    }

    /// What a stream that ends inside this frame was being read for.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            FrameKind::Record => "a record",
            FrameKind::Pages => "a page frame",
            FrameKind::Padding => "padding",
            FrameKind::Index => "the index",
            FrameKind::End => "the end frame",
            FrameKind::Skippable => "a frame of a later version",
        }
    }
}

fn frame_kind(number: u16, optional: bool, offset: u64) -> Result<FrameKind, ReadError> {
    Ok(match number {
        kind::RECORD => FrameKind::Record,
        kind::PAGES => FrameKind::Pages,
        kind::PADDING => FrameKind::Padding,
        kind::INDEX => FrameKind::Index,
        kind::END => FrameKind::End,
        _ if optional => FrameKind::Skippable,
        kind => return Err(ReadError::UnknownFrame { kind, offset }),
    })
}

/// The header in `bytes`; they are as many as it takes.
pub(crate) fn parse(bytes: &[u8; size_of::<FrameHeader>()]) -> FrameHeader {
    zerocopy::transmute!(*bytes)
}

/// A frame header for `payload`, complete.
pub(crate) fn header(kind: u16, flags: u16, detail: u32, sequence: u32, payload: &[u8]) -> FrameHeader {
    let mut header = FrameHeader {
        kind: kind.into(),
        flags: flags.into(),
        sequence: sequence.into(),
        length: (payload.len() as u32).into(),
        detail: detail.into(),
        payload_checksum: layout::checksum(payload).into(),
        header_checksum: 0.into(),
    };
    header.header_checksum = header.sum().into();
    header
}

/// Checks that what follows the end frame is the footer that must.
pub(crate) fn check_footer(bytes: &[u8; size_of::<layout::Footer>()], end: u64) -> Result<(), ReadError> {
    let offset = end + (size_of::<FrameHeader>() + size_of::<EndBody>()) as u64;
    if bytes == footer(end).as_bytes() {
        return Ok(());
    }
    let damaged =
        layout::Footer::read_from_bytes(bytes).is_ok_and(|footer| footer.magic == layout::FOOTER_MAGIC);
    let what = if damaged { "the footer is not that of this stream" } else { "the footer is missing" };
    Err(ReadError::corrupt(what, offset))
}

/// The footer of a stream whose end frame starts at `end`.
pub(crate) fn footer(end: u64) -> layout::Footer {
    let length = end.saturating_add(layout::TAIL as u64);
    let magic = layout::FOOTER_MAGIC;
    let mut footer = layout::Footer { magic, end: end.into(), length: length.into(), checksum: 0.into() };
    footer.checksum = footer.sum().into();
    footer
}
