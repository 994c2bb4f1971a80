//! A restore, from an image to a running process.
//!
//! ```text
//! verify (a file) ── plan read, checked, compared with this machine ── born ── emptied ── mapped ── filled
//!   ── protected ── files ── attributes ── threads ── rights ── signals ── stopped ── stub gone ── registers ── let go
//! ```
//!
//! Nothing is created before the plan has been checked whole. From the birth to the letting go the process executes
//! nothing of the program, has all signals blocked, and dies with us; only then does it live.

mod contents;
mod memory;
mod place;
mod plan;
mod resume;

use crate::checkpoint::Progress;
use crate::error::Error;
use crate::fault;
use crate::kinds::Phase;
use crate::kinds::fd::Files;
use crate::kinds::fd::restore::Layout;
use crate::kinds::task::Task;
use crate::record::{Plan, ProcessPlan};
use rekindle_image::{PageBuffer, Reader};
use rekindle_tracee::newborn::Kinship;
use rekindle_tracee::{Batch, Newborn, StoppedTask};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

/// A restore to be made.
///
/// ```no_run
/// # fn main() -> Result<(), rekindle::Error> {
/// let restored = rekindle::Restore::from_file("job.rkd")?.spawn()?;
/// println!("process {} runs again", restored.pid);
/// # Ok(())
/// # }
/// ```
pub struct Restore<'p, R> {
    input: R,
    accept_changed_files: bool,
    detached: bool,
    /// Whether the image arrives from somewhere, perhaps from the very process that is still there.
    streamed: bool,
    progress: Option<&'p (dyn Fn(Progress) + Sync)>,
}

/// A restored process: a child of this one, running.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// Its pid, which is the one it had.
    pub pid: i32,
    /// What it took.
    pub report: Report,
}

/// What a restore did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How long everything took.
    pub took: Duration,
    /// Threads restored.
    pub tasks: usize,
    /// Mappings restored.
    pub mappings: usize,
    /// Descriptors restored.
    pub descriptors: usize,
    /// Bytes of memory put back.
    pub page_bytes: u64,
}

impl Restore<'_, File> {
    /// A restore from a file, all of which is verified first: a file that is cut or damaged creates nothing.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| Error::io(format!("opening {}", path.display()), &error);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(std::io::Error::from_raw_os_error(libc::EISDIR)));
        }
        Self::from_open_file(file)
    }

    /// A restore from an open file, from where its offset is. A regular one that is read from its start is verified
    /// first.
    pub fn from_open_file(mut file: File) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::io("looking at the image's file", &error);
        let meta = file.metadata().map_err(failed)?;
        if meta.is_file() && file.stream_position().map_err(failed)? == 0 {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            rekindle_image::verify(&file, meta.len(), threads)?;
        }
        Ok(Restore { streamed: !meta.is_file(), ..Restore::from(file) })
    }
}

impl<'p, R: Read + Send> Restore<'p, R> {
    /// A restore from a stream, of which exactly the image is read. It is verified as it arrives.
    pub fn from(input: R) -> Self {
        Self { input, accept_changed_files: false, detached: false, streamed: true, progress: None }
    }

    /// Whether files that were modified since the checkpoint are taken as they are.
    pub fn accept_changed_files(self, accept: bool) -> Self {
        Self { accept_changed_files: accept, ..self }
    }

    /// Whether the process is to outlive this one. Then one that asked for a signal when its parent dies
    /// (`PR_SET_PDEATHSIG`) becomes a child of our parent, as it would get that signal as soon as we end.
    pub fn detached(self, detached: bool) -> Self {
        Self { detached, ..self }
    }

