//! What the first bytes of an image say: from what machine it is, and what a reader must know to understand it.

use std::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::error::{ReadError, WriteError};
use crate::layout::{FileHeader, MAGIC, PAGE, VERSION};

bitflags::bitflags! {
    /// Properties of an image that not every reader understands. A bit is given out once and never reused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Pages not in this image are in the image it was taken against. Reserved; no reader supports it yet.
        const INCREMENTAL = 1 << 0;
        /// Payloads are encrypted. Reserved; no reader supports it yet.
        const ENCRYPTED = 1 << 1;
        /// Page contents are in another object. Reserved; no reader supports it yet.
        const EXTERNAL_PAGES = 1 << 2;
        /// Bits from newer versions are kept as they are.
        const _ = !0;
    }
}

impl Features {
    /// The features that this crate understands when an image requires them.
    pub const SUPPORTED: Features = Features::empty();

    /// One name for each bit: the feature's, or the bit's number where this crate does not know it.
    pub fn names(self) -> Vec<String> {
        let bits = (0..u64::BITS).filter(|bit| self.bits() & (1 << bit) != 0);
        bits.map(|bit| match Features::from_bits_retain(1 << bit).iter_names().next() {
            Some((name, _)) => name.to_lowercase().replace('_', "-"),
            None => format!("bit {bit}"),
        })
        .collect()
    }
}

/// The processor architecture of the checkpointed processes: an ELF machine number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arch(pub u16);

impl Arch {
    /// x86-64 (`EM_X86_64`).
    pub const X86_64: Arch = Arch(62);
    /// 64-bit ARM (`EM_AARCH64`).
    pub const AARCH64: Arch = Arch(183);
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Arch::X86_64 => f.write_str("x86_64"),
            Arch::AARCH64 => f.write_str("aarch64"),
            Arch(number) => write!(f, "ELF machine {number}"),
        }
    }
}

impl fmt::Debug for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an image says of itself before anything else. The format version is the crate's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Features that a reader must understand.
    pub required: Features,
    /// Features that a reader may ignore.
    pub optional: Features,
    /// Page size of the machine, in bytes: a power of two, at least 4096. Pages in the image are counted in units
    /// of 4096 all the same.
    pub page_size: u32,
    /// What the processes' code is made for.
    pub arch: Arch,
}

impl Header {
    /// A header with no features, for 4096-byte pages.
    pub fn new(arch: Arch) -> Self {
        Header { required: Features::empty(), optional: Features::empty(), page_size: PAGE as u32, arch }
    }

    /// The bytes of this header; refuses what our own readers would.
    pub(crate) fn encode(&self) -> Result<[u8; size_of::<FileHeader>()], WriteError> {
        let Header { required, optional, page_size, arch } = *self;
        let unknown = required.difference(Features::SUPPORTED);
        if !unknown.is_empty() {
            return Err(WriteError::UnknownFeature { names: unknown.names() });
        }
        if !page_size_is_sane(page_size) {
            return Err(WriteError::PageSize { found: page_size });
        }
        let mut raw = FileHeader {
            magic: MAGIC,
            version: VERSION.into(),
            page_size: page_size.into(),
            required: required.bits().into(),
            optional: optional.bits().into(),
            arch: arch.0.into(),
            reserved: [0; 22],
            checksum: 0.into(),
        };
        raw.checksum = raw.sum().into();
        Ok(zerocopy::transmute!(raw))
    }

    /// Reads what `bytes`, the start of a stream, hold; fewer than 64 of them when the stream is shorter.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.is_empty() {
            return Err(ReadError::Empty);
        }
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(ReadError::NotAnImage);
        }
        let Ok((raw, _)) = FileHeader::read_from_prefix(bytes) else {
            return Err(ReadError::Truncated { offset: bytes.len() as u64, reading: "the file header" });
        };
        if raw.checksum.get() != raw.sum() {
            return Err(ReadError::corrupt("the file header does not match its checksum", 0));
        }
        Self::of(&raw)
    }

    /// What a whole header says. The version comes first: a newer one may have given the other fields new meanings.
    fn of(raw: &FileHeader) -> Result<Self, ReadError> {
        let FileHeader { magic: _, version, page_size, required, optional, arch, reserved, checksum: _ } =
            *raw;
        if version.get() > VERSION {
            return Err(ReadError::NewerVersion { found: version.get(), known: VERSION });
        }
        if version.get() == 0 {
            return Err(ReadError::corrupt("the format version is zero", 8));
        }
        let required = Features::from_bits_retain(required.get());
        let unknown = required.difference(Features::SUPPORTED);
        if !unknown.is_empty() {
            return Err(ReadError::UnknownFeature { names: unknown.names() });
        }
        if !page_size_is_sane(page_size.get()) {
            return Err(ReadError::corrupt("the page size is not a power of two from 4096 to 2 MiB", 12));
        }
        if reserved.as_bytes().iter().any(|byte| *byte != 0) {
            return Err(ReadError::corrupt("reserved bytes of the file header are not zero", 34));
        }
        let optional = Features::from_bits_retain(optional.get());
        Ok(Header { required, optional, page_size: page_size.get(), arch: Arch(arch.get()) })
    }
}

fn page_size_is_sane(size: u32) -> bool {
    size.is_power_of_two() && (PAGE as u32..=2 << 20).contains(&size)
}
