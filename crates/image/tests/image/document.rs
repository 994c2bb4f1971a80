//! docs/image-format.md and the crate say the same: the example there is, to the byte, what the crate writes.

use rekindle_image::layout::{self, PAGE, kind};
use rekindle_image::{Arch, Codec, Features, Header, Need, PageBuffer, RecordType, Writer};

const DOCUMENT: &str = include_str!("../../../../docs/image-format.md");

/// The message of the example, as the document gives it.
#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

/// The image that the document takes apart.
fn example() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Header::new(Arch::X86_64)).unwrap();
    let hi = Greeting { text: "hi".into() };
    writer.record(RecordType(7), Need::Optional, &hi).unwrap();
    let mut pages = PageBuffer::new();
    pages.push(2, 0x0040_0000, 1).unwrap().fill(0x5a);
    writer.pages(&mut pages.seal(Codec::Raw)).unwrap();
    writer.finish().unwrap().0
}

/// The bytes of all lines in hex blocks: an offset, bytes, and a comment after `;`. A line `*` repeats the byte
/// before it up to the offset of the next line.
fn documented() -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line {
            "```hex" => inside = true,
            "```" => inside = false,
            _ if !inside || line == "*" || line.is_empty() => {}
            _ => {
                let (numbers, _) = line.split_once(';').unwrap_or((line, ""));
                let mut numbers = numbers.split_whitespace();
                let offset = usize::from_str_radix(numbers.next().unwrap(), 16).unwrap();
                assert!(offset >= bytes.len(), "{line}");
                bytes.resize(offset, bytes.last().copied().unwrap_or(0));
                bytes.extend(numbers.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
            }
        }
    }
    bytes
}

#[test]
fn the_example_is_what_the_crate_writes() {
    let (written, documented) = (example(), documented());
    let differs = written.iter().zip(&documented).position(|(written, documented)| written != documented);
    if let Some(at) = differs {
        let line = at & !15;
        panic!("at {at:#x}: written {:02x?}", &written[line..line + 16]);
    }
    assert_eq!(written.len(), documented.len());
}

/// Insists on a row of one of the document's tables.
fn row(cells: &[&dyn ToString]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.to_string()).collect();
    let row = format!("| {} |", cells.join(" | "));
    assert!(DOCUMENT.lines().any(|line| line.starts_with(&row)), "no row {row}");
}

#[test]
fn the_tables_have_the_numbers_of_the_code() {
    for (number, name) in [
        (kind::RECORD, "record"),
        (kind::PAGES, "pages"),
        (kind::PADDING, "padding"),
        (kind::INDEX, "index"),
        (kind::END, "end"),
    ] {
        row(&[&number, &name]);
    }
    for (number, name) in
        [(layout::codec::RAW, "raw"), (layout::codec::LZ4, "lz4"), (layout::codec::ZSTD, "zstd")]
    {
        row(&[&number, &name]);
    }
    for feature in Features::all().iter_names().map(|(_, feature)| feature) {
        row(&[&feature.bits().trailing_zeros(), &feature.names().join(", ")]);
    }
    row(&[&"payload of a record", &layout::RECORD_HARD_LIMIT]);
    row(&[&"payload of an ordinary record", &layout::RECORD_LIMIT]);
    row(&[&"pages in a page frame", &layout::PAGES_LIMIT]);
    row(&[&"runs in a page frame", &layout::RUNS_LIMIT]);
    row(&[&"payload of any frame", &layout::PAYLOAD_LIMIT]);
    row(&[&"payload of a padding frame", &PAGE]);
    row(&[&"entries of an index that is read from the back", &layout::ENTRIES_LIMIT]);
    row(&[&"payload of an index frame", &layout::INDEX_LIMIT]);
}
