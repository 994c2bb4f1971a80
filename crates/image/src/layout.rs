//! The bytes of the format: every structure of the stream, its limits and its magic numbers, each stated once.
//!
//! All numbers are little-endian and naturally aligned; all reserved bytes are zero and a reader refuses others.
//! `docs/image-format.md` draws the same structures as offset tables. Nothing here reads or decides; see `frame.rs`
//! for what makes a frame acceptable.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The newest format version that this crate writes and reads.
pub const VERSION: u32 = 1;

/// First bytes of an image. The high bit, the line ends and the ^Z catch copies made in text mode, as PNG's do.
pub const MAGIC: [u8; 8] = *b"\x89RKD\r\n\x1a\n";
/// First bytes of the footer.
pub const FOOTER_MAGIC: [u8; 8] = *b"RKD-END\n";

/// The unit in which pages are counted and raw page frames are aligned, in bytes: 4096 on every machine, whatever
/// its own page size ([`FileHeader::page_size`]).
pub const PAGE: usize = 4096;
/// [`PAGE`] for addresses and offsets.
pub const PAGE_U64: u64 = PAGE as u64;

/// Most bytes of a record that `Writer::record` and `Record::decode` take. Decoding can expand a message of
/// minimal sub-messages more than a hundredfold, so the kinds that need more must ask for it.
pub const RECORD_LIMIT: usize = 64 << 10;
/// Most bytes of any record.
pub const RECORD_HARD_LIMIT: usize = 1 << 20;
/// Most pages in a page frame: 1 MiB of contents.
pub const PAGES_LIMIT: u32 = 256;
/// Most bytes of contents in a page frame.
pub const DATA_LIMIT: usize = PAGES_LIMIT as usize * PAGE;
/// Most runs in a page frame: as many as fit, with the headers, into the one block in front of raw contents.
pub const RUNS_LIMIT: usize =
    (PAGE - size_of::<FrameHeader>() - size_of::<PageHead>()) / size_of::<RunEntry>();
/// Bytes of payload in front of the contents of a raw page frame; with the frame header they make one [`PAGE`].
pub const RAW_HEAD: usize = PAGE - size_of::<FrameHeader>();
/// Most bytes of payload of any frame: those of a full raw page frame.
pub const PAYLOAD_LIMIT: usize = RAW_HEAD + DATA_LIMIT;
/// Most bytes of payload of an index frame.
pub const INDEX_LIMIT: usize = 1 << 20;
/// Most entries of an index that is read as a whole: 16 TiB of memory in full page frames.
pub const ENTRIES_LIMIT: u64 = 1 << 24;
/// Frames start at multiples of this many bytes.
pub const FRAME_ALIGN: usize = 8;

/// Frame kinds, the numbers in [`FrameHeader::kind`].
pub mod kind {
    /// One protobuf message; its type is in [`detail`](super::FrameHeader::detail).
    pub const RECORD: u16 = 1;
    /// Contents of memory; the codec is in [`detail`](super::FrameHeader::detail).
    pub const PAGES: u16 = 2;
    /// Zeros, so that a later frame starts where it must.
    pub const PADDING: u16 = 3;
    /// Where the records and page frames since the index frame before this one are.
    pub const INDEX: u16 = 4;
    /// The last frame: counts and digest.
    pub const END: u16 = 5;
}

/// Frame flag: a reader that does not know this frame or record may skip it.
pub const FLAG_OPTIONAL: u16 = 1;

/// Codec numbers, in [`FrameHeader::detail`] of page frames.
pub mod codec {
    /// Contents as they are, aligned to 4096 bytes.
    pub const RAW: u32 = 0;
    /// One LZ4 block without the length prefix.
    pub const LZ4: u32 = 1;
    /// One zstd frame.
    pub const ZSTD: u32 = 2;
}

