//! A restore, from an image to a running process.
//!
//! ```text
//! verify (a file) ── plan read, checked, compared with this machine ── born ── emptied ── mapped ── filled
//!   ── protected ── files ── attributes ── threads ── rights ── signals ── stopped ── stub gone ── registers ── let go
//! ```
//!
//! Nothing is created before the plan has been checked whole. From the birth to the letting go the process executes
//! nothing of the program, has all signals blocked, and dies with us; only then does it live.

mod adoption;
mod contents;
mod memory;
mod nest;
mod objects;
mod place;
mod plan;
mod resume;
mod spool;
mod stops;

use crate::checkpoint::Progress;
use crate::error::Error;
use crate::fault;
use crate::kinds::Phase;
pub use crate::kinds::clocks::Clocks;
use crate::kinds::fd::inet;
use crate::kinds::fd::inet::network::{self, Reviving, TcpPolicy};
use crate::kinds::fd::restore::{Layout, Stage};
use crate::kinds::fd::terminal;
pub use crate::kinds::fd::terminal::OnTerminal;
use crate::kinds::fd::terminal::supply::{Company, Supply};
use crate::kinds::fd::{self, Files};
pub use crate::kinds::mem::file::ChangedFiles;
use crate::kinds::task::Task;
pub use crate::kinds::task::credentials::remember_groups;
use crate::record::{Plan, ProcessPlan};
use crate::stage::{RestoreStage, Say};
use crate::ties::{self, Ties};
use memory::{Arena, Rebuild};
use nest::Nest;
use objects::Objects;
use rekindle_image::{PageBuffer, Reader};
use rekindle_tracee::newborn::Kinship;
use rekindle_tracee::{Batch, Newborn, Nursery, StoppedTask};
use spool::{PageSource, Spool};
use std::collections::HashMap;
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
    changed_files: ChangedFiles,
    manner: Manner<'p>,
    /// Whether the image arrives from somewhere, perhaps from the very process that is still there.
    streamed: bool,
    progress: Option<&'p (dyn Fn(Progress) + Sync)>,
    tcp: TcpPolicy,
}

/// What is called just before a program runs: with its pid, and what it has to do with the terminal.
pub type Ready<'r> = &'r (dyn Fn(i32, &OnTerminal) + Sync);

