//! A checkpoint, from a pid to an image.
//!
//! ```text
//! survey ── freeze ── survey again ── ask (from outside, then inside) ── give back ── records ── pages ── end
//!   │ refused: nothing touched                                                   ── kill, or let go on
//! ```
//!
//! Whatever fails on the way, values are dropped in reverse order, and the program goes on: the borrowed thread is
//! given back, then all threads are let go. It is killed (if asked) only when the image is complete, synced and has
//! its name.

mod moving;
mod output;
mod pages;
mod sharing;
mod target;

pub use crate::kinds::fd::inet::network::TcpPolicy;
pub use pages::Progress;

use crate::error::Error;
use crate::fault;
use crate::kinds::clocks;
use crate::kinds::fd;
use crate::kinds::fd::inet::network::{Lock, Network};
use crate::kinds::mem::file::FileTable;
use crate::kinds::mem::inherit::PageTable;
use crate::kinds::mem::shared::{self, SharedTable};
use crate::kinds::mem::{bounds, inherit, mapping, vdso};
use crate::kinds::message_queues;
use crate::kinds::process::Process;
use crate::kinds::semaphores;
use crate::kinds::task::{Task, seccomp};
use crate::parallel;
use crate::record::{AnyRecord, Info, PROCESSES_MAX, Plan, ProcessPlan};
use crate::refusal::{Refusal, Refusals};
use crate::stage::{CheckpointStage, Say};
pub use crate::view::{OuterPeers, Unaccepted};
use crate::view::{ProcessView, TreeView, Wishes};
use crate::waits;
use rekindle_image::{Arch, Codec, Header, Summary, Writer};
use rekindle_tracee::{Batch, Frozen, FrozenTree, Hijack};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a deleted file may take up of an image unless told: 1 GiB.
pub const DELETED_MAX: u64 = 1 << 30;

/// A checkpoint to be made.
///
/// ```no_run
/// # fn main() -> Result<(), rekindle::Error> {
/// let report = rekindle::Checkpoint::of(4711).kill(true).to_file("job.rkd")?;
/// println!("{} bytes in {:?}", report.image_bytes, report.took);
/// # Ok(())
/// # }
/// ```
pub struct Checkpoint<'p> {
    pid: i32,
    kill: bool,
    timeout: Duration,
    deleted_max: u64,
    codec: Codec,
    progress: Option<&'p (dyn Fn(Progress) + Sync)>,
    stages: Option<Say<'p, CheckpointStage>>,
    leave_stopped: bool,
    outer_peers: OuterPeers,
    tcp: TcpPolicy,
    wishes: Wishes,
    /// Device and inode of the file that the image goes to, where the program may have it open.
    image_file: Option<(u64, u64)>,
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How long the program stood still.
    pub pause: Duration,
    /// How long everything took.
    pub took: Duration,
    /// Processes captured.
    pub processes: usize,
    /// Threads captured.
    pub tasks: usize,
    /// Mappings captured.
    pub mappings: usize,
    /// Descriptors captured.
    pub descriptors: usize,
    /// Bytes of memory saved, before compression.
    pub page_bytes: u64,
    /// Length of the image in bytes.
    pub image_bytes: u64,
}

impl<'p> Checkpoint<'p> {
    /// A checkpoint of a process and all its descendants. They go on afterwards.
    pub fn of(pid: i32) -> Self {
        let timeout = Duration::from_secs(10);
        Self {
            pid,
            kill: false,
            timeout,
            deleted_max: DELETED_MAX,
            codec: Codec::Raw,
            progress: None,
            stages: None,
            leave_stopped: false,
            outer_peers: OuterPeers::Close,
            tcp: TcpPolicy::Keep,
            wishes: Wishes::default(),
            image_file: None,
        }
    }

    /// Whether to kill the program once its image is complete.
    pub fn kill(self, kill: bool) -> Self {
        Self { kill, ..self }
    }

    /// How long a thread may take to stop (10 s unless told) before the checkpoint is given up.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How many bytes a deleted file that the program has open or mapped may take up ([`DELETED_MAX`] unless told), as it
    /// goes into the image. A larger one is refused.
    pub fn deleted_files_max(self, bytes: u64) -> Self {
        Self { deleted_max: bytes, ..self }
    }

    /// How pages are compressed (not at all unless told).
    pub fn codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// What becomes of TCP connections to other programs (they are kept unless told).
    pub fn tcp(self, tcp: TcpPolicy) -> Self {
        Self { tcp, ..self }
    }

