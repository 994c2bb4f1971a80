//! Everything that reads an image, on any bytes. The first byte says how the others become one:
//!
//! - `a`: they are it, as they are;
//! - `b`: they are it, with checksums, numbers, digest and footer put right, so that what lies behind them is reached;
//! - `c`: they describe frames, each by kind, flags, detail, pages, length and so many bytes of payload; all the rest is
//!   computed, as for `b`.
//!
//! Nothing may panic, and all readers must agree on whether the image is good.

#![no_main]

use std::cell::RefCell;
use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rekindle_image::layout::{PAGE, RAW_HEAD, kind};
use rekindle_image::{
    Arch, EntryKind, Header, Incoming, Index, PageBuffer, ReadError, Reader, Summary, Writer, read_pages,
    read_record, testing, verify,
};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    match mode % 4 {
        1 => {}
        2 => {
            let end = testing::reseal(&mut bytes);
            bytes.truncate(end);
        }
        _ => bytes = compose(rest),
    }
    PAGES.with_borrow_mut(|pages| check(&bytes, pages));
});

/// An image of the frames that `parts` describe.
fn compose(mut parts: &[u8]) -> Vec<u8> {
    static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let writer = Writer::new(Vec::new(), &Header::new(Arch::X86_64));
        writer.and_then(Writer::finish).expect("a vector takes it").0
    });
    let mut bytes = EMPTY[..64].to_vec();
    while let Some(([number, flags, detail, pages, len], rest)) = parts.split_first_chunk() {
        let (given, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        parts = rest;
        let mut payload = given.to_vec();
        if u16::from(*number) == kind::PAGES && *detail == 0 {
            let gap = (PAGE - (bytes.len() + 32) % PAGE) % PAGE;
            frame(&mut bytes, [kind::PADDING as u8, 0, 0], &vec![0; gap]);
            payload.resize(RAW_HEAD + PAGE * usize::from(pages % 4), *pages);
        }
        frame(&mut bytes, [*number, *flags, *detail], &payload);
    }
    testing::finish(&mut bytes);
    bytes
}

/// Appends a frame without number and checksums.
fn frame(bytes: &mut Vec<u8>, [kind, flags, detail]: [u8; 3], payload: &[u8]) {
    bytes.extend([kind, 0, flags, 0, 0, 0, 0, 0]);
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend([detail, 0, 0, 0]);
    bytes.extend([0; 16]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

thread_local! {
    /// Kept from one input to the next: making one takes longer than most inputs.
    static PAGES: RefCell<PageBuffer> = RefCell::new(PageBuffer::new());
}

/// Reads `bytes` in every way.
fn check(bytes: &[u8], pages: &mut PageBuffer) {
    let streamed = stream(bytes, pages);
    let verified = verify(bytes, bytes.len() as u64, 1);
    let index = Index::read(&mut Cursor::new(bytes));
    if let Ok(index) = &index {
        random_access(bytes, index, pages, streamed.is_ok());
    }
    match (streamed, verified) {
        (Ok((summary, rest)), verified) if rest == 0 => {
            assert_eq!(verified.expect("verify refuses what the reader took"), summary);
            assert_eq!(*index.expect("the index refuses what the reader took").summary(), summary);
        }
        (_, Ok(_)) => panic!("the reader refuses what verify took"),
        (Ok(_), Err(_)) => {}
        (Err(streamed), Err(verified)) => assert_eq!(streamed.to_string(), verified.to_string()),
    }
}

/// Reads to the end; what there is, and how many bytes follow.
fn stream(bytes: &[u8], pages: &mut PageBuffer) -> Result<(Summary, usize), ReadError> {
    let mut reader = Reader::new(bytes)?;
    let mut page_bytes = 0;
    while let Some(frame) = reader.next_into(pages)? {
        match frame {
            Incoming::Record(record) => {
                let _ = record.decode::<String>();
                let _ = record.skip_unknown();
            }
            Incoming::Pages { .. } => {
                assert_eq!(pages.iter().map(|(_, data)| data.len()).sum::<usize>(), pages.data().len());
                page_bytes += pages.data().len() as u64;
            }
        }
    }
    let summary = reader.summary().expect("the end was reached");
    assert_eq!((summary.page_bytes, summary.length), (page_bytes, reader.offset()));
    Ok((summary, reader.into_inner().len()))
}

/// Reads each entry of the index; those of a good image must be there.
fn random_access(bytes: &[u8], index: &Index, pages: &mut PageBuffer, good: bool) {
    let mut payload = Vec::new();
    for entry in index.entries() {
        let read = match entry.kind {
            EntryKind::Record(_) => read_record(bytes, entry, &mut payload).map(|_| ()),
            EntryKind::Pages(extent) => {
                assert!(index.pages_at(extent.low).contains(entry));
                read_pages(bytes, entry, pages)
            }
        };
        assert!(read.is_ok() || !good, "an entry of a good image cannot be read");
    }
}
