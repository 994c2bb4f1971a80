//! What the end of an image says about the whole: counts and digest.

use std::fmt;

/// The BLAKE3 digest of an image: of its file header and all frame headers, and by their checksums of everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An image in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Frames, the end frame not counted.
    pub frames: u64,
    /// Records.
    pub records: u64,
    /// Page frames.
    pub page_frames: u64,
    /// Bytes of memory in the page frames, expanded.
    pub page_bytes: u64,
    /// Bytes of the whole stream.
    pub length: u64,
    /// The digest.
    pub digest: Digest,
}
