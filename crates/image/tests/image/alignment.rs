//! All output is aligned: in memory, in the stream and in length; so it can be written with `O_DIRECT`.

use std::io::{self, Write};

use rekindle_image::layout::PAGE;
use rekindle_image::{Codec, Need};

use crate::common::{Fill, Piece, read, write_to};

/// Insists on alignment, and keeps what it is given.
#[derive(Default)]
struct Direct {
    bytes: Vec<u8>,
    writes: Vec<(usize, usize)>,
}

impl Write for Direct {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert_eq!(buf.as_ptr().addr() % PAGE, 0, "address in memory");
        assert_eq!(buf.len() % PAGE, 0, "length");
        assert_eq!(self.bytes.len() % PAGE, 0, "offset in the stream");
        self.writes.push((self.bytes.len(), buf.len()));
        self.bytes.extend(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Records of all lengths around the alignments, between page frames of all codecs.
fn mixture() -> Vec<Piece> {
    let mut pieces = Vec::new();
    for len in (0..40).chain(3900..4200) {
        pieces.push(Piece::Record { ty: 1, need: Need::Required, payload: vec![1; len] });
        let codec = [Codec::Raw, Codec::Lz4, Codec::Zstd(1)][len % 3];
        let runs = vec![(0, (len as u64) << 20, 1 + (len % 5) as u32), (1, 0, 1)];
        pieces.push(Piece::Pages { codec, runs, fill: Fill::Noise(len as u64) });
    }
    pieces
}

#[test]
fn every_write_is_aligned() {
    let (out, summary) = write_to(Direct::default(), &mixture());
    assert_eq!(read(&out.bytes[..]).unwrap().1, summary);
}

#[test]
fn a_raw_page_frame_is_one_write_and_its_contents_are_aligned() {
    let page = Piece::Pages { codec: Codec::Raw, runs: vec![(0, 0, 256)], fill: Fill::Noise(5) };
    let record = Piece::Record { ty: 1, need: Need::Required, payload: vec![1; 5] };
    let (out, _) = write_to(Direct::default(), &[record, page.clone(), page]);
    let full = PAGE + 256 * PAGE;
    assert_eq!(out.writes, [(0, PAGE), (PAGE, full), (PAGE + full, full), (PAGE + 2 * full, PAGE)]);
}

#[test]
fn a_failed_output_stays_failed() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = rekindle_image::Writer::new(Full, &crate::common::header()).unwrap();
    assert!(matches!(writer.flush(), Err(rekindle_image::WriteError::Io { offset: 0, .. })));
    assert!(matches!(writer.flush(), Err(rekindle_image::WriteError::Stopped)));
    assert!(matches!(writer.finish(), Err(rekindle_image::WriteError::Stopped)));
}

#[test]
fn a_flush_brings_out_all_there_is_and_keeps_the_alignment() {
    let mut writer = rekindle_image::Writer::new(Direct::default(), &crate::common::header()).unwrap();
    writer.record_bytes(rekindle_image::RecordType(3), Need::Required, b"now").unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.get_ref().bytes.len() as u64, writer.offset());
    let (out, _) = writer.finish().unwrap();
    read(&out.bytes[..]).unwrap();
}
