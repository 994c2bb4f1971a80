//! The contents of memory, from page frames into place.
//!
//! A thread reads and verifies frames; this one finds out where they go, and sees to it that the processes are born as their
//! pages come. It writes them there, too, together with others where there is more than one processor, as that is what
//! takes longest: the memory is fresh, and each page of it is a fault. A process is born only when all that was handed out
//! before is in place, since its memory is a copy of its parent's.
//!
//! ```text
//!  reader ── frames ── this thread ──┬── process born ── frame placed
//!     '                              '-- frame handed to a filler, if one is free ── placed
//!     '--- empty buffers ----------------'
//! ```

use super::memory::{Arena, Rebuild};
use super::nest::Nest;
use super::objects::Objects;
use super::spool::PageSource;
use crate::checkpoint::Progress;
use crate::error::Error;
use crate::record::{Plan, process_of_space};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rekindle_image::{PageBuffer, Run};
use rekindle_sys::{Errno, vm};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::{Builder, Scope};

/// Buffers in use at a time, 1 MiB each: one is read, one waits, and one for each thread that places.
const BUFFERS: usize = 3 + FILLERS_MAX;
/// The most threads that place pages beside the first one.
const FILLERS_MAX: usize = 3;

/// The memory of a tree that is being filled.
pub(super) struct Filling<'a> {
    plan: &'a Plan,
    arena: &'a Arena,
    /// Mappings (by place of the process, and start) that got pages.
    filled: BTreeSet<(usize, u64)>,
    bytes: u64,
    target: Option<Arc<Target>>,
}

/// Where pages go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Into the memory of a process, by its place in the plan.
    Process(usize),
    /// Into a file that no path leads to, by the id of the object.
    File(u32),
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
        objects: &Objects<'_>,
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
            let reading = Builder::new()
                .name("reader".into())
                .spawn_scoped(scope, move || read_all(source, first, &full, &to_read))
                .map_err(|error| Error::io("starting a thread", &error))?;
            let mut fillers = Fillers::start(scope, empty);
            let placed = self.place_all(nest, objects, to_place, &mut fillers, progress);
            drop(fillers);
            let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            placed?;
            read?;
            Ok(self.bytes)
        })
    }

    fn place_all(
        &mut self,
        nest: &mut Nest<'_>,
        objects: &Objects<'_>,
        to_place: Receiver<PageBuffer>,
        fillers: &mut Fillers,
        progress: Option<&(dyn Fn(Progress) + Sync)>,
    ) -> Result<(), Error> {
        for buffer in to_place {
            self.bytes += buffer.data().len() as u64;
            self.place(nest, objects, buffer, fillers)?;
            if let Some(progress) = progress {
                progress(Progress { done: self.bytes, total: self.bytes });
            }
        }
        fillers.finish()
    }

    fn place(
        &mut self,
        nest: &mut Nest<'_>,
        objects: &Objects<'_>,
        buffer: PageBuffer,
        fillers: &mut Fillers,
    ) -> Result<(), Error> {
        let mut places = Vec::with_capacity(buffer.runs().len());
        for run in buffer.runs() {
            let place = if objects.are_written(run.space) {
                (Goal::File(run.space), run.address)
            } else {
                self.address(run)?
            };
            places.push((place, run.bytes()));
        }
        let mut of_goal = places.chunk_by(|(a, _), (b, _)| a.0 == b.0).peekable();
        let mut from = 0;
        while let Some(some) = of_goal.next() {
            let index = match some[0].0.0 {
                Goal::Process(index) => index,
                Goal::File(id) => {
                    for ((_, offset), len) in some {
                        objects.write(id, *offset, &buffer.data()[from..from + len])?;
                        from += len;
                    }
                    continue;
                }
            };
            if !nest.has(index) {
                fillers.finish()?;
                nest.advance_to(index)?;
            }
            self.aim_at(nest.pid_now(index))?;
            let pieces: Vec<(u64, usize)> = some.iter().map(|((_, address), len)| (*address, *len)).collect();
            let len: usize = pieces.iter().map(|(_, len)| len).sum();
            let target = self.target()?.clone();
            if of_goal.peek().is_none() {
                return fillers.place(Errand { target, pieces, buffer, from });
            }
            target.write_pieces(&pieces, &buffer.data()[from..])?;
            from += len;
        }
        fillers.give_back(buffer);
        Ok(())
    }

    /// Where a run goes, if the plan has a place for it, and the address there.
    fn address(&mut self, run: &Run) -> Result<(Goal, u64), Error> {
        let misplaced =
            || Error::Nonsense(format!("pages at {:x} of space {} have no place", run.address, run.space));
        let Some(index) = process_of_space(run.space) else {
            let (start, size) = self.arena.place(self.plan, run.space).ok_or_else(misplaced)?;
            // They are the same in every process that has them.
            return if run.end() <= size {
                Ok((Goal::Process(0), start + run.address))
            } else {
                Err(misplaced())
            };
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
        Ok((Goal::Process(index), run.address))
    }

    fn aim_at(&mut self, pid: i32) -> Result<(), Error> {
        if self.target.as_ref().is_none_or(|target| target.pid != pid) {
            let mem = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
            let mem = mem.map_err(|error| Error::proc(pid, "mem", error))?;
            self.target = Some(Arc::new(Target { pid, mem }));
        }
        Ok(())
    }

    fn target(&self) -> Result<&Arc<Target>, Error> {
        self.target.as_ref().ok_or_else(|| Error::Nonsense("pages come before any process".into()))
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
            self.target()?.force(address, &code)?;
        }
        for mapping in rebuild.to_touch() {
            if self.filled.contains(&(index, mapping.start)) {
                continue;
            }
            self.aim_at(pid)?;
            self.target()?.force(mapping.start, &[0])?;
            touched.push(mapping.start);
        }
        Ok(touched)
    }
}

