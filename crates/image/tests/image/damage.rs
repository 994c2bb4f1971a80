//! No cut and no flipped bit of an image passes, anywhere in it, and each is refused with a sentence.

use std::io::Cursor;

use rekindle_image::{Index, ReadError, verify};

use crate::common::{read, small, write};

fn refused_by_all(bytes: &[u8]) -> ReadError {
    let verified = verify(bytes, bytes.len() as u64, 1).expect_err("verify must refuse");
    let error = read(bytes).expect_err("the reader must refuse");
    for error in [&verified, &error] {
        assert!(error.to_string().len() > 40, "a sentence: {error}");
    }
    error
}

#[test]
fn every_cut_is_refused() {
    let (bytes, _) = write(&small());
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        match refused_by_all(cut) {
            ReadError::Empty => assert_eq!(len, 0),
            ReadError::Truncated { offset, .. } => assert_eq!(offset, len as u64),
            other => panic!("cut at {len}: {other}"),
        }
        Index::read(&mut Cursor::new(cut)).expect_err("the index must refuse");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let (mut bytes, _) = write(&small());
    let original = Index::read_at(&bytes, bytes.len() as u64).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = refused_by_all(&bytes);
            assert_eq!(matches!(error, ReadError::NotAnImage), at < 8, "byte {at}, bit {bit}: {error}");
            if let Ok(index) = Index::read_at(&bytes, bytes.len() as u64) {
                assert_eq!(index.entries(), original.entries(), "byte {at}, bit {bit}");
            }
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn after_a_refusal_nothing_more_is_read() {
    let (mut bytes, _) = write(&small());
    bytes[64 + 32] ^= 1; // the first payload
    let mut reader = rekindle_image::Reader::new(&bytes[..]).unwrap();
    assert!(matches!(reader.next(), Err(ReadError::Corrupt { offset: 64, .. })));
    assert!(matches!(reader.next(), Err(ReadError::Stopped)));
    assert!(reader.summary().is_none());
}
