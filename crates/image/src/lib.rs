//! The checkpoint image: one stream of frames, written and read strictly forward.
//!
//! ```text
//!  file header | records ... | page frames ... | index | padding | end | footer
//!              '- each a frame: 32-byte header, payload, zeros to 8 bytes -'
//! ```
//!
//! A [`Writer`] needs nothing but [`std::io::Write`], a [`Reader`] nothing but [`std::io::Read`]: an image goes
//! through a pipe as well as into a file. In a file, [`Index`] finds any frame from the back without reading the
//! rest, and [`verify`] checks the whole of it with several threads.
//!
//! Pages travel in [`PageBuffer`]s. The caller fills one, any thread seals it ([`PageBuffer::seal`]: compression and
//! checksum), the [`Writer`] puts the sealed ones into the stream in the order in which it is given them, and gives
//! the buffer back ([`SealedPages::into_buffer`]) to be filled again.
//!
//! What the crate promises, whatever bytes it is given: no panic, no unbounded allocation, and nothing handed out
//! before its checksum, its place in the sequence and its limits were verified. It knows no Linux: what the records
//! mean, and which spaces and addresses the runs of pages speak of, is the business of the crates above.
//!
//! ```
//! use rekindle_image::{Arch, Codec, Frame, Header, Need, PageBuffer, Reader, RecordType, Writer};
//!
//! let mut writer = Writer::new(Vec::new(), &Header::new(Arch::X86_64))?;
//! writer.record(RecordType(1), Need::Required, &String::from("the plan"))?; // any prost message
//! let mut pages = PageBuffer::new();
//! pages.push(0, 0x7000, 2)?.fill(0x5a);
//! let mut sealed = pages.seal(Codec::Lz4); // in any thread
//! writer.pages(&mut sealed)?;
//! let pages = sealed.into_buffer(); // for the next pages
//! let (image, summary) = writer.finish()?;
//!
//! let mut reader = Reader::new(&image[..])?;
//! while let Some(frame) = reader.next()? {
//!     match frame {
//!         Frame::Record(record) if record.ty == RecordType(1) => assert_eq!(record.decode::<String>()?, "the plan"),
//!         Frame::Record(unknown) => unknown.skip_unknown()?,
//!         Frame::Pages(pages) => assert_eq!(pages.data(), [0x5a; 2 * 4096]),
//!     }
//! }
//! assert_eq!(reader.summary(), Some(summary));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The bytes are described in `docs/image-format.md`; a test keeps that page and this crate the same.
#![forbid(unsafe_code)]

mod aligned;
mod codec;
mod error;
mod frame;
mod header;
mod index;
mod index_entries;
pub mod layout;
mod ledger;
mod pages;
mod read_at;
mod reader;
mod record;
mod sealed;
mod summary;
#[doc(hidden)]
pub mod testing;
mod verify;
mod writer;

pub use codec::Codec;
pub use error::{PushError, ReadError, WriteError};
pub use header::{Arch, Features, Header};
pub use index::Index;
pub use index_entries::{Entry, EntryKind, Extent, Place};
pub use pages::{PageBuffer, PageFrame, Run};
pub use read_at::{ReadAt, read_pages, read_record};
pub use reader::{Frame, Incoming, Reader};
pub use record::{Need, Record, RecordType};
pub use sealed::SealedPages;
pub use summary::{Digest, Summary};
pub use verify::verify;
pub use writer::Writer;
