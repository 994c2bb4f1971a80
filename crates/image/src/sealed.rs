//! Sealing: a page buffer becomes the bytes of a frame, complete but for the number it gets when it is written.
//!
//! This is the part that costs (compression, checksum), so it is apart from the writer: any thread can do it.

use zerocopy::{FromZeros, IntoBytes};

use crate::codec::{self, Codec};
use crate::index_entries::Extent;
use crate::layout::{self, FrameHeader, PAGE, PageHead, RAW_HEAD, RunEntry, kind};
use crate::pages::{PageBuffer, Run};

/// Pages ready to be written: compressed if that was worth it, and checksummed.
#[derive(Debug)]
pub struct SealedPages {
    buffer: PageBuffer,
    header: FrameHeader,
    extent: Extent,
}

impl PageBuffer {
    /// Compresses with `codec` (stays raw where that gains less than a sixteenth) and computes the checksum.
    pub fn seal(mut self, codec: Codec) -> SealedPages {
        let (detail, length) = match self.pack(codec) {
            Some((number, length)) => (number, length),
            None => (layout::codec::RAW, self.head_raw()),
        };
        let mut header = FrameHeader::new_zeroed();
        header.kind = kind::PAGES.into();
        header.detail = detail.into();
        header.length = (length as u32).into();
        let extent = self.extent();
        let mut sealed = SealedPages { buffer: self, header, extent };
        let checksum = layout::checksum(&sealed.frame_mut()[size_of::<FrameHeader>()..][..length]);
        sealed.header.payload_checksum = checksum.into();
        sealed
    }

    /// Puts head and run table in front of the contents; the length of the payload.
    fn head_raw(&mut self) -> usize {
        let bytes = self.data().len();
        let head = &mut self.block.bytes_mut()[size_of::<FrameHeader>()..PAGE];
        let table = put_head(head, &self.runs, self.pages, bytes);
        head[table..].fill(0);
        RAW_HEAD + bytes
    }

    /// Makes the compressed frame; codec and length of its payload, or None if it is not worth it.
    fn pack(&mut self, codec: Codec) -> Option<(u32, usize)> {
        let bytes = self.pages as usize * PAGE;
        if codec == Codec::Raw || bytes == 0 {
            return None;
        }
        let front = size_of::<FrameHeader>();
        let table = size_of::<PageHead>() + self.runs.len() * size_of::<RunEntry>();
        let needed = front + table + codec::room(codec, bytes) + layout::FRAME_ALIGN;
        if self.packed.len() < needed {
            self.packed.resize(needed, 0);
        }
        let contents = &self.block.bytes()[PAGE..][..bytes];
        let (number, len) = self.coder.compress(codec, contents, &mut self.packed[front + table..])?;
        put_head(&mut self.packed[front..], &self.runs, self.pages, len);
        let end = front + table + len;
        self.packed[end..end + layout::FRAME_ALIGN].fill(0);
        Some((number, table + len))
    }
}

/// Writes the head and the run table of a page frame to the front of `to`; the bytes they take.
fn put_head(to: &mut [u8], runs: &[Run], pages: u32, stored: usize) -> usize {
    let (pages, stored) = (pages.into(), (stored as u32).into());
    let head = PageHead { pages, runs: (runs.len() as u32).into(), stored, reserved: 0.into() };
    let (front, table) = to.split_at_mut(size_of::<PageHead>());
    front.copy_from_slice(head.as_bytes());
    for (run, place) in runs.iter().zip(table.chunks_exact_mut(size_of::<RunEntry>())) {
        let Run { space, address, pages } = *run;
        let entry = RunEntry { space: space.into(), pages: pages.into(), address: address.into() };
        place.copy_from_slice(entry.as_bytes());
    }
    size_of::<PageHead>() + runs.len() * size_of::<RunEntry>()
}

impl SealedPages {
    /// Gives the buffer back, empty, to be filled again.
    pub fn into_buffer(self) -> PageBuffer {
        let mut buffer = self.buffer;
        buffer.clear();
        buffer
    }

    /// The runs in the frame.
    pub fn runs(&self) -> &[Run] {
        self.buffer.runs()
    }

    /// Whether there are no pages in it; such a frame is not written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether it is stored raw: asked for, or because compression was not worth it.
    pub fn is_raw(&self) -> bool {
        self.header.detail.get() == layout::codec::RAW
    }

    /// Bytes that the frame takes in the stream (without padding before it).
    pub fn stored_bytes(&self) -> usize {
        size_of::<FrameHeader>() + (self.header.length.get() as usize).next_multiple_of(layout::FRAME_ALIGN)
    }

    pub(crate) fn header(&self) -> FrameHeader {
        self.header
    }

    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// The whole frame; the first 32 bytes are the place of its header.
    pub(crate) fn frame_mut(&mut self) -> &mut [u8] {
        let len = self.stored_bytes();
        if self.is_raw() { &mut self.buffer.block.bytes_mut()[..len] } else { &mut self.buffer.packed[..len] }
    }
}
