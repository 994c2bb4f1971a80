//! Pages that arrive before the processes they belong to can be born: kept in memory until then.
//!
//! So it is when an image is read from the very tree that it is being made of (`checkpoint --kill -o - | restore -`): the
//! pids are free only when the image is complete.

use crate::error::Error;
use rekindle_image::{Incoming, PageBuffer, Reader};
use rekindle_sys::PAGE_SIZE;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// Where page frames come from.
pub(super) trait PageSource: Send {
    /// Puts the next pages into an empty buffer; `false` at the end.
    fn next(&mut self, buffer: &mut PageBuffer) -> Result<bool, Error>;
}

impl<R: Read + Send> PageSource for Reader<R> {
    fn next(&mut self, buffer: &mut PageBuffer) -> Result<bool, Error> {
        loop {
            match self.next_into(buffer)? {
                Some(Incoming::Pages { .. }) => return Ok(true),
                Some(Incoming::Record(record)) => {
                    record.skip_unknown()?;
                }
                None => return Ok(false),
            }
        }
    }
}

/// Pages in a file of memory: for each run its space, address and length, then its bytes.
pub(super) struct Spool {
    file: BufReader<File>,
}

const HEAD_LEN: usize = 16;

fn failed(error: std::io::Error) -> Error {
    Error::io("keeping pages until their processes are born", &error)
}

impl Spool {
    /// Takes all pages of a source, after those in `first`: no more than `most` bytes.
    pub(super) fn of(source: &mut impl PageSource, mut first: PageBuffer, most: u64) -> Result<Self, Error> {
        let mut left = most;
        let file = rustix::fs::memfd_create("rekindle-pages", rustix::fs::MemfdFlags::CLOEXEC);
        let file =
            file.map_err(|errno| Error::call("keeping pages until their processes are born", errno))?;
        let mut out = BufWriter::with_capacity(1 << 20, File::from(file));
        loop {
            for (run, bytes) in first.iter() {
                let rest = left.checked_sub(bytes.len() as u64);
                left = rest.ok_or_else(|| Error::Nonsense("it has more pages than memory".into()))?;
                out.write_all(&run.space.to_le_bytes()).map_err(failed)?;
                out.write_all(&run.pages.to_le_bytes()).map_err(failed)?;
                out.write_all(&run.address.to_le_bytes()).map_err(failed)?;
                out.write_all(bytes).map_err(failed)?;
            }
            first.clear();
            if !source.next(&mut first)? {
                break;
            }
        }
        let mut file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Self { file: BufReader::with_capacity(1 << 20, file) })
    }
}

impl PageSource for Spool {
    fn next(&mut self, buffer: &mut PageBuffer) -> Result<bool, Error> {
        let mut head = [0; HEAD_LEN];
        match self.file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let address = head[8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let room = buffer.push(word(0), address, word(4));
        let room = room.map_err(|error| Error::Nonsense(error.to_string()))?;
        debug_assert!((room.len() as u64).is_multiple_of(PAGE_SIZE));
        self.file.read_exact(room).map_err(failed)?;
        Ok(true)
    }
}
