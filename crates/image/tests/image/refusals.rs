//! What is wrong although every checksum is right: each fault has its own refusal.

use std::io::Cursor;

use rekindle_image::layout::{
    EndBody, FileHeader, FrameHeader, PAGE, RAW_HEAD, RECORD_HARD_LIMIT, checksum, codec, kind,
};
use rekindle_image::testing::reseal;
use rekindle_image::{Codec, Frame, Index, Need, PageBuffer, ReadError, Reader, RecordType, verify};
use zerocopy::{FromZeros, IntoBytes};

use crate::common::{Fill, Piece, read, small, write};

/// A stream of hand-made frames, consistent where that can be computed.
struct Forge(Vec<u8>);

impl Forge {
    fn new() -> Self {
        Forge(write(&[]).0[..size_of::<FileHeader>()].to_vec())
    }

    fn frame(mut self, kind: u16, flags: u16, detail: u32, payload: &[u8]) -> Self {
        let mut header = FrameHeader::new_zeroed();
        (header.kind, header.flags) = (kind.into(), flags.into());
        (header.detail, header.length) = (detail.into(), (payload.len() as u32).into());
        self.0.extend(header.as_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    /// A page frame after the padding that a raw one needs.
    fn pages(self, codec: u32, pages: u32, runs: &[(u32, u32, u64)], stored: u32, contents: &[u8]) -> Self {
        let mut payload = [pages, runs.len() as u32, stored, 0].map(u32::to_le_bytes).concat();
        for (space, pages, address) in runs {
            payload.extend([space.to_le_bytes(), pages.to_le_bytes()].concat());
            payload.extend(address.to_le_bytes());
        }
        if codec == codec::RAW {
            payload.resize(RAW_HEAD, 0);
        }
        payload.extend(contents);
        let padding = (PAGE - (self.0.len() + 32) % PAGE) % PAGE;
        self.frame(kind::PADDING, 0, 0, &vec![0; padding]).frame(kind::PAGES, 0, codec, &payload)
    }

    /// Ends the stream; both readers must refuse it for the same reason.
    fn refused(self) -> ReadError {
        let bytes = self.end();
        let error = read(&bytes[..]).expect_err("the reader must refuse");
        let verified = verify(&bytes, bytes.len() as u64, 2).expect_err("verify must refuse");
        assert_eq!(error.to_string(), verified.to_string());
        error
    }

    fn end(self) -> Vec<u8> {
        let end = self.frame(kind::END, 0, 0, &[0; size_of::<EndBody>()]);
        let mut bytes = end.0;
        bytes.resize(bytes.len() + 32, 0);
        assert_eq!(reseal(&mut bytes), bytes.len());
        bytes
    }
}

fn sentence(error: &ReadError, part: &str) {
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn a_forged_image_that_is_right_is_read() {
    let bytes = Forge::new().end();
    read(&bytes[..]).unwrap();
    let index = [&[0; 16][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[8, 10]].concat();
    let bytes = Forge::new().frame(kind::RECORD, 0, 9, b"x").frame(kind::INDEX, 0, 0, &index).end();
    read(&bytes[..]).unwrap();
    assert_eq!(Index::read(&mut Cursor::new(&bytes)).unwrap().entries().len(), 1);
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    assert!(matches!(read(&b""[..]), Err(ReadError::Empty)));
    assert!(matches!(read(&b"#!/bin/sh\n"[..]), Err(ReadError::NotAnImage)));
    assert!(matches!(read(&b"\x7fE"[..]), Err(ReadError::NotAnImage)));
    assert!(matches!(verify(&b"no"[..], 2, 1), Err(ReadError::NotAnImage)));
    assert!(matches!(Index::read(&mut Cursor::new(b"no")), Err(ReadError::NotAnImage)));
}

#[test]
fn newer_versions_and_unknown_features_are_refused_by_name() {
    let with = |at: usize, byte: u8| {
        let (mut bytes, _) = write(&small());
        bytes[at] = byte;
        let len = reseal(&mut bytes);
        read(&bytes[..len]).err()
    };
    assert!(matches!(with(8, 9), Some(ReadError::NewerVersion { found: 9, known: 1 })));
    assert!(matches!(with(12, 1), Some(ReadError::Corrupt { offset: 12, .. })));
    let Some(ReadError::UnknownFeature { names }) = with(16, 0x82) else { panic!() };
    assert_eq!(names, ["encrypted", "bit 7"]);
    assert!(with(24, 0xff).is_none(), "optional features may be ignored");
    assert!(matches!(with(40, 1), Some(ReadError::Corrupt { offset: 34, .. })));
}

#[test]
fn unknown_frames_are_skipped_only_if_optional() {
    let bytes = Forge::new().frame(77, 1, 5, b"of a later version").end();
    assert_eq!(read(&bytes[..]).unwrap().1.frames, 1);
    verify(&bytes, bytes.len() as u64, 1).unwrap();
    let error = Forge::new().frame(77, 0, 5, b"").refused();
    assert!(matches!(error, ReadError::UnknownFrame { kind: 77, offset: 64 }));
    let error = Forge::new().pages(9, 1, &[(0, 1, 0)], 1, b"?").refused();
    assert!(matches!(error, ReadError::UnknownCodec { codec: 9, .. }));
}

#[test]
fn unknown_records_are_skipped_only_if_optional() {
    let (bytes, _) = write(&small());
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let Some(Frame::Record(required)) = reader.next().unwrap() else { panic!() };
    let refused = required.skip_unknown();
    assert!(matches!(refused, Err(ReadError::UnknownRecord { ty: RecordType(1), offset: 64 })));
    let Some(Frame::Record(optional)) = reader.next().unwrap() else { panic!() };
    optional.skip_unknown().unwrap();
}

#[test]
fn limits_are_kept_by_the_reader() {
    let error = Forge::new().frame(kind::RECORD, 0, 1, &vec![0; RECORD_HARD_LIMIT + 1]).refused();
    assert!(matches!(error, ReadError::TooLarge { size: 0x10_0001, limit: 0x10_0000, offset: 64, .. }));
    let error = Forge::new().frame(kind::PADDING, 0, 0, &[0; PAGE + 1]).refused();
    assert!(matches!(error, ReadError::TooLarge { .. }));
    let error = Forge::new().frame(kind::RECORD, 2, 1, b"").refused();
    sentence(&error, "flags");
    let error = Forge::new().frame(kind::RECORD, 0, 0x1_0000, b"").refused();
    sentence(&error, "record type");
    let error = Forge::new().frame(kind::PADDING, 0, 1, b"").refused();
    sentence(&error, "reserved");
}

#[test]
fn impossible_runs_are_refused() {
    let page = [7; PAGE];
    let raw =
        |runs: &[(u32, u32, u64)]| Forge::new().pages(codec::RAW, 1, runs, PAGE as u32, &page).refused();
    sentence(&raw(&[(0, 1, 0x1001)]), "not aligned");
    sentence(&raw(&[(0, 1, !0xfff)]), "wraps around");
    sentence(&raw(&[(0, 0, 0)]), "empty");
    sentence(&raw(&[(0, u32::MAX, 0), (0, 2, 0)]), "too long");
    sentence(&raw(&[(0, 2, 0)]), "add up");
    sentence(&raw(&[(0, 1, 0), (0, 1, 0)]), "add up");
    sentence(&raw(&[]), "limits");
    sentence(&Forge::new().pages(codec::RAW, 1, &[(0, 1, 0)], 1, &page).refused(), "contradict");
    sentence(&Forge::new().pages(codec::RAW, 2, &[(0, 2, 0)], PAGE as u32, &page).refused(), "contradict");
    sentence(
        &Forge::new().frame(kind::PAGES, 0, codec::RAW, &[0; RAW_HEAD + PAGE]).refused(),
        "multiple of 4096",
    );
}

#[test]
fn a_buffer_is_good_again_after_a_refusal() {
    let page = [7; PAGE];
    let forge =
        || Forge::new().pages(codec::RAW, 2, &[(0, 1, 0), (0, 1, 1)], 2 * PAGE as u32, &page.repeat(2));
    let mut buffer = PageBuffer::new();
    let bad = forge().end();
    assert!(Reader::new(&bad[..]).unwrap().next_into(&mut buffer).is_err());
    assert!(buffer.is_empty() && buffer.runs().is_empty());
    let (good, _) = write(&[Piece::Pages { codec: Codec::Raw, runs: vec![(3, 0, 1)], fill: Fill::Plain(1) }]);
    Reader::new(&good[..]).unwrap().next_into(&mut buffer).unwrap();
    assert_eq!(buffer.runs(), [rekindle_image::Run { space: 3, address: 0, pages: 1 }]);
}

#[test]
fn compressed_pages_expand_to_what_they_say_or_not_at_all() {
    let bomb = lz4_flex::block::compress(&vec![0; 1 << 20]);
    let lz4 = |stored: &[u8], pages: u32| {
        let runs = [(0, pages, 0)];
        Forge::new().pages(codec::LZ4, pages, &runs, stored.len() as u32, stored).refused()
    };
    sentence(&lz4(&bomb, 255), "do not expand");
    sentence(&lz4(&bomb[..100], 256), "do not expand");
    sentence(&lz4(&lz4_flex::block::compress(&[0; 100]), 1), "do not expand");
    sentence(&lz4(&[0; PAGE], 1), "contradict");
    let zstd = zstd::bulk::compress(&[0; PAGE + 1], 1).unwrap();
    let error = Forge::new().pages(codec::ZSTD, 1, &[(0, 1, 0)], zstd.len() as u32, &zstd).refused();
    sentence(&error, "do not expand");
}

#[test]
fn lost_doubled_and_exchanged_frames_are_refused() {
    let record = |ty| Piece::Record { ty, need: Need::Required, payload: vec![0; 8] };
    let (bytes, _) = write(&[record(1), record(2), record(3)]);
    let frame = |n: usize| bytes[64 + 40 * n..64 + 40 * (n + 1)].to_vec();
    let order = |frames: &[usize]| {
        let mut altered = bytes[..64].to_vec();
        frames.iter().for_each(|n| altered.extend(frame(*n)));
        altered.extend(&bytes[64 + 120..]);
        read(&altered[..]).expect_err("the reader must refuse")
    };
    assert!(matches!(order(&[0, 2]), ReadError::OutOfOrder { expected: 1, found: 2, offset: 104 }));
    assert!(matches!(order(&[0, 0, 1, 2]), ReadError::OutOfOrder { expected: 1, found: 0, .. }));
    assert!(matches!(order(&[1, 0, 2]), ReadError::OutOfOrder { expected: 0, found: 1, .. }));
}

#[test]
fn an_exchanged_frame_of_the_same_number_fails_at_the_digest() {
    let record = |byte: u8| Piece::Record { ty: 1, need: Need::Required, payload: vec![byte; 8] };
    let (mut bytes, _) = write(&[record(1)]);
    bytes[64..104].copy_from_slice(&write(&[record(2)]).0[64..104]);
    sentence(&read(&bytes[..]).unwrap_err(), "digest");
    sentence(&verify(&bytes, bytes.len() as u64, 1).unwrap_err(), "digest");
}

#[test]
fn an_index_that_lies_is_refused() {
    let record = || Forge::new().frame(kind::RECORD, 0, 9, b"x");
    sentence(&record().refused(), "last index frame is missing");
    let index = [&[0; 16][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[8, 11], &[0]].concat();
    sentence(&record().frame(kind::INDEX, 0, 0, &index).refused(), "does not list");
    sentence(&Forge::new().frame(kind::INDEX, 0, 0, &index).refused(), "nothing to index");
    let bytes = record().frame(kind::INDEX, 0, 0, &index).end();
    assert!(Index::read(&mut Cursor::new(&bytes)).is_err());
}

/// Alters the end frame of an image of nothing, with all checksums right.
fn with_end(alter: impl Fn(&mut [u8])) -> Vec<u8> {
    let (mut bytes, _) = write(&[]);
    let end = PAGE - rekindle_image::layout::TAIL;
    alter(&mut bytes[end + 32..end + 104]);
    let payload = checksum(&bytes[end + 32..end + 104]);
    bytes[end + 16..end + 24].copy_from_slice(&payload.to_le_bytes());
    let header = checksum(&bytes[end..end + 24]);
    bytes[end + 24..end + 32].copy_from_slice(&header.to_le_bytes());
    bytes
}

#[test]
fn an_end_that_lies_is_refused() {
    let streamed = |bytes: Vec<u8>| read(&bytes[..]).expect_err("the reader must refuse");
    sentence(&streamed(with_end(|body| body[0] ^= 1)), "counts");
    sentence(&streamed(with_end(|body| body[71] ^= 1)), "digest");
    let indexed = |bytes: Vec<u8>| Index::read_at(&bytes, PAGE as u64).expect_err("the index must refuse");
    sentence(&indexed(with_end(|body| body[8] = 1)), "as many frames");
    sentence(&indexed(with_end(|body| body[18] = 1)), "room for");
    sentence(&indexed(with_end(|body| body[14] = 1)), "from its start");
    sentence(&indexed(with_end(|body| body[33] = 0xff)), "not in order");
    sentence(&indexed(with_end(|body| body[32] = 64)), "must be an index frame");
}

#[test]
fn pages_found_by_place_come_latest_first() {
    let pages = |address: u64, pages: u32| Piece::Pages {
        codec: Codec::Raw,
        runs: vec![(1, address, pages)],
        fill: Fill::Noise(address),
    };
    let (bytes, _) = write(&[pages(0, 100), pages(0x5000, 1), pages(0x20_0000, 4), pages(0x5000, 2)]);
    let index = Index::read_at(&bytes, bytes.len() as u64).unwrap();
    let at = |address| index.pages_at(rekindle_image::Place { space: 1, address });
    assert_eq!(at(0x5000), [index.entries()[3], index.entries()[1], index.entries()[0]]);
    assert_eq!(at(0x6000), [index.entries()[3], index.entries()[0]]);
    assert_eq!(at(0x20_3000), [index.entries()[2]]);
    assert_eq!(at(0x20_4000), []);
    let mut buffer = PageBuffer::new();
    rekindle_image::read_pages(&bytes, &at(0x20_3000)[0], &mut buffer).unwrap();
    assert_eq!(buffer.len_pages(), 4);
}