impl Target {
    /// Writes bytes piece after piece: the quick way, and past the protection of a mapping where that fails.
    fn write_pieces(&self, pieces: &[(u64, usize)], bytes: &[u8]) -> Result<(), Error> {
        let mut quick = vm::write_pieces(self.pid, pieces, bytes).unwrap_or(0);
        let mut rest = bytes;
        for (index, (address, len)) in pieces.iter().enumerate() {
            let (piece, after) = rest.split_at(*len);
            if quick < *len {
                self.force(address + quick as u64, &piece[quick..])?;
                // What comes after may be as easy as what came before.
                quick = *len + vm::write_pieces(self.pid, &pieces[index + 1..], after).unwrap_or(0);
            }
            quick -= len;
            rest = after;
        }
        Ok(())
    }

    fn force(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::proc(self.pid, "mem", format!("writing at {address:x}: {error}"));
        self.mem.write_all_at(bytes, address).map_err(failed)
    }
}

/// Pages that wait to be placed in a process.
struct Errand {
    target: Arc<Target>,
    /// Where they go: address and length of each piece.
    pieces: Vec<(u64, usize)>,
    buffer: PageBuffer,
    /// Where in the buffer they begin.
    from: usize,
}

impl Errand {
    fn run(self) -> Result<PageBuffer, Error> {
        self.target.write_pieces(&self.pieces, &self.buffer.data()[self.from..])?;
        let mut buffer = self.buffer;
        buffer.clear();
        Ok(buffer)
    }
}

/// Threads that place pages.
struct Fillers {
    errands: Sender<Errand>,
    done: Receiver<Result<(), Error>>,
    empty: Sender<PageBuffer>,
    /// Errands handed out whose end has not been seen.
    open: usize,
}

impl Fillers {
    /// Starts them: one fewer than there are processors. They end when this is dropped.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, empty: Sender<PageBuffer>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // An errand can be handed only to one who waits for it.
        let (errands, to_run) = bounded::<Errand>(0);
        let (report, done) = unbounded();
        for _ in 0..(processors - 1).min(FILLERS_MAX) {
            let (to_run, report, empty) = (to_run.clone(), report.clone(), empty.clone());
            let work = move || {
                for errand in to_run {
                    let placed = errand.run().map(|buffer| drop(empty.send(buffer))); // the reader may be done
                    let _ = report.send(placed); // nobody listens after a failure
                }
            };
            if Builder::new().name("filler".into()).spawn_scoped(scope, work).is_err() {
                break; // the threads there are do it all
            }
        }
        Self { errands, done, empty, open: 0 }
    }

    /// Hands an errand to one that is free, or runs it right here.
    fn place(&mut self, errand: Errand) -> Result<(), Error> {
        while let Ok(placed) = self.done.try_recv() {
            self.open -= 1;
            placed?;
        }
        match self.errands.try_send(errand) {
            Ok(()) => self.open += 1,
            Err(not_sent) => drop(self.empty.send(not_sent.into_inner().run()?)), // the reader may be done
        }
        Ok(())
    }

    /// Gives back a buffer whose pages are in place.
    fn give_back(&self, mut buffer: PageBuffer) {
        buffer.clear();
        let _ = self.empty.send(buffer); // the reader may be done
    }

    /// Waits until everything that was handed out is in place.
    fn finish(&mut self) -> Result<(), Error> {
        while self.open > 0 {
            self.open -= 1;
            match self.done.recv() {
                Ok(placed) => placed?,
                Err(_) => return Err(Error::call("placing pages", Errno::PIPE)),
            }
        }
        Ok(())
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
