//! What is written is read back the same: from a slice, byte by byte, through the index, and by several threads.

use std::io::Cursor;

use crate::common::{Dribble, Fill, Piece, Seen, expected, filled, header, read, seen_pages, small, write};
use proptest::prelude::*;
use rekindle_image::layout::{DATA_LIMIT, PAGE, RECORD_HARD_LIMIT, RECORD_LIMIT};
use rekindle_image::{
    Codec, EntryKind, Incoming, Index, Need, PageBuffer, Place, PushError, ReadError, Reader, RecordType,
    WriteError, Writer, read_pages, read_record, verify,
};

#[test]
fn an_image_reads_back_in_every_way() {
    let pieces = small();
    let (bytes, summary) = write(&pieces);
    check(&bytes, &pieces);
    assert_eq!(summary.length, bytes.len() as u64);
    assert_eq!((summary.records, summary.page_frames, summary.page_bytes), (2, 3, 5 * 4096));
}

#[test]
fn an_image_of_nothing_is_an_image() {
    let (bytes, summary) = write(&[]);
    check(&bytes, &[]);
    assert_eq!((bytes.len(), summary.records, summary.page_frames), (PAGE, 0, 0));
}

/// Checks all ways of reading against the pieces.
fn check(bytes: &[u8], pieces: &[Piece]) {
    let expected = expected(pieces);
    let (seen, summary) = read(bytes).unwrap();
    assert_eq!(seen, expected);
    assert_eq!(read(Dribble(bytes, 0)).unwrap(), (seen, summary));
    for threads in [0, 1, 3] {
        assert_eq!(verify(bytes, bytes.len() as u64, threads).unwrap(), summary);
    }
    assert_eq!(owned(bytes), expected);
    let index = Index::read(&mut Cursor::new(bytes)).unwrap();
    assert_eq!((*index.summary(), *index.header()), (summary, header()));
    assert_eq!(by_index(bytes, &index), expected);
}

/// Reads with buffers of its own, each used once.
fn owned(bytes: &[u8]) -> Vec<Seen> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut seen = Vec::new();
    let mut buffer = PageBuffer::new();
    while let Some(incoming) = reader.next_into(&mut buffer).unwrap() {
        seen.push(match incoming {
            Incoming::Record(record) => {
                Seen::Record { ty: record.ty.0, need: record.need, payload: record.payload.to_vec() }
            }
            Incoming::Pages { .. } => seen_pages(&std::mem::take(&mut buffer)),
        });
    }
    seen
}

fn by_index(bytes: &[u8], index: &Index) -> Vec<Seen> {
    let (mut buffer, mut payload) = (PageBuffer::new(), Vec::new());
    let entries = index.entries().iter().map(|entry| match entry.kind {
        EntryKind::Record(ty) => {
            let record = read_record(bytes, entry, &mut payload).unwrap();
            assert_eq!(record.ty, ty);
            assert!(matches!(read_pages(bytes, entry, &mut buffer), Err(ReadError::WrongEntry { .. })));
            Seen::Record { ty: ty.0, need: record.need, payload: record.payload.to_vec() }
        }
        EntryKind::Pages(extent) => {
            read_pages(bytes, entry, &mut buffer).unwrap();
            assert_eq!(extent.pages, buffer.len_pages());
            for run in buffer.runs() {
                let place = Place { space: run.space, address: run.address };
                assert!(extent.may_hold(place));
                assert!(index.pages_at(place).contains(entry));
            }
            seen_pages(&buffer)
        }
    });
    entries.collect()
}

