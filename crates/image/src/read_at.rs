//! Random access: bytes of a file by offset, and single frames at the places that index entries name.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::error::ReadError;
use crate::frame::{self, FrameInfo, FrameKind};
use crate::index_entries::Entry;
use crate::layout::FrameHeader;
use crate::pages::PageBuffer;
use crate::record::{Record, RecordType};

/// Something whose bytes can be read at any offset, by several threads at once.
pub trait ReadAt {
    /// Reads up to `buf.len()` bytes at `offset` (bytes); 0 at the end.
    ///
    /// # Errors
    /// As [`FileExt::read_at`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }
}

/// Reads the page frame of an index entry into `pages`, verified and expanded.
///
/// # Errors
/// If there is none, or it is damaged; `pages` is empty then.
pub fn read_pages<F: ReadAt + ?Sized>(
    file: &F,
    entry: &Entry,
    pages: &mut PageBuffer,
) -> Result<(), ReadError> {
    pages.clear();
    let (_, info) = read_header(file, entry.offset, None)?;
    if info.kind != FrameKind::Pages {
        return Err(ReadError::WrongEntry { wanted: "page frame", offset: entry.offset });
    }
    read_page_payload(file, &info, pages)
}

/// Reads the record of an index entry, verified; its payload is in `payload`.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn read_record<'a, F: ReadAt + ?Sized>(
    file: &F,
    entry: &Entry,
    payload: &'a mut Vec<u8>,
) -> Result<Record<'a>, ReadError> {
    let (_, info) = read_header(file, entry.offset, None)?;
    if info.kind != FrameKind::Record {
        return Err(ReadError::WrongEntry { wanted: "record", offset: entry.offset });
    }
    read_payload(file, &info, payload)?;
    Ok(Record { ty: RecordType(info.detail as u16), need: info.need(), payload, offset: info.offset })
}

/// Reads and judges the frame header at `offset`, where frame `due` must be.
pub(crate) fn read_header<F: ReadAt + ?Sized>(
    file: &F,
    offset: u64,
    due: Option<u32>,
) -> Result<(FrameHeader, FrameInfo), ReadError> {
    let mut bytes = [0; size_of::<FrameHeader>()];
    read_exact_at(file, &mut bytes, offset, "a frame header")?;
    let header = frame::parse(&bytes);
    Ok((header, FrameInfo::of(&header, offset, due)?))
}

/// Reads and verifies the payload of a page frame.
pub(crate) fn read_page_payload<F: ReadAt + ?Sized>(
    file: &F,
    info: &FrameInfo,
    pages: &mut PageBuffer,
) -> Result<(), ReadError> {
    read_exact_at(file, pages.landing(info.detail, info.padded()), info.payload_offset(), info.name())?;
    pages.accept(info)
}

/// Reads and verifies the payload of any other frame.
pub(crate) fn read_payload<F: ReadAt + ?Sized>(
    file: &F,
    info: &FrameInfo,
    payload: &mut Vec<u8>,
) -> Result<(), ReadError> {
    payload.resize(info.padded(), 0);
    read_exact_at(file, payload, info.payload_offset(), info.name())?;
    info.checked_payload(payload)?;
    payload.truncate(info.length);
    Ok(())
}

/// Fills `bytes` from `offset`; what `reading` names is cut off if the file ends before.
pub(crate) fn read_exact_at<F: ReadAt + ?Sized>(
    file: &F,
    bytes: &mut [u8],
    offset: u64,
    reading: &'static str,
) -> Result<(), ReadError> {
    let got = fill_at(file, bytes, offset)?;
    if got == bytes.len() {
        return Ok(());
    }
    Err(ReadError::Truncated { offset: offset.saturating_add(got as u64), reading })
}

/// Reads from `offset` until `bytes` are full or the file ends.
pub(crate) fn fill_at<F: ReadAt + ?Sized>(
    file: &F,
    bytes: &mut [u8],
    offset: u64,
) -> Result<usize, ReadError> {
    let mut got = 0;
    while got < bytes.len() {
        let at = offset.saturating_add(got as u64);
        match file.read_at(&mut bytes[got..], at) {
            Ok(0) => break,
            Ok(more) => got += more.min(bytes.len() - got), // a `ReadAt` may lie
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::io(at)(error)),
        }
    }
    Ok(got)
}
