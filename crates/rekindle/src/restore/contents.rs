//! The contents of memory, from page frames into place.
//!
//! A thread reads and verifies frames while this one writes those before into the process.

use super::memory::Rebuild;
use crate::checkpoint::Progress;
use crate::error::Error;
use crate::kinds::mem::mapping;
use crate::record::{PROCESS_SPACE, ProcessPlan};
use crossbeam_channel::{Receiver, Sender, bounded};
use rekindle_image::{Incoming, PageBuffer, Reader, Run};
use rekindle_sys::vm;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Buffers in use at a time, 1 MiB each.
const BUFFERS: usize = 4;

/// A process whose memory is being filled.
pub(super) struct Filling<'a> {
    pid: i32,
    mem: File,
    process: &'a ProcessPlan,
    rebuild: &'a Rebuild<'a>,
    /// Mappings (by start) that got pages.
    filled: BTreeSet<u64>,
    bytes: u64,
}

impl<'a> Filling<'a> {
    pub(super) fn of(pid: i32, process: &'a ProcessPlan, rebuild: &'a Rebuild<'a>) -> Result<Self, Error> {
        let mem = OpenOptions::new()
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .map_err(|error| Error::proc(pid, "mem", error))?;
        Ok(Self { pid, mem, process, rebuild, filled: BTreeSet::new(), bytes: 0 })
    }

    /// Reads all page frames to the end of the image, and puts them in place. `first` holds those that were read
    /// along with the plan. Tells how many bytes they were.
    pub(super) fn fill<R: Read + Send>(
        &mut self,
        reader: &mut Reader<R>,
        first: PageBuffer,
        progress: Option<&(dyn Fn(Progress) + Sync)>,
    ) -> Result<u64, Error> {
        let (full, to_place) = bounded::<PageBuffer>(BUFFERS);
        let (empty, to_read) = bounded::<PageBuffer>(BUFFERS);
        for _ in 1..BUFFERS {
            let _ = empty.send(PageBuffer::new()); // the receiver is right here
        }
        std::thread::scope(|scope| {
            let reading = std::thread::Builder::new()
                .name("reader".into())
                .spawn_scoped(scope, move || read_all(reader, first, &full, &to_read))
                .map_err(|error| Error::io("starting a thread", &error))?;
            let mut placed = Ok(());
            for mut buffer in to_place {
                placed = placed.and_then(|()| self.place(&buffer));
                if placed.is_err() {
                    break;
                }
                if let Some(progress) = progress {
                    progress(Progress { done: self.bytes, total: self.bytes });
                }
                buffer.clear();
                let _ = empty.send(buffer); // the reader may be done
            }
            drop(empty);
            let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            placed?;
            read?;
            Ok(self.bytes)
        })
    }

    fn place(&mut self, buffer: &PageBuffer) -> Result<(), Error> {
        for (run, bytes) in buffer.iter() {
            let address = self.address(&run)?;
            self.write(address, bytes)?;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Where a run goes, if the plan has a place for it.
    fn address(&mut self, run: &Run) -> Result<u64, Error> {
        let misplaced =
            || Error::Nonsense(format!("pages at {:x} of space {} have no place", run.address, run.space));
        if run.space != PROCESS_SPACE {
            let (start, size) = self.rebuild.object_at(run.space).ok_or_else(misplaced)?;
            return if run.end() <= size { Ok(start + run.address) } else { Err(misplaced()) };
        }
        let mappings = &self.process.mappings;
        let mut index = mappings.partition_point(|mapping| mapping.end <= run.address);
        let mut covered = run.address;
        while covered < run.end() {
            match mappings.get(index) {
                Some(mapping) if mapping.start <= covered && mapping.has_private_pages() => {
                    self.filled.insert(mapping.start);
                    covered = mapping.end;
                }
                _ => return Err(misplaced()),
            }
            index += 1;
        }
        Ok(run.address)
    }

    /// Writes memory: the quick way, and past the protection of a mapping where that fails.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let quick = vm::write(self.pid, address, bytes).unwrap_or(0);
        if quick == bytes.len() {
            return Ok(());
        }
        self.force(address + quick as u64, &bytes[quick..])
    }

    fn force(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::proc(self.pid, "mem", format!("writing at {address:x}: {error}"));
        self.mem.write_all_at(bytes, address).map_err(failed)
    }

    /// Writes code over the old vDSO.
    pub(super) fn write_vdso(&self, address: u64, code: &[u8]) -> Result<(), Error> {
        self.force(address, code)
    }

    /// Gives a page to each of these mappings that has none, and tells which those were.
    pub(super) fn touch(
        &self,
        mappings: impl Iterator<Item = &'a mapping::Record>,
    ) -> Result<Vec<u64>, Error> {
        let mut touched = Vec::new();
        for mapping in mappings.filter(|mapping| !self.filled.contains(&mapping.start)) {
            self.force(mapping.start, &[0])?;
            touched.push(mapping.start);
        }
        Ok(touched)
    }
}

fn read_all<R: Read>(
    reader: &mut Reader<R>,
    mut buffer: PageBuffer,
    full: &Sender<PageBuffer>,
    to_read: &Receiver<PageBuffer>,
) -> Result<(), Error> {
    loop {
        if !buffer.is_empty() {
            // Whoever places them has failed, and tells why.
            if full.send(buffer).is_err() {
                return Ok(());
            }
            buffer = match to_read.recv() {
                Ok(buffer) => buffer,
                Err(_) => return Ok(()),
            };
        }
        match reader.next_into(&mut buffer)? {
            Some(Incoming::Pages { .. }) => {}
            Some(Incoming::Record(record)) => {
                record.skip_unknown()?;
            }
            None => return Ok(()),
        }
    }
}