fn any_piece() -> impl Strategy<Value = Piece> {
    let need = prop_oneof![Just(Need::Required), Just(Need::Optional)];
    let record = (any::<u16>(), need, prop::collection::vec(any::<u8>(), 0..200));
    let codec = prop_oneof![Just(Codec::Raw), Just(Codec::Lz4), (-9..5).prop_map(Codec::Zstd)];
    let fill = prop_oneof![any::<u8>().prop_map(Fill::Plain), any::<u64>().prop_map(Fill::Noise)];
    let run =
        (0..4_u32, 0..1_u64 << 51, 1..5_u32).prop_map(|(space, page, pages)| (space, page << 12, pages));
    let pages = (codec, prop::collection::vec(run, 0..12), fill);
    prop_oneof![
        record.prop_map(|(ty, need, payload)| Piece::Record { ty, need, payload }),
        pages.prop_map(|(codec, runs, fill)| Piece::Pages { codec, runs, fill }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_image_reads_back(pieces in prop::collection::vec(any_piece(), 0..20)) {
        check(&write(&pieces).0, &pieces);
    }
}

#[test]
fn a_long_image_has_several_index_frames() {
    let record = |ty: u16| Piece::Record { ty, need: Need::Required, payload: vec![1] };
    let pieces: Vec<Piece> = (0..200_000_u32).map(|n| record((n % 5000) as u16)).collect();
    let (bytes, _) = write(&pieces);
    check(&bytes, &pieces);
}

#[test]
fn runs_that_continue_are_one() {
    let mut buffer = PageBuffer::new();
    buffer.push(1, 0x1000, 1).unwrap().fill(1);
    buffer.push(1, 0x2000, 2).unwrap().fill(2);
    buffer.push(2, 0x4000, 1).unwrap().fill(3);
    assert_eq!(buffer.runs().iter().map(|run| run.pages).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(
        buffer.iter().map(|(run, data)| (run.space, data.len(), data[0])).collect::<Vec<_>>(),
        [(1, 3 * 4096, 1), (2, 4096, 3)]
    );
    buffer.truncate(2);
    assert_eq!((buffer.runs().len(), buffer.len_pages(), buffer.room_pages()), (1, 2, 254));
    assert_eq!((buffer.data()[4095], buffer.data()[4096]), (1, 2));
    buffer.clear();
    assert!(buffer.is_empty() && buffer.data().is_empty());
}

#[test]
fn a_buffer_refuses_what_no_frame_can_hold() {
    let mut buffer = PageBuffer::new();
    assert_eq!(buffer.push(0, 1, 1), Err(PushError::Unaligned { address: 1 }));
    assert_eq!(buffer.push(0, 0, 0), Err(PushError::NoPages));
    assert_eq!(buffer.push(0, 0, 257), Err(PushError::Full { pages: 257, room: 256 }));
    let last = !0xfff;
    assert_eq!(buffer.push(0, last, 1), Err(PushError::Wraps { address: last, pages: 1 }));
    for run in 0..253 {
        buffer.push(0, run << 16, 1).unwrap();
    }
    assert_eq!(buffer.room_pages(), 0);
    assert_eq!(buffer.push(1, 0, 1), Err(PushError::Full { pages: 1, room: 0 }));
    buffer.push(0, (252 << 16) + 4096, 3).unwrap();
    assert_eq!(buffer.data().len(), DATA_LIMIT);
}

#[test]
fn full_and_scattered_frames_read_back_with_every_codec() {
    for codec in [Codec::Raw, Codec::Lz4, Codec::Zstd(1)] {
        for fill in [Fill::Plain(9), Fill::Noise(9)] {
            let scattered = (0..253).map(|run| (run % 7, u64::from(run) << 20, 1)).collect();
            let pieces = [
                Piece::Pages { codec, runs: vec![(5, 0, 256)], fill },
                Piece::Pages { codec, runs: scattered, fill },
            ];
            check(&write(&pieces).0, &pieces);
        }
    }
}

#[test]
fn noise_stays_raw_and_buffers_come_back_empty() {
    let sealed = filled(&[(0, 0, 8)], Fill::Noise(3)).seal(Codec::Lz4);
    assert!(sealed.is_raw());
    assert!(sealed.into_buffer().is_empty());
    assert!(!filled(&[(0, 0, 8)], Fill::Plain(3)).seal(Codec::Lz4).is_raw());
}

#[test]
fn records_have_limits() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    let text = |len: usize| "x".repeat(len);
    let (ty, need) = (RecordType(1), Need::Required);
    let over = writer.record(ty, need, &text(RECORD_LIMIT));
    assert!(matches!(over, Err(WriteError::RecordTooLarge { limit: RECORD_LIMIT, .. })));
    let over = writer.record_large(ty, need, &text(RECORD_HARD_LIMIT));
    assert!(matches!(over, Err(WriteError::RecordTooLarge { limit: RECORD_HARD_LIMIT, .. })));
    writer.record(ty, need, &text(RECORD_LIMIT - 4)).unwrap();
    writer.record_large(ty, need, &text(RECORD_LIMIT)).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let small = reader.next().unwrap();
    let Some(rekindle_image::Frame::Record(record)) = small else { panic!("{small:?}") };
    assert_eq!(record.decode::<String>().unwrap().len(), RECORD_LIMIT - 4);
    assert!(matches!(record.decode::<u64>(), Err(ReadError::Undecodable { .. })));
    assert!(matches!(record.skip_unknown(), Err(ReadError::UnknownRecord { .. })));
    let large = reader.next().unwrap();
    let Some(rekindle_image::Frame::Record(record)) = large else { panic!("{large:?}") };
    assert!(matches!(record.decode::<String>(), Err(ReadError::TooLarge { .. })));
    assert_eq!(record.decode_large::<String>().unwrap().len(), RECORD_LIMIT);
}

#[test]
fn the_reader_takes_not_one_byte_more() {
    let (mut bytes, _) = write(&small());
    let len = bytes.len() as u64;
    bytes.extend(b"what follows");
    let mut reader = Reader::new(&bytes[..]).unwrap();
    while reader.next().unwrap().is_some() {}
    assert!(reader.next().unwrap().is_none());
    assert_eq!((reader.offset(), reader.into_inner()), (len, &b"what follows"[..]));
    assert!(matches!(Index::read(&mut Cursor::new(&bytes)), Err(ReadError::NoFooter)));
    assert!(verify(&bytes[..], bytes.len() as u64, 1).is_err());
}

#[test]
fn sealing_in_other_threads_changes_nothing() {
    let piece = |n: u64| {
        let codec = [Codec::Raw, Codec::Lz4, Codec::Zstd(3)][n as usize % 3];
        (
            codec,
            vec![(0, n << 20, 9), (1, n << 16, 3)],
            if n.is_multiple_of(2) { Fill::Noise(n) } else { Fill::Plain(n as u8) },
        )
    };
    let threads: Vec<_> = (0..24)
        .map(piece)
        .map(|(codec, runs, fill)| std::thread::spawn(move || filled(&runs, fill).seal(codec)))
        .collect();
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for thread in threads {
        writer.pages(&mut thread.join().unwrap()).unwrap();
    }
    let pieces: Vec<_> =
        (0..24).map(piece).map(|(codec, runs, fill)| Piece::Pages { codec, runs, fill }).collect();
    assert_eq!(writer.finish().unwrap(), write(&pieces));
}