    /// What is done about connections that wait to be accepted (the checkpoint is refused unless told otherwise).
    pub fn unaccepted(self, unaccepted: Unaccepted) -> Self {
        Self { wishes: Wishes { unaccepted, ..self.wishes }, ..self }
    }

    /// Where the names of watched files are looked for besides what the program has open: in and below these directories.
    pub fn search_below(self, search_below: Vec<PathBuf>) -> Self {
        Self { wishes: Wishes { search_below, ..self.wishes }, ..self }
    }

    /// A function that is told how far the pages are.
    pub fn progress(self, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// A function that has a say at every stage.
    pub fn stages(self, stages: Say<'p, CheckpointStage>) -> Self {
        Self { stages: Some(stages), ..self }
    }

    /// Whether to leave the program stopped, as by `SIGSTOP`, unless it is killed.
    pub fn leave_stopped(self, stopped: bool) -> Self {
        Self { leave_stopped: stopped, ..self }
    }

    /// What is done about sockets whose other ends are in processes outside of the tree (they are closed unless told
    /// otherwise). The image says what was asked for.
    pub fn outer_peers(self, outer_peers: OuterPeers) -> Self {
        Self { outer_peers, ..self }
    }

    fn at(&self, stage: CheckpointStage) -> Result<(), Error> {
        self.stages.map_or(Ok(()), |say| say(stage, self.pid))
    }

    /// Makes it, into a stream.
    pub fn to<W: Write + Send>(self, out: W) -> Result<Report, Error> {
        self.run(out, |_| Ok(()))
    }

    /// Makes it, into a file. The file has another name until it is complete and on the disk; one that was there is
    /// replaced only then. It can be read by its owner alone: an image holds all that was in memory.
    pub fn to_file(self, path: impl AsRef<Path>) -> Result<Report, Error> {
        let (file, place) = output::create(path.as_ref())?;
        self.run(file, |file| place.publish(file))
    }

    /// Makes it, into an open file, from where its offset is; the image of a regular file is on the disk when this
    /// returns. The program itself may have the file open: it is not compared at a restore, as it holds the image.
    pub fn to_open_file(self, file: File) -> Result<Report, Error> {
        let meta = file.metadata().map_err(|error| Error::io("looking at the image's file", &error))?;
        if !meta.is_file() {
            return self.to(file);
        }
        let own = Self { image_file: Some((meta.dev(), meta.ino())), ..self };
        own.run(file, |file| file.sync_all().map_err(|error| Error::io("syncing the image", &error)))
    }

    fn run<W: Write + Send>(
        self,
        out: W,
        commit: impl FnOnce(W) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let begin = Instant::now();
        target::check(self.pid)?;
        let judge = |tree: TreeView| {
            let tree = tree.with_outer_peers(self.outer_peers).with_wishes(&self.wishes);
            survey(tree, self.deleted_max)
        };
        // Without the flags of mappings where these are read again under the freeze, as they take long; but a refusal tells
        // everything there is to be told.
        let before = match TreeView::glance(self.pid).and_then(judge) {
            Ok(tree) => Some(tree),
            Err(_) => moving::survey(self.pid, || TreeView::read(self.pid).and_then(judge))?,
        };
        fault::point("checkpoint-surveyed")?;
        let tasks: Vec<(i32, Vec<i32>)> =
            before.iter().flat_map(|tree| &tree.processes).map(ProcessView::task_ids).collect();
        let resting = before.map(TreeView::into_resting).unwrap_or_default();

        let mut waits = waits::read(&tasks);
        let frozen_at = Instant::now();
        let mut frozen = FrozenTree::freeze(self.pid, std::process::id().cast_signed(), self.timeout)?;
        fault::point("checkpoint-frozen")?;
        let mut tree = judge(TreeView::of_frozen(&frozen, &resting)?)?;
        for view in &mut tree.processes {
            view.waits = waits.remove(&view.pid).unwrap_or_default();
        }
        fault::point("checkpoint-surveyed-again")?;
        self.at(CheckpointStage::Frozen)?;
        survey_stopped(&tree, &frozen)?;
        settle_rings(&mut tree, &mut frozen)?;
        let lock = if self.kill { Lock::Locked } else { Lock::Open };
        let mut network = Network::of(&tree, self.tcp, lock)?;
        fault::point("checkpoint-locked")?;
        let captured = capture(&tree, &mut frozen, &mut network, FileTable::of(self.image_file))?;
        let (counts, info) = (Counts::of(&captured.plan), captured.plan.info.clone());
        let (out, summary, page_bytes) = self.write(out, captured, &tree)?;
        fault::point("checkpoint-finished")?;
        commit(out)?;
        fault::point("checkpoint-renamed")?;
        self.at(CheckpointStage::Complete)?;
        if self.kill {
            let mut vanished = Ok(());
            frozen.kill_and(|| vanished = network.vanish(&info))?;
            vanished?;
        } else {
            if self.leave_stopped {
                // Pending before they are let go, this takes effect before their next instruction.
                for process in frozen.processes() {
                    rekindle_sys::signal::kill(process.pid(), libc::SIGSTOP)
                        .map_err(|errno| Error::call("stopping the program", errno))?;
                }
            }
            drop(network);
            drop(frozen);
        }
        let pause = frozen_at.elapsed();
        fault::point("checkpoint-thawed")?;
        let Counts { processes, tasks, mappings, descriptors } = counts;
        let image_bytes = summary.length;
        Ok(Report {
            pause,
            took: begin.elapsed(),
            processes,
            tasks,
            mappings,
            descriptors,
            page_bytes,
            image_bytes,
        })
    }

    fn write<W: Write + Send>(
        &self,
        out: W,
        captured: Captured,
        tree: &TreeView,
    ) -> Result<(W, Summary, u64), Error> {
        let Captured { plan, shared, differences } = captured;
        let mut writer = Writer::new(out, &Header::new(Arch::X86_64))?;
        let memory = pages::Memory::of(tree, &plan, &shared, &differences)?;
        for record in plan.into_records() {
            AnyRecord::write(&record, &mut writer)?;
        }
        fault::point("checkpoint-records-written")?;
        let page_bytes = memory.write(&mut writer, self.codec, self.progress)?;
        fault::point("checkpoint-pages-written")?;
        let (out, summary) = writer.finish()?;
        Ok((out, summary, page_bytes))
    }
}

/// What a plan holds.
struct Counts {
    processes: usize,
    tasks: usize,
    mappings: usize,
    descriptors: usize,
}

impl Counts {
    fn of(plan: &Plan) -> Self {
        let sum = |of: fn(&ProcessPlan) -> usize| plan.processes.iter().map(of).sum();
        Self {
            processes: plan.processes.len(),
            tasks: sum(|process| process.tasks.len()),
            mappings: sum(|process| process.mappings.len()),
            descriptors: sum(|process| process.descriptors.len()),
        }
    }
}

/// Every obstacle to a checkpoint of a process and its descendants, without stopping them. Empty: it can be made.
pub fn check(pid: i32) -> Result<Vec<Refusal>, Error> {
    target::check(pid)?;
    match moving::survey(pid, || survey(TreeView::read(pid)?, DELETED_MAX)) {
        Ok(_) => Ok(Vec::new()),
        Err(Error::Refused(refusals)) => Ok(refusals),
        Err(error) => Err(error),
    }
}

/// Refuses what of a tree cannot be captured.
fn survey(tree: TreeView, deleted_max: u64) -> Result<TreeView, Error> {
    let root = tree.processes.first().map(|view| view.pid);
    let of_each = parallel::map(&tree.processes, |view, _: &mut ()| {
        let mut refusals = Refusals::of(view.pid);
        if Some(view.pid) != root {
            target::survey_descendant(view, &mut refusals);
        }
        target::survey_leader(view, &mut refusals);
        Process::survey(view, &mut refusals);
        Task::survey(view, &mut refusals);
        bounds::survey(view, &mut refusals);
        mapping::survey(view, &mut refusals);
        fd::capture::survey(view, &tree, &mut refusals);
        fd::terminal::survey(view, &tree, &mut refusals);
        Ok(refusals.into_list())
    })?;
    let mut list: Vec<Refusal> = of_each.into_iter().flatten().collect();
    sharing::survey(&tree, &mut list);
    list.extend(shared::survey(&tree, deleted_max));
    semaphores::survey(&tree, &mut list);
    message_queues::survey(&tree, &mut list);
    clocks::survey(&tree, &mut list);
    for (pid, why) in &tree.misplaced {
        let mut refusals = Refusals::of(*pid);
        refusals.add("ties", "the process", why.clone(), "checkpoint it alone, or from further up the tree");
        list.extend(refusals.into_list());
    }
    if tree.processes.len() > PROCESSES_MAX {
        let mut refusals = Refusals::of(tree.processes[0].pid);
        refusals.add("too-many", "the tree", format!("it has more than {PROCESSES_MAX} processes"), "");
        list.extend(refusals.into_list());
    }
    if list.is_empty() { Ok(tree) } else { Err(Error::Refused(list)) }
}

/// Refuses what /proc does not tell of tasks, before anything is executed in one of them; and keeps seccomp from judging that.
fn survey_stopped(tree: &TreeView, frozen: &FrozenTree) -> Result<(), Error> {
    let mut list = Vec::new();
    for process in frozen.processes() {
        let mut refusals = Refusals::of(process.pid());
        for task in process.tasks() {
            Task::survey_stopped(task, &mut refusals);
        }
        list.extend(refusals.into_list());
    }
    if !list.is_empty() {
        return Err(Error::Refused(list));
    }
    for process in frozen.processes() {
        let view = tree.processes.iter().find(|view| view.pid == process.pid());
        let mode = |tid| view.and_then(|view| view.thread(tid)).and_then(|thread| thread.status.seccomp);
        process.suspend_seccomp(|tid| mode(tid).unwrap_or(0) != 0)?;
    }
    Ok(())
}

/// Lets the operations of io_uring that are at work come to an end, and asks processes about their rings.
fn settle_rings(tree: &mut TreeView, frozen: &mut FrozenTree) -> Result<(), Error> {
    for process in frozen.processes_mut() {
        if let Some(view) = tree.processes.iter_mut().find(|view| view.pid == process.pid()) {
            view.rings = fd::uring::settle(view, process)?;
        }
    }
    fault::point("checkpoint-rings-settled")
}

/// Everything about a frozen tree but the contents of its memory.
struct Captured {
    plan: Plan,
    shared: SharedTable,
    /// For each process and each of its mappings that is inherited: which pages to save.
    differences: Vec<HashMap<u64, Vec<inherit::Saved>>>,
}

fn capture(
    tree: &TreeView,
    frozen: &mut FrozenTree,
    network: &mut Network,
    mut files: FileTable,
) -> Result<Captured, Error> {
    let mut shared = SharedTable::default();
    let place: HashMap<i32, usize> =
        frozen.processes().iter().enumerate().map(|(index, process)| (process.pid(), index)).collect();
    let mut processes = Vec::with_capacity(tree.processes.len());
    for view in &tree.processes {
        let index = place.get(&view.pid).ok_or(Error::NoSuchProcess { pid: view.pid })?;
        let frozen = &mut frozen.processes_mut()[*index];
        let shares = sharing::with_maker(tree, view.pid);
        processes.push(capture_process(view, shares, frozen, &mut files, &mut shared)?);
    }
    let (descriptions, tables) = fd::capture::capture(tree, &mut files, &mut shared, network)?;
    for (process, descriptors) in processes.iter_mut().zip(tables) {
        process.descriptors = descriptors;
    }
    let differences = find_inherited(tree, &mut processes)?;
    let plan = Plan {
        info: info(tree)?,
        files: files.records().to_vec(),
        shared: shared.objects().iter().map(|object| object.record.clone()).collect(),
        descriptions,
        zombies: tree.zombies.clone(),
        semaphores: semaphores::capture(tree)?,
        message_queues: message_queues::capture(tree)?,
        parts: network.take_parts(),
        processes,
    };
    Ok(Captured { plan, shared, differences })
}

/// All of a process but its descriptors, which others may share.
fn capture_process(
    view: &ProcessView,
    shares: u32,
    frozen: &mut Frozen,
    files: &mut FileTable,
    shared: &mut SharedTable,
) -> Result<ProcessPlan, Error> {
    let leader = frozen.tasks().first().cloned().ok_or(Error::NoSuchProcess { pid: view.pid })?;
    let vdso = vdso::read(view.pid, view.mappings.iter().map(|entry| &entry.mapping))?;
    let mut process = Process::outside(view, &leader)?;
    process.identity.shares = shares;
    let mut tasks = Vec::with_capacity(frozen.tasks().len());
    for task in frozen.tasks() {
        tasks.push(Task::outside(view, task)?);
    }
    seccomp::find_common(&mut tasks);
    let mut bounds = bounds::outside(view, files, shared)?;
    // Memory that is another process's, too, comes with that one.
    let has_memory = !process.identity.shares(libc::CLONE_VM);
    let mut mappings = if has_memory { mapping::capture(view, files, shared)? } else { Vec::new() };
    mapping::find_guards(view.pid, &mut mappings)?;
    ask(view, frozen, &mut process, &mut tasks, &mut bounds, &mut mappings)?;
    Ok(ProcessPlan { process, tasks, bounds, vdso, mappings, descriptors: Vec::new() })
}

/// Finds the memory that processes have from those that clone them.
fn find_inherited(
    tree: &TreeView,
    processes: &mut [ProcessPlan],
) -> Result<Vec<HashMap<u64, Vec<inherit::Saved>>>, Error> {
    let place: HashMap<i32, usize> =
        tree.processes.iter().enumerate().map(|(index, view)| (view.pid, index)).collect();
    let mut heirs = Vec::new();
    for (index, view) in tree.processes.iter().enumerate() {
        let donor = tree.donor(view.pid).and_then(|donor| place.get(&donor)).filter(|donor| **donor < index);
        let has_memory = |index: usize| !processes[index].mappings.is_empty();
        heirs.extend(
            donor.filter(|donor| has_memory(index) && has_memory(**donor)).map(|donor| (index, *donor)),
        );
    }
    let differences = parallel::map(&heirs, |(index, donor), table: &mut Option<(usize, PageTable)>| {
        if table.as_ref().is_none_or(|(of, _)| of != donor) {
            *table = Some((*donor, PageTable::open(tree.processes[*donor].pid)?));
        }
        let Some((_, theirs)) = table else { return Ok(Vec::new()) };
        let ours = PageTable::open(tree.processes[*index].pid)?;
        let mut inherited = Vec::new();
        for (number, mapping) in processes[*index].mappings.iter().enumerate() {
            if let Some(from) = inherit::donor_of(mapping, &processes[*donor].mappings) {
                inherited.push((number, inherit::difference((&ours, mapping), (theirs, from))?));
            }
        }
        Ok(inherited)
    })?;
    let mut all = vec![HashMap::new(); processes.len()];
    for ((index, _), inherited) in heirs.into_iter().zip(differences) {
        for (number, difference) in inherited {
            let mapping = &mut processes[index].mappings[number];
            mapping.inherited = true;
            mapping.dropped =
                difference.dropped.iter().flat_map(|(start, end)| [*start, end - start]).collect();
            all[index].insert(mapping.start, difference.saved);
        }
    }
    Ok(all)
}

/// Asks the process, and each of its threads, what only they can tell.
fn ask(
    view: &ProcessView,
    frozen: &mut Frozen,
    process: &mut Process,
    tasks: &mut [Task],
    bounds: &mut bounds::Record,
    mappings: &mut [mapping::Record],
) -> Result<(), Error> {
    let others = frozen.tasks()[1..].to_vec();
    let mut hijack = Hijack::begin(frozen, &view.plain_mappings())?;
    fault::point("checkpoint-borrowed")?;
    let mut batch = Batch::new();
    let of_process = process.ask(&mut batch);
    let of_leader = Task::ask(&mut batch);
    let brk = bounds::ask(&mut batch);
    let answers = hijack.run(&batch)?;
    process.answer(&of_process, &answers)?;
    tasks[0].answer(&of_leader, &answers)?;
    bounds::answer(bounds, brk, &answers);
    mapping::ask_policies(mappings, &tasks[0].memory_policy, &mut hijack)?;
    bounds.lock_future = bounds::lock_future(view, hijack.own_mapping().0)?;
    fault::point("checkpoint-asked")?;

    let mut batch = Batch::new();
    let of_thread = Task::ask(&mut batch);
    for (task, answers) in tasks[1..].iter_mut().zip(hijack.ask(&others, &batch)?) {
        task.answer(&of_thread, &answers)?;
    }
    fault::point("checkpoint-threads-asked")?;
    hijack.end()?;
    fault::point("checkpoint-given-back")
}

fn info(tree: &TreeView) -> Result<Info, Error> {
    let view = &tree.processes[0];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Info {
        rekindle: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        created_ns: now.as_nanos() as u64,
        root_pid: view.pid,
        command: view.file("cmdline")?,
        outer_peers_refused: tree.outer_peers == OuterPeers::Refuse,
        clocks: clocks::capture(tree)?,
    })
}
