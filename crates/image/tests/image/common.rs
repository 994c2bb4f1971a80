//! What the tests of the image share: pieces of an image as values, written with every way of reading them back.

use std::io::{self, Read, Write};

use rekindle_image::{
    Arch, Codec, Frame, Header, Need, PageBuffer, ReadError, Reader, RecordType, Summary, Writer,
};

/// One thing to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Record { ty: u16, need: Need, payload: Vec<u8> },
    Pages { codec: Codec, runs: Vec<(u32, u64, u32)>, fill: Fill },
}

/// Contents of pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fill {
    /// Each page all of one byte: compresses well.
    Plain(u8),
    /// Noise from a seed: does not compress.
    Noise(u64),
}

/// What is read back, without regard to how it was stored.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Record { ty: u16, need: Need, payload: Vec<u8> },
    Pages { runs: Vec<(u32, u64, u32)>, data: Vec<u8> },
}

impl Fill {
    fn put(self, data: &mut [u8]) {
        match self {
            Fill::Plain(byte) => data.fill(byte),
            Fill::Noise(mut state) => {
                for chunk in data.chunks_mut(8) {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    chunk.copy_from_slice(&(state ^ state >> 29).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }
}

pub(crate) fn header() -> Header {
    Header::new(Arch::X86_64)
}

/// Runs of pages in a buffer.
pub(crate) fn filled(runs: &[(u32, u64, u32)], fill: Fill) -> PageBuffer {
    let mut buffer = PageBuffer::new();
    for (space, address, pages) in runs {
        buffer.push(*space, *address, *pages).unwrap();
    }
    fill.put(buffer.data_mut());
    buffer
}

pub(crate) fn write_to<W: Write>(out: W, pieces: &[Piece]) -> (W, Summary) {
    let mut writer = Writer::new(out, &header()).unwrap();
    for piece in pieces {
        match piece {
            Piece::Record { ty, need, payload } => {
                writer.record_bytes(RecordType(*ty), *need, payload).unwrap();
            }
            Piece::Pages { codec, runs, fill } => {
                writer.pages(&mut filled(runs, *fill).seal(*codec)).unwrap();
            }
        }
    }
    writer.finish().unwrap()
}

pub(crate) fn write(pieces: &[Piece]) -> (Vec<u8>, Summary) {
    write_to(Vec::new(), pieces)
}

/// What a reader must give for these pieces.
pub(crate) fn expected(pieces: &[Piece]) -> Vec<Seen> {
    let seen = pieces.iter().filter_map(|piece| match piece {
        Piece::Record { ty, need, payload } => {
            Some(Seen::Record { ty: *ty, need: *need, payload: payload.clone() })
        }
        Piece::Pages { runs, .. } if runs.is_empty() => None,
        Piece::Pages { runs, fill, .. } => Some(seen_pages(&filled(runs, *fill))),
    });
    seen.collect()
}

pub(crate) fn seen_pages(buffer: &PageBuffer) -> Seen {
    let runs = buffer.runs().iter().map(|run| (run.space, run.address, run.pages)).collect();
    Seen::Pages { runs, data: buffer.data().to_vec() }
}

/// Reads a whole stream.
pub(crate) fn read<R: Read>(input: R) -> Result<(Vec<Seen>, Summary), ReadError> {
    let mut reader = Reader::new(input)?;
    let mut seen = Vec::new();
    while let Some(frame) = reader.next()? {
        seen.push(match frame {
            Frame::Record(record) => {
                Seen::Record { ty: record.ty.0, need: record.need, payload: record.payload.to_vec() }
            }
            Frame::Pages(pages) => {
                let runs = pages.runs().iter().map(|run| (run.space, run.address, run.pages)).collect();
                Seen::Pages { runs, data: pages.data().to_vec() }
            }
        });
    }
    Ok((seen, reader.summary().expect("the end was reached")))
}

/// Gives one byte at each read, and every third time an interruption.
pub(crate) struct Dribble<'a>(pub(crate) &'a [u8], pub(crate) u32);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}

/// A small image with every kind of frame.
pub(crate) fn small() -> Vec<Piece> {
    vec![
        Piece::Record { ty: 1, need: Need::Required, payload: b"plan".to_vec() },
        Piece::Record { ty: 700, need: Need::Optional, payload: Vec::new() },
        Piece::Pages {
            codec: Codec::Zstd(3),
            runs: vec![(0, 0x1000, 2), (3, 0, 1)],
            fill: Fill::Plain(0x5a),
        },
        Piece::Pages { codec: Codec::Lz4, runs: vec![(0, 0x7000, 1)], fill: Fill::Plain(0xa5) },
        Piece::Pages { codec: Codec::Raw, runs: vec![(1, 0x7fff_ffff_e000, 1)], fill: Fill::Noise(7) },
    ]
}
