//! Records: protobuf messages with a type number. What the numbers mean is listed by the kinds that own them.

use std::fmt;

use crate::error::ReadError;
use crate::layout::RECORD_LIMIT;

/// The number of a kind of record. Numbers are given out once and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record type {}", self.0)
    }
}

/// What a reader that does not know a record must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Refuse the image.
    Required,
    /// Go on without it.
    Optional,
}

/// A record as read, its checksum verified.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What kind of record it is.
    pub ty: RecordType,
    /// Whether it may be skipped.
    pub need: Need,
    /// The protobuf message, up to 1 MiB.
    pub payload: &'a [u8],
    /// Where its frame starts in the stream, in bytes.
    pub offset: u64,
}

impl Record<'_> {
    /// Decodes a message of at most 64 KiB.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] above that; [`ReadError::Undecodable`] if the bytes are no such message.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, ReadError> {
        if self.payload.len() > RECORD_LIMIT {
            let (size, limit) = (self.payload.len() as u64, RECORD_LIMIT as u64);
            return Err(ReadError::TooLarge {
                what: "a record of this type",
                size,
                limit,
                offset: self.offset,
            });
        }
        self.decode_large()
    }

    /// Decodes a message of up to 1 MiB. A hostile one may need more than a hundred times that in memory, so this
    /// is for the record types written with `Writer::record_large` only.
    ///
    /// # Errors
    /// [`ReadError::Undecodable`] if the bytes are no such message.
    pub fn decode_large<M: prost::Message + Default>(&self) -> Result<M, ReadError> {
        M::decode(self.payload).map_err(|source| ReadError::Undecodable {
            ty: self.ty,
            offset: self.offset,
            source,
        })
    }

    /// What to do about a record whose type the caller does not know: nothing, if it is optional.
    ///
    /// # Errors
    /// [`ReadError::UnknownRecord`] if it is required.
    pub fn skip_unknown(&self) -> Result<(), ReadError> {
        match self.need {
            Need::Optional => Ok(()),
            Need::Required => Err(ReadError::UnknownRecord { ty: self.ty, offset: self.offset }),
        }
    }
}