/// How the restored program enters the world.
#[derive(Clone, Copy, Default)]
struct Manner<'p> {
    detached: bool,
    sibling: bool,
    parent_stays: bool,
    leave_stopped: bool,
    clocks: Clocks,
    stages: Option<Say<'p, RestoreStage>>,
    ready: Option<Ready<'p>>,
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
    /// Processes restored.
    pub processes: usize,
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
        let (changed_files, manner) = (ChangedFiles::Refused, Manner::default());
        Self { input, changed_files, manner, streamed: true, progress: None, tcp: TcpPolicy::Keep }
    }

    /// Whether files that were modified since the checkpoint are taken as they are.
    pub fn accept_changed_files(self, accept: bool) -> Self {
        self.changed_files(if accept { ChangedFiles::Accepted } else { ChangedFiles::Refused })
    }

    /// What is made of files that were modified since the checkpoint; a restore is refused unless told.
    pub fn changed_files(self, changed_files: ChangedFiles) -> Self {
        Self { changed_files, ..self }
    }

    /// What becomes of TCP connections to other programs that are in the image (they live again unless told otherwise).
    pub fn tcp(self, tcp: TcpPolicy) -> Self {
        Self { tcp, ..self }
    }

    /// Whether the process is to outlive this one. Then one that asked for a signal when its parent dies
    /// (`PR_SET_PDEATHSIG`) becomes a child of our parent, as it would get that signal as soon as we end.
    pub fn detached(self, detached: bool) -> Self {
        Self { manner: Manner { detached, ..self.manner }, ..self }
    }

    /// Whether the process becomes a child of our parent, not of ours (`CLONE_PARENT`).
    pub fn sibling(self, sibling: bool) -> Self {
        Self { manner: Manner { sibling, ..self.manner }, ..self }
    }

    /// Whether this process stays the program's parent, even though it leaves it alone ([`Self::detached`]).
    pub fn parent_stays(self, parent_stays: bool) -> Self {
        Self { manner: Manner { parent_stays, ..self.manner }, ..self }
    }

    /// Whether to leave the program stopped, as by `SIGSTOP`.
    pub fn leave_stopped(self, leave_stopped: bool) -> Self {
        Self { manner: Manner { leave_stopped, ..self.manner }, ..self }
    }

    /// What becomes of the clocks that count from the start of the machine.
    pub fn clocks(self, clocks: Clocks) -> Self {
        Self { manner: Manner { clocks, ..self.manner }, ..self }
    }

    /// A function that has a say at every stage.
    pub fn stages(self, stages: Say<'p, RestoreStage>) -> Self {
        Self { manner: Manner { stages: Some(stages), ..self.manner }, ..self }
    }

    /// A function that is told how far the pages are.
    pub fn progress(self, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// A function that is called with the root's pid when all is complete, just before the program runs: for what must
    /// be so from its first instruction on, such as who has the terminal. A failure may still follow.
    pub fn ready(self, ready: Ready<'p>) -> Self {
        Self { manner: Manner { ready: Some(ready), ..self.manner }, ..self }
    }

    /// Makes it: returns when the process runs.
    pub fn spawn(self) -> Result<Restored, Error> {
        let begin = Instant::now();
        let mut reader = Reader::new(self.input)?;
        let mut pages = PageBuffer::new();
        let mut plan = plan::read(&mut reader, &mut pages)?;
        plan::check(&reader, &plan)?;
        if !self.manner.detached {
            plan::join_our_session(&mut plan);
        }
        let gives_up = self.tcp == TcpPolicy::Close && inet::Record::give_up_all(&mut plan.descriptions);
        let ties = plan::ties(&plan)?;
        // The pids of an image that still arrives may be those of the process that it is being made of.
        let grace = if self.streamed { Duration::ZERO } else { plan::GRACE };
        let mut reasons = plan::taken_pids(&plan, &ties, grace);
        let must_wait = self.streamed && reasons.drain(..).next().is_some();
        reasons.extend(plan::obstacles(&plan, self.changed_files));
        if let Some(record) = &plan.info.clocks {
            reasons.extend(record.obstacle(self.manner.clocks)?);
        }
        if !must_wait {
            reasons.extend(fd::in_the_way(&plan.descriptions));
        }
        if !reasons.is_empty() {
            return Err(Error::DoesNotFit(reasons));
        }
        plan::raise_descriptor_limit();
        fault::point("restore-planned")?;
        let making =
            Making { plan: &plan, ties: &ties, manner: self.manner, must_wait, progress: self.progress };
        // Segments, and the names of terminals, belong to the old processes as long as these are there.
        let must_spool = plan.processes.len() > 1
            || plan.shared.iter().any(|object| object.segment.is_some())
            || terminal::have_names(&plan.descriptions);
        let (pid, page_bytes) = if must_wait && must_spool {
            let mut spool = Spool::of(&mut reader, pages, plan.memory_bytes())?;
            plan::await_pids(&plan, &ties)?;
            nothing_in_the_way(&plan)?;
            Making { must_wait: false, ..making }.run(&mut spool, PageBuffer::new())?
        } else {
            making.run(&mut reader, pages)?
        };
        if gives_up {
            network::unlock(&plan.info);
        }
        let sum = |of: fn(&ProcessPlan) -> usize| plan.processes.iter().map(of).sum();
        let report = Report {
            took: begin.elapsed(),
            processes: plan.processes.len(),
            tasks: sum(|process| process.tasks.len()),
            mappings: sum(|process| process.mappings.len()),
            descriptors: sum(|process| process.descriptors.len()),
            page_bytes,
        };
        Ok(Restored { pid, report })
    }
}