    /// A function that is told how far the pages are.
    pub fn progress(self, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Makes it: returns when the process runs.
    pub fn spawn(self) -> Result<Restored, Error> {
        let begin = Instant::now();
        let mut reader = Reader::new(self.input)?;
        let mut pages = PageBuffer::new();
        let plan = plan::read(&mut reader, &mut pages)?;
        plan::check(&reader, &plan)?;
        let [process] = plan.processes.as_slice() else {
            return Err(Error::Nonsense("it does not hold one process".into()));
        };
        // The pids of an image that still arrives may be those of the process that it is being made of.
        let taken = plan::taken_pids(process);
        let must_wait = self.streamed && !taken.is_empty();
        let mut reasons = if must_wait { Vec::new() } else { taken };
        reasons.extend(plan::obstacles(&plan, process, self.accept_changed_files));
        if !reasons.is_empty() {
            return Err(Error::DoesNotFit(reasons));
        }
        raise_descriptor_limit();
        fault::point("restore-planned")?;

        let mut places = place::Places::of(process)?;
        let rebuild = memory::Rebuild::of(&plan, process, &mut places)?;
        let threads = process.tasks.len() - 1;
        let minds_our_death = process.tasks.iter().any(|task| task.personal.pdeathsig != 0);
        let kinship = if self.detached && minds_our_death { Kinship::Sibling } else { Kinship::Child };
        let place = places.take(Newborn::footprint(threads))?;
        let pid = process.process.identity.pid;
        let mut newborn = Newborn::clone(if must_wait { 0 } else { pid }, kinship, place, threads)?;
        fault::point("restore-born")?;
        let layout = Layout::of(&plan.descriptions, &plan.processes);
        empty(&mut newborn, process, &layout, &rebuild)?;
        let (page_bytes, touched) = fill(&mut newborn, process, &rebuild, &mut reader, pages, self.progress)?;
        if must_wait {
            plan::await_pids(process)?;
            newborn.pass_on(pid)?;
        }
        settle(&mut newborn, &rebuild, &touched, layout.spare())?;
        attributes(&mut newborn, &plan, process, &layout)?;
        let tasks = revive(&mut newborn, process)?;
        let pid = release(newborn, process, &tasks)?;
        let report = Report {
            took: begin.elapsed(),
            tasks: process.tasks.len(),
            mappings: process.mappings.len(),
            descriptors: process.descriptors.len(),
            page_bytes,
        };
        Ok(Restored { pid, report })
    }
}

/// Descriptors of the program may have higher numbers than our soft limit allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, a descriptor beyond it fails by name.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Nothing of ours stays in the process but the stub and the standard streams; then its mappings come.
fn empty(
    newborn: &mut Newborn,
    process: &ProcessPlan,
    layout: &Layout<'_>,
    rebuild: &memory::Rebuild<'_>,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    process.process.restore(Phase::Space, &mut batch);
    layout.clear(&mut batch);
    rebuild.empty(newborn.own_mapping(), &mut batch);
    newborn.run(&batch)?;
    fault::point("restore-emptied")?;
    let mut batch = Batch::new();
    rebuild.map_vdso(&mut batch);
    rebuild.map(&mut batch);
    newborn.run(&batch)?;
    fault::point("restore-mapped")
}

/// Puts contents into memory. Tells how many bytes, and which mappings got a page only to keep them apart.
fn fill<R: Read + Send>(
    newborn: &mut Newborn,
    process: &ProcessPlan,
    rebuild: &memory::Rebuild<'_>,
    reader: &mut Reader<R>,
    first: PageBuffer,
    progress: Option<&(dyn Fn(Progress) + Sync)>,
) -> Result<(u64, Vec<u64>), Error> {
    let mut filling = contents::Filling::of(newborn.pid(), process, rebuild)?;
    let bytes = filling.fill(reader, first, progress)?;
    if let Some((address, code)) = rebuild.old_vdso()? {
        filling.write_vdso(address, &code)?;
    }
    let touched = filling.touch(rebuild.to_touch())?;
    fault::point("restore-filled")?;
    Ok((bytes, touched))
}

/// Protection, locks, bounds.
fn settle(
    newborn: &mut Newborn,
    rebuild: &memory::Rebuild<'_>,
    touched: &[u64],
    spare: i32,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    rebuild.settle(touched, spare, &mut batch);
    newborn.run(&batch)?;
    fault::point("restore-protected")
}

/// What the process has one of: descriptors, directories, handlers, settings.
fn attributes(
    newborn: &mut Newborn,
    plan: &Plan,
    process: &ProcessPlan,
    layout: &Layout<'_>,
) -> Result<(), Error> {
    let files = Files::new(&plan.files);
    let mut batch = Batch::new();
    process.process.restore(Phase::Birth, &mut batch);
    layout.open(0, &files, &mut batch);
    layout.finish(0, &mut batch);
    layout.close(0, &mut batch);
    newborn.run(&batch)?;
    fault::point("restore-files")?;
    let mut batch = Batch::new();
    process.process.restore(Phase::Attributes, &mut batch);
    newborn.run(&batch)?;
    process.process.restore_outside(newborn.pid())?;
    fault::point("restore-process")
}

/// Threads, what each has of its own, then rights and signals. Ends with all tasks stopped.
fn revive(newborn: &mut Newborn, process: &ProcessPlan) -> Result<Vec<StoppedTask>, Error> {
    let Some((leader, others)) = process.tasks.split_first() else {
        return Err(Error::Nonsense("a process without tasks".into()));
    };
    let of_task = |task: &Task, phase| {
        let mut batch = Batch::new();
        task.restore(phase, &mut batch);
        batch
    };
    let tids: Vec<i32> = others.iter().map(|task| task.tid).collect();
    let first: Vec<Batch> = others.iter().map(|task| of_task(task, Phase::Task)).collect();
    newborn.run(&of_task(leader, Phase::Task))?;
    newborn.start_threads(&tids, &first)?;
    fault::point("restore-threads")?;
    for task in &process.tasks {
        task.restore_outside(newborn.pid())?;
    }
    for phase in [Phase::Rights, Phase::Settled, Phase::Pending] {
        // Threads first: what the leader sets for the process may take away what they need.
        for (index, task) in others.iter().enumerate() {
            let batch = of_task(task, phase);
            if !batch.is_empty() {
                newborn.run_in_thread(index, &batch)?;
            }
        }
        let mut batch = Batch::new();
        process.process.restore(phase, &mut batch);
        leader.restore(phase, &mut batch);
        newborn.run(&batch)?;
    }
    let tasks = newborn.stop()?;
    fault::point("restore-stopped")?;
    Ok(tasks)
}

/// The last steps: interrupted calls, the stub's end, registers; then all are let go at once.
fn release(mut newborn: Newborn, process: &ProcessPlan, tasks: &[StoppedTask]) -> Result<i32, Error> {
    let mut final_regs = Vec::with_capacity(tasks.len());
    for (stopped, task) in tasks.iter().zip(&process.tasks) {
        final_regs.push(resume::registers(&mut newborn, stopped, task)?);
    }
    if let Some(leader) = tasks.first() {
        newborn.unmap_stub(leader)?;
    }
    fault::point("restore-unmapped")?;
    for ((stopped, task), regs) in tasks.iter().zip(&process.tasks).zip(&final_regs) {
        task.restore_stopped(stopped)?;
        stopped.set_regs(regs)?;
    }
    fault::point("restore-registers")?;
    if process.process.identity.stopped {
        // Job control had stopped it. Pending before it is let go, this takes effect before its first instruction;
        // SIGCONT lets it go on as before.
        let _ = rekindle_sys::signal::kill(newborn.pid(), libc::SIGSTOP);
    }
    let pid = newborn.release(tasks)?;
    fault::point("restore-released")?;
    Ok(pid)
}
