//! Codecs: page contents smaller. A whole frame is one block; its expanded size is in the frame, and capped.

use crate::layout::codec;

/// How page contents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are, aligned to 4096 bytes in the stream, so that they can be written and read past the page cache.
    Raw,
    /// LZ4: fast, for links of up to some Gbit/s.
    Lz4,
    /// Zstandard with its level, -7 to 19 (others are brought into that range): small.
    Zstd(i32),
}

const ZSTD_LEVELS: (i32, i32) = (-7, 19);

/// What the compressors keep from one frame to the next. Cheap until first used.
#[derive(Default)]
pub(crate) struct Coder {
    deflate: Option<(i32, zstd::bulk::Compressor<'static>)>,
    inflate: Option<zstd::bulk::Decompressor<'static>>,
}

impl Coder {
    /// Compresses `contents` into the front of `out`, which [`room`] made long enough; the codec's number and the
    /// bytes used. None if that fails or gains less than a sixteenth: then the contents are better stored raw.
    pub(crate) fn compress(&mut self, codec: Codec, contents: &[u8], out: &mut [u8]) -> Option<(u32, usize)> {
        let (number, len) = match codec {
            Codec::Raw => return None,
            Codec::Lz4 => (codec::LZ4, lz4_flex::block::compress_into(contents, out).ok()?),
            Codec::Zstd(level) => (codec::ZSTD, self.zstd(level)?.compress_to_buffer(contents, out).ok()?),
        };
        (len <= contents.len() - contents.len() / 16).then_some((number, len))
    }

    /// Expands `stored` to fill exactly `contents`; None if it is no such block.
    pub(crate) fn expand(&mut self, number: u32, stored: &[u8], contents: &mut [u8]) -> Option<()> {
        let len = match number {
            codec::LZ4 => lz4_flex::block::decompress_into(stored, contents).ok()?,
            codec::ZSTD => self.unzstd()?.decompress_to_buffer(stored, contents).ok()?,
            _ => return None,
        };
        (len == contents.len()).then_some(())
    }

    fn zstd(&mut self, level: i32) -> Option<&mut zstd::bulk::Compressor<'static>> {
        let level = level.clamp(ZSTD_LEVELS.0, ZSTD_LEVELS.1);
        if !matches!(&self.deflate, Some((kept, _)) if *kept == level) {
            self.deflate = Some((level, zstd::bulk::Compressor::new(level).ok()?));
        }
        self.deflate.as_mut().map(|(_, compressor)| compressor)
    }

    fn unzstd(&mut self) -> Option<&mut zstd::bulk::Decompressor<'static>> {
        if self.inflate.is_none() {
            self.inflate = Some(zstd::bulk::Decompressor::new().ok()?);
        }
        self.inflate.as_mut()
    }
}

/// Bytes of output that compressing `len` bytes may need.
pub(crate) fn room(codec: Codec, len: usize) -> usize {
    match codec {
        Codec::Raw => 0,
        Codec::Lz4 => lz4_flex::block::get_maximum_output_size(len),
        Codec::Zstd(_) => len, // it fails, rightly, when that is too little
    }
}