/// A restore whose plan has been found to fit.
struct Making<'a> {
    plan: &'a Plan,
    ties: &'a Ties,
    manner: Manner<'a>,
    /// The pid of the only process is taken until its pages are there.
    must_wait: bool,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Making<'_> {
    /// Tells the root's pid, and how many bytes of memory were put in place.
    fn run(self, source: &mut impl PageSource, first: PageBuffer) -> Result<(i32, u64), Error> {
        let plan = self.plan;
        let files = Files::new(&plan.files);
        let mut objects = Objects::make(plan)?;
        let company = if self.manner.detached { Company::Detached } else { Company::Foreground };
        let mut supply = Supply::of(plan, company)?;
        let layout = Layout::of(&plan.descriptions, &plan.processes, &objects.sources()).with(&mut supply)?;
        let mut places = place::Places::of(&plan.processes)?;
        let arena = Arena::of(plan, &mut places)?;
        let rebuilds = self.rebuilds(&files, &arena, &layout, &mut places)?;
        let nursery = self.nursery(&mut places)?;

        let mut nest = Nest::of(plan, self.ties, &layout, &rebuilds, nursery);
        nest.bear_root(self.kinship(), !self.must_wait, self.manner.clocks)?;
        drop(supply);
        if !self.must_wait {
            self.at(RestoreStage::Created)?;
        }
        let mut filling = contents::Filling::of(plan, &arena);
        let page_bytes = filling.fill(&mut nest, &objects, source, first, self.progress)?;
        if self.must_wait {
            plan::await_pids(plan, self.ties)?;
            nest.pass_on()?;
            nothing_in_the_way(plan)?;
            self.at(RestoreStage::Created)?;
        }
        nest.advance_to_end()?;
        fault::point("restore-filled")?;
        nest.group()?;
        settle_objects(&mut nest, &mut objects, &rebuilds, &layout)?;
        settle(&mut nest, &mut filling, &rebuilds, layout.spare())?;
        let network = Reviving::begin(plan)?;
        fault::point("restore-connected")?;
        let made = network.made();
        open_files(
            &mut nest,
            &layout,
            |index, batch| layout.open(index, &files, &made, batch),
            plan.processes.len(),
        )?;
        objects.seal()?;
        objects.complete()?;
        nest.end_the_dead()?;
        attributes(&mut nest, plan)?;
        objects.fill_queues(|index, batch| nest.run(index, batch))?;
        fault::point("restore-queues")?;
        let mut newborns = nest.into_newborns()?;
        let tasks = revive(&mut newborns, plan, self.ties, &layout)?;
        // What it has waiting must be gone before the program runs.
        drop(layout);
        if let Some(ready) = self.manner.ready {
            ready(plan.info.root_pid, &OnTerminal::of(plan));
        }
        self.at(RestoreStage::Restored)?;
        network.finish()?;
        fault::point("restore-unlocked")?;
        let pid = release(newborns, plan, &tasks, self.manner)?;
        objects.hand_over();
        Ok((pid, page_bytes))
    }

    fn at(&self, stage: RestoreStage) -> Result<(), Error> {
        let root = self.plan.processes.first().map_or(0, |root| root.process.identity.pid);
        self.manner.stages.map_or(Ok(()), |say| say(stage, root))
    }

    fn rebuilds<'a>(
        &'a self,
        files: &'a Files<'a>,
        arena: &'a Arena,
        layout: &'a Layout<'a>,
        places: &mut place::Places,
    ) -> Result<Vec<Rebuild<'a>>, Error> {
        let mut rebuilds: Vec<Rebuild<'a>> = Vec::with_capacity(self.plan.processes.len());
        let mut place = HashMap::new();
        for (index, process) in self.plan.processes.iter().enumerate() {
            let pid = process.process.identity.pid;
            let donor = self.ties.donor(pid).and_then(|donor| place.get(&donor).copied());
            let donor = donor.map(|donor: usize| &rebuilds[donor]);
            let rebuild = Rebuild::of(self.plan, process, donor, files, arena, layout, places)?;
            rebuilds.push(rebuild);
            place.insert(pid, index);
        }
        Ok(rebuilds)
    }

    fn nursery(&self, places: &mut place::Places) -> Result<Nursery, Error> {
        // One that is adopted has a passing maker.
        let is_adopted = |birth: &&ties::Birth| matches!(birth.maker, ties::Maker::Adopted { .. });
        let adopted = self.ties.births.iter().filter(is_adopted).count();
        let births = self.ties.births.len() + self.ties.groupings.len() + adopted;
        let threads = self.plan.processes.iter().map(|process| process.tasks.len().saturating_sub(1)).sum();
        let place = places.take(Nursery::footprint(births, threads))?;
        let mut nursery = Nursery::open(place, births, threads)?;
        if plan::is_under_seccomp(self.plan) {
            nursery.suspend_seccomp();
        }
        Ok(nursery)
    }

    fn kinship(&self) -> Kinship {
        let root = self.plan.processes.first();
        let minds_our_death =
            root.is_some_and(|root| root.tasks.iter().any(|task| task.personal.pdeathsig != 0));
        let Manner { detached, sibling, parent_stays, .. } = self.manner;
        if sibling || (detached && !parent_stays && minds_our_death) {
            Kinship::Sibling
        } else {
            Kinship::Child
        }
    }
}

