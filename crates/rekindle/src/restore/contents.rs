//! The contents of memory, from page frames into place.
//!
//! A thread reads and verifies frames while this one writes those before into the processes, which are born as their pages
//! come.

use super::memory::{Arena, Rebuild};
use super::nest::Nest;
use super::spool::PageSource;
use crate::checkpoint::Progress;
use crate::error::Error;
use crate::record::{Plan, process_of_space};
use crossbeam_channel::{Receiver, Sender, bounded};
use rekindle_image::{PageBuffer, Run};
use rekindle_sys::vm;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// Buffers in use at a time, 1 MiB each.
const BUFFERS: usize = 4;

/// The memory of a tree that is being filled.
pub(super) struct Filling<'a> {
    plan: &'a Plan,
    arena: &'a Arena,
    /// Mappings (by place of the process, and start) that got pages.
    filled: BTreeSet<(usize, u64)>,
    bytes: u64,
    target: Option<Target>,
}

/// The process that is written to.
struct Target {
    pid: i32,
    mem: File,
}

impl<'a> Filling<'a> {
    pub(super) fn of(plan: &'a Plan, arena: &'a Arena) -> Self {
        Self { plan, arena, filled: BTreeSet::new(), bytes: 0, target: None }
    }

    /// Takes all pages of a source, and puts them in place. `first` holds those that were read along with the plan.
    /// Tells how many bytes they were.
    pub(super) fn fill(
        &mut self,
        nest: &mut Nest<'_>,
        source: &mut impl PageSource,
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
                .spawn_scoped(scope, move || read_all(source, first, &full, &to_read))
                .map_err(|error| Error::io("starting a thread", &error))?;
            let mut placed = Ok(());
            for mut buffer in to_place {
                placed = placed.and_then(|()| self.place(nest, &buffer));
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

    fn place(&mut self, nest: &mut Nest<'_>, buffer: &PageBuffer) -> Result<(), Error> {
        for (run, bytes) in buffer.iter() {
            let (index, address) = self.address(&run)?;
            nest.advance_to(index)?;
            self.aim_at(nest.pid_now(index))?;
            self.write(address, bytes)?;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Where a run goes, if the plan has a place for it: the process and the address.
    fn address(&mut self, run: &Run) -> Result<(usize, u64), Error> {
        let misplaced =
            || Error::Nonsense(format!("pages at {:x} of space {} have no place", run.address, run.space));
        let Some(index) = process_of_space(run.space) else {
            let (start, size) = self.arena.place(self.plan, run.space).ok_or_else(misplaced)?;
            // They are the same in every process that has them.
            return if run.end() <= size { Ok((0, start + run.address)) } else { Err(misplaced()) };
        };
        let mappings = &self.plan.processes.get(index).ok_or_else(misplaced)?.mappings;
        let mut at = mappings.partition_point(|mapping| mapping.end <= run.address);
        let mut covered = run.address;
        while covered < run.end() {
            match mappings.get(at) {
                Some(mapping) if mapping.start <= covered && mapping.has_private_pages() => {
                    self.filled.insert((index, mapping.start));
                    covered = mapping.end;
                }
                _ => return Err(misplaced()),
            }
            at += 1;
        }
        Ok((index, run.address))
    }

    fn aim_at(&mut self, pid: i32) -> Result<(), Error> {
        if self.target.as_ref().is_none_or(|target| target.pid != pid) {
            let mem = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
            let mem = mem.map_err(|error| Error::proc(pid, "mem", error))?;
            self.target = Some(Target { pid, mem });
        }
        Ok(())
    }

    fn target(&self) -> Result<&Target, Error> {
        self.target.as_ref().ok_or_else(|| Error::Nonsense("pages come before any process".into()))
    }

    /// Writes memory: the quick way, and past the protection of a mapping where that fails.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let quick = vm::write(self.target()?.pid, address, bytes).unwrap_or(0);
        if quick == bytes.len() {
            return Ok(());
        }
        self.force(address + quick as u64, &bytes[quick..])
    }

    fn force(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let Target { pid, mem } = self.target()?;
        let failed =
            |error: std::io::Error| Error::proc(*pid, "mem", format!("writing at {address:x}: {error}"));
        mem.write_all_at(bytes, address).map_err(failed)
    }

    /// What is written to a process beside its pages: code over another kernel's vDSO, and a page in each mapping that
    /// has none but must have one to be kept apart. Tells which those were.
    pub(super) fn complete(
        &mut self,
        index: usize,
        pid: i32,
        rebuild: &Rebuild<'_>,
    ) -> Result<Vec<u64>, Error> {
        let mut touched = Vec::new();
        if let Some((address, code)) = rebuild.old_vdso()? {
            self.aim_at(pid)?;
            self.force(address, &code)?;
        }
        for mapping in rebuild.to_touch() {
            if self.filled.contains(&(index, mapping.start)) {
                continue;
            }
            self.aim_at(pid)?;
            self.force(mapping.start, &[0])?;
            touched.push(mapping.start);
        }
        Ok(touched)
    }
}

fn read_all(
    source: &mut impl PageSource,
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
        if !source.next(&mut buffer)? {
            return Ok(());
        }
    }
}
