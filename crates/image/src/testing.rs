//! For tests and fuzzers: makes an altered image consistent again, so that what lies behind the checksums is reached.

use zerocopy::{FromBytes, IntoBytes};

use crate::frame::{self, FrameInfo, FrameKind};
use crate::index_entries::Extent;
use crate::layout::{self, EndBody, FRAME_ALIGN, FileHeader, Footer, FrameHeader, MAGIC, VERSION, kind};
use crate::ledger::Ledger;
use crate::pages::runs_unchecked;
use crate::record::RecordType;

const HEADER: usize = size_of::<FrameHeader>();

/// Puts right what everyone can compute: magic, checksums, sequence numbers, an index and an end of the right size,
/// the footer. Leaves all else as it is, right or wrong. Gives the number of bytes up to the end of the footer, or
/// all of them if there is no end frame.
pub fn reseal(bytes: &mut [u8]) -> usize {
    match reseal_frames(bytes) {
        Some((_, end)) if kind_at(bytes, end) == Some(kind::END) => {
            let footer = frame::footer(end as u64);
            put(bytes, end + layout::TAIL - size_of::<Footer>(), footer.as_bytes())
        }
        _ => bytes.len(),
    }
}

/// As [`reseal`], then cuts off what is no whole frame, or the end, and appends the index, end and footer that are due.
pub fn finish(bytes: &mut Vec<u8>) {
    let Some((mut ledger, end)) = reseal_frames(bytes) else { return };
    bytes.truncate(end);
    if ledger.has_entries() {
        let payload = ledger.index_payload();
        let header = frame::header(kind::INDEX, 0, 0, ledger.sequence(), &payload);
        let at = bytes.len() as u64;
        bytes.extend([header.as_bytes(), &payload].concat());
        bytes.resize(bytes.len().next_multiple_of(FRAME_ALIGN), 0);
        if !ledger.frame(&header) {
            return;
        }
        ledger.index(at);
    }
    let body = ledger.end_body();
    let header = frame::header(kind::END, 0, 0, ledger.sequence(), body.as_bytes());
    let footer = frame::footer(bytes.len() as u64);
    bytes.extend([header.as_bytes(), body.as_bytes(), footer.as_bytes()].concat());
}

/// Makes header and frames consistent; the ledger of them, and where the end frame starts, or what is no frame.
fn reseal_frames(bytes: &mut [u8]) -> Option<(Ledger, usize)> {
    let (header, _) = FileHeader::mut_from_prefix(bytes).ok()?;
    header.magic = MAGIC;
    if header.version.get() == 0 {
        header.version = VERSION.into();
    }
    header.checksum = header.sum().into();
    let mut ledger = Ledger::new(&zerocopy::transmute!(*header));
    let mut offset = size_of::<FileHeader>();
    while let Some(next) = reseal_frame(bytes, offset, &mut ledger) {
        if kind_at(bytes, offset) == Some(kind::END) {
            break;
        }
        offset = next;
    }
    Some((ledger, offset))
}

fn kind_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let (header, _) = FrameHeader::read_from_prefix(bytes.get(offset..)?).ok()?;
    Some(header.kind.get())
}

/// Makes one frame consistent; where the next one starts, if this one is whole.
fn reseal_frame(bytes: &mut [u8], offset: usize, ledger: &mut Ledger) -> Option<usize> {
    let (mut header, rest) = FrameHeader::read_from_prefix(bytes.get(offset..)?).ok()?;
    let length = header.length.get() as usize;
    rest.get(..length.next_multiple_of(FRAME_ALIGN))?;
    let payload = &mut bytes[offset + HEADER..][..length];
    match header.kind.get() {
        kind::PADDING => payload.fill(0),
        kind::INDEX if ledger.index_payload().len() == length => {
            payload.copy_from_slice(&ledger.index_payload());
        }
        kind::END if length == size_of::<EndBody>() => payload.copy_from_slice(ledger.end_body().as_bytes()),
        _ => {}
    }
    header.sequence = ledger.sequence().into();
    header.payload_checksum = layout::checksum(payload).into();
    header.header_checksum = header.sum().into();
    let next = offset + HEADER + length.next_multiple_of(FRAME_ALIGN);
    bytes[offset + HEADER + length..next].fill(0);
    put(bytes, offset, header.as_bytes());
    if header.kind.get() != kind::END && !ledger.frame(&header) {
        return None;
    }
    match FrameInfo::of(&header, offset as u64, None).map(|info| info.kind) {
        Ok(FrameKind::Record) => ledger.record(offset as u64, RecordType(header.detail.get() as u16)),
        Ok(FrameKind::Pages) => {
            let runs = runs_unchecked(&bytes[offset + HEADER..][..length]);
            ledger.pages(offset as u64, &Extent::of(&runs));
        }
        Ok(FrameKind::Index) => ledger.index(offset as u64),
        _ => {}
    }
    Some(next)
}

/// Writes as much of `what` as there is room for; where it ends.
fn put(bytes: &mut [u8], at: usize, what: &[u8]) -> usize {
    let room = bytes.get_mut(at..).unwrap_or_default();
    let len = what.len().min(room.len());
    room[..len].copy_from_slice(&what[..len]);
    bytes.len().min(at + len)
}

const _: () = assert!(size_of::<Footer>() + size_of::<EndBody>() + HEADER == layout::TAIL);