/// Refuses when the names that the program needs are taken; it has let go of them itself.
fn nothing_in_the_way(plan: &Plan) -> Result<(), Error> {
    match fd::in_the_way(&plan.descriptions) {
        reasons if reasons.is_empty() => Ok(()),
        reasons => Err(Error::DoesNotFit(reasons)),
    }
}

/// Files that no path leads to get all that they had, and become what nobody writes to if they are executables.
fn settle_objects(
    nest: &mut Nest<'_>,
    objects: &mut Objects<'_>,
    rebuilds: &[Rebuild<'_>],
    layout: &Layout<'_>,
) -> Result<(), Error> {
    let executables: Vec<u32> = objects.executables().collect();
    for (index, rebuild) in rebuilds.iter().enumerate() {
        let mut batch = Batch::new();
        rebuild.unmap_files(&mut batch);
        for id in &executables {
            layout.make_read_only(*id, &mut batch);
        }
        nest.run(index, &batch)?;
    }
    objects.settle()?;
    fault::point("restore-objects")
}

/// Protection, locks, bounds.
fn settle(
    nest: &mut Nest<'_>,
    filling: &mut contents::Filling<'_>,
    rebuilds: &[Rebuild<'_>],
    spare: i32,
) -> Result<(), Error> {
    for (index, rebuild) in rebuilds.iter().enumerate().filter(|(_, rebuild)| !rebuild.is_shared()) {
        let touched = filling.complete(index, nest.pid_now(index), rebuild)?;
        let mut batch = Batch::new();
        rebuild.settle(&touched, spare, &mut batch);
        nest.run(index, &batch)?;
    }
    fault::point("restore-protected")
}

/// Descriptors: each process's own, then what refers to others, then what was only set aside goes.
fn open_files(
    nest: &mut Nest<'_>,
    layout: &Layout<'_>,
    open: impl Fn(usize, &mut Batch),
    processes: usize,
) -> Result<(), Error> {
    for index in 0..processes {
        let mut batch = Batch::new();
        open(index, &mut batch);
        nest.run(index, &batch)?;
    }
    fault::point("restore-opened")?;
    for stage in Stage::ALL {
        for index in 0..processes {
            let mut batch = Batch::new();
            layout.finish(index, stage, &mut batch);
            nest.run(index, &batch)?;
        }
    }
    for index in 0..processes {
        let mut batch = Batch::new();
        layout.close(index, &mut batch);
        layout.lock(index, &mut batch);
        nest.run(index, &batch)?;
    }
    fault::point("restore-files")
}

/// What a process has one of: directories, handlers, settings.
fn attributes(nest: &mut Nest<'_>, plan: &Plan) -> Result<(), Error> {
    for (index, process) in plan.processes.iter().enumerate() {
        let mut batch = Batch::new();
        process.process.restore(Phase::Attributes, &mut batch);
        nest.run(index, &batch)?;
        process.process.restore_outside(nest.pid_now(index))?;
    }
    fault::point("restore-process")
}

/// Threads, what each has of its own, then rights and signals. Ends with all tasks of all processes stopped.
fn revive(
    newborns: &mut [Newborn],
    plan: &Plan,
    ties: &Ties,
    layout: &Layout<'_>,
) -> Result<Vec<Vec<StoppedTask>>, Error> {
    for (newborn, process) in newborns.iter_mut().zip(&plan.processes) {
        start_threads(newborn, process)?;
    }
    fault::point("restore-threads")?;
    for (newborn, process) in newborns.iter_mut().zip(&plan.processes) {
        for phase in [Phase::Hidden, Phase::CommonFilters, Phase::Filters, Phase::Rights, Phase::Settled] {
            run_phase(newborn, process, phase, Batch::new())?;
        }
    }
    fd::uring::revive(newborns, plan, layout)?;
    stops::stop(newborns, plan)?;
    for (index, (newborn, process)) in newborns.iter_mut().zip(&plan.processes).enumerate() {
        let mut batch = Batch::new();
        stops::take_notice(process.process.identity.pid, plan, &mut batch);
        layout.finish(index, Stage::Last, &mut batch);
        Nest::forget_ends(&stops::signals_of_children(process.process.identity.pid, plan, ties), &mut batch);
        run_phase(newborn, process, Phase::Pending, batch)?;
    }
    let mut tasks = Vec::with_capacity(newborns.len());
    for newborn in newborns {
        tasks.push(newborn.stop()?);
    }
    fault::point("restore-stopped")?;
    Ok(tasks)
}

fn start_threads(newborn: &mut Newborn, process: &ProcessPlan) -> Result<(), Error> {
    let Some((leader, others)) = process.tasks.split_first() else {
        return Err(Error::Nonsense("a process without tasks".into()));
    };
    let of_task = |task: &Task| {
        let mut batch = Batch::new();
        task.restore(Phase::Task, &mut batch);
        batch
    };
    let tids: Vec<i32> = others.iter().map(|task| task.tid).collect();
    let first: Vec<Batch> = others.iter().map(of_task).collect();
    newborn.run(&of_task(leader))?;
    newborn.start_threads(&tids, &first)?;
    for task in &process.tasks {
        task.restore_outside(newborn.pid())?;
    }
    Ok(())
}

/// The steps of a phase, in each task; the leader's come behind those in `batch`.
fn run_phase(
    newborn: &mut Newborn,
    process: &ProcessPlan,
    phase: Phase,
    mut batch: Batch,
) -> Result<(), Error> {
    // Threads first: what the leader sets for the process may take away what they need.
    for (index, task) in process.tasks.iter().skip(1).enumerate() {
        let mut batch = Batch::new();
        task.restore(phase, &mut batch);
        if !batch.is_empty() {
            newborn.run_in_thread(index, &batch)?;
        }
    }
    process.process.restore(phase, &mut batch);
    if let Some(leader) = process.tasks.first() {
        leader.restore(phase, &mut batch);
    }
    if !batch.is_empty() {
        newborn.run(&batch)?;
    }
    Ok(())
}

/// The last steps: interrupted calls, the stub's end, registers; then all are let go at once.
fn release(
    mut newborns: Vec<Newborn>,
    plan: &Plan,
    tasks: &[Vec<StoppedTask>],
    manner: Manner<'_>,
) -> Result<i32, Error> {
    let mut final_regs = Vec::with_capacity(newborns.len());
    for ((newborn, process), stopped) in newborns.iter_mut().zip(&plan.processes).zip(tasks) {
        let mut of_process = Vec::with_capacity(stopped.len());
        for (stopped, task) in stopped.iter().zip(&process.tasks) {
            of_process.push(resume::registers(newborn, stopped, task)?);
        }
        final_regs.push(of_process);
    }
    let owns_memory = |process: &&ProcessPlan| !process.process.identity.shares(libc::CLONE_VM);
    for ((newborn, process), stopped) in newborns.iter_mut().zip(&plan.processes).zip(tasks) {
        if let Some(leader) = stopped.first().filter(|_| owns_memory(&process)) {
            newborn.unmap_stub(leader)?;
        }
    }
    fault::point("restore-unmapped")?;
    for ((process, stopped), regs) in plan.processes.iter().zip(tasks).zip(&final_regs) {
        for ((stopped, task), regs) in stopped.iter().zip(&process.tasks).zip(regs) {
            task.restore_stopped(stopped)?;
            stopped.set_regs(regs)?;
        }
    }
    fault::point("restore-registers")?;
    let mut free = Vec::new();
    // The root last: whoever waits for it finds the whole tree alive.
    for ((newborn, process), tasks) in newborns.into_iter().zip(&plan.processes).zip(tasks).rev() {
        let identity = &process.process.identity;
        let is_root = plan.processes.first().is_some_and(|root| root.process.identity.pid == identity.pid);
        let is_stopped = identity.stopped && !is_root; // as it is already
        if !is_stopped && (identity.stopped || manner.leave_stopped) {
            // Job control had stopped it, or it is to be left so. Pending before it is let go, this takes effect before
            // its first instruction; SIGCONT lets it go on as before.
            let _ = rekindle_sys::signal::kill(newborn.pid(), libc::SIGSTOP);
        }
        match newborn.release(tasks) {
            Ok(pid) => free.push(pid),
            Err(error) => {
                // Those that run already are half a program.
                for pid in free {
                    let _ = rekindle_sys::signal::kill(pid, libc::SIGKILL); // it may have ended
                }
                return Err(error.into());
            }
        }
    }
    fault::point("restore-released")?;
    Ok(free.last().copied().unwrap_or_default())
}