/// The first 64 bytes of an image. Magic, version and checksum keep their places in every later version.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Format version, [`VERSION`].
    pub version: U32,
    /// Page size of the machine that was checkpointed, in bytes.
    pub page_size: U32,
    /// Features without which the image cannot be understood.
    pub required: U64,
    /// Features that a reader may ignore.
    pub optional: U64,
    /// ELF machine number of the processes.
    pub arch: U16,
    /// Zero.
    pub reserved: [u8; 22],
    /// XXH3-64 of the 56 bytes before.
    pub checksum: U64,
}

/// The first 32 bytes of every frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// What the frame is: one of [`kind`].
    pub kind: U16,
    /// [`FLAG_OPTIONAL`] or zero.
    pub flags: U16,
    /// 0 for the first frame, one more for each later one.
    pub sequence: U32,
    /// Bytes of payload, without the zeros that follow it up to the next multiple of 8.
    pub length: U32,
    /// Records: the record type. Page frames: the codec. Others: zero.
    pub detail: U32,
    /// XXH3-64 of the payload.
    pub payload_checksum: U64,
    /// XXH3-64 of the 24 bytes before.
    pub header_checksum: U64,
}

/// The first 16 bytes of the payload of a page frame; the run table follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PageHead {
    /// Pages in the frame: the sum of the runs'.
    pub pages: U32,
    /// Runs in the table.
    pub runs: U32,
    /// Bytes of contents as stored: `pages * 4096` when raw, fewer when compressed.
    pub stored: U32,
    /// Zero.
    pub reserved: U32,
}

/// One run of consecutive pages in the table of a page frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RunEntry {
    /// Which address space or shared object.
    pub space: U32,
    /// Pages in the run, at least one.
    pub pages: U32,
    /// Where the first page is in that space, in bytes; a multiple of 4096.
    pub address: U64,
}

/// The first 24 bytes of the payload of an index frame; the entries follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IndexHead {
    /// Where the index frame before this one starts in the stream, or zero.
    pub previous: U64,
    /// Entries in all index frames before this one.
    pub first: U64,
    /// Entries in this one.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// The payload of the end frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EndBody {
    /// Frames before the end frame.
    pub frames: U64,
    /// Record frames.
    pub records: U64,
    /// Page frames.
    pub page_frames: U64,
    /// Bytes of memory in the page frames, expanded.
    pub page_bytes: U64,
    /// Where the last index frame starts, or zero if there is none.
    pub index: U64,
    /// BLAKE3 of the file header and the headers of all frames before the end frame, in order.
    pub digest: [u8; 32],
}

/// The last 32 bytes of an image.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Footer {
    /// [`FOOTER_MAGIC`].
    pub magic: [u8; 8],
    /// Where the end frame starts.
    pub end: U64,
    /// Bytes of the whole stream, this footer included.
    pub length: U64,
    /// XXH3-64 of the 24 bytes before.
    pub checksum: U64,
}

/// Bytes of the end frame and the footer together.
pub const TAIL: usize = size_of::<FrameHeader>() + size_of::<EndBody>() + size_of::<Footer>();

impl FileHeader {
    /// Computes [`FileHeader::checksum`] for the other fields.
    pub fn sum(&self) -> u64 {
        checksum(&self.as_bytes()[..56])
    }
}

impl FrameHeader {
    /// Computes [`FrameHeader::header_checksum`] for the other fields.
    pub fn sum(&self) -> u64 {
        checksum(&self.as_bytes()[..24])
    }
}

impl Footer {
    /// Computes [`Footer::checksum`] for the other fields.
    pub fn sum(&self) -> u64 {
        checksum(&self.as_bytes()[..24])
    }
}

/// The checksum of the format: XXH3-64, seed 0.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Bytes from `offset` to the next place that is `place` past a multiple of [`PAGE`], as the whole length of a
/// padding frame: zero, or at least a frame header.
pub fn padding(offset: u64, place: usize) -> usize {
    let gap = (place as u64).wrapping_sub(offset) % PAGE_U64;
    let gap = gap as usize;
    if gap != 0 && gap < size_of::<FrameHeader>() { gap + PAGE } else { gap }
}
