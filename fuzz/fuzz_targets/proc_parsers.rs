//! The parsers of `/proc` files: the first byte picks one (`a` the first), the others are its text.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/procfs/tests/all/parsers.rs"]
mod parsers;

fuzz_target!(|input: &[u8]| {
    let Some((first, text)) = input.split_first() else { return };
    let index = usize::from(first.wrapping_sub(b'a')) % parsers::PARSERS.len();
    let (_, parse) = parsers::PARSERS[index];
    parse(text);
});
