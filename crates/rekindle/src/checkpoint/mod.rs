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

mod output;
mod pages;
mod target;

pub use pages::Progress;

use crate::error::Error;
use crate::fault;
use crate::kinds::fd;
use crate::kinds::mem::file::FileTable;
use crate::kinds::mem::shared::SharedTable;
use crate::kinds::mem::{bounds, mapping, vdso};
use crate::kinds::process::Process;
use crate::kinds::task::Task;
use crate::record::{AnyRecord, FIRST_OBJECT, Info, Plan, ProcessPlan};
use crate::refusal::{Refusal, Refusals};
use crate::view::{ProcessView, TreeView};
use crate::waits;
use rekindle_image::{Arch, Codec, Header, Summary, Writer};
use rekindle_tracee::{Batch, Frozen, Hijack};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

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
    codec: Codec,
    progress: Option<&'p (dyn Fn(Progress) + Sync)>,
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
    /// A checkpoint of a process. The program goes on afterwards.
    pub fn of(pid: i32) -> Self {
        let timeout = Duration::from_secs(10);
        Self { pid, kill: false, timeout, codec: Codec::Raw, progress: None, image_file: None }
    }

    /// Whether to kill the program once its image is complete.
    pub fn kill(self, kill: bool) -> Self {
        Self { kill, ..self }
    }

    /// How long a thread may take to stop (10 s unless told) before the checkpoint is given up.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How pages are compressed (not at all unless told).
    pub fn codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// A function that is told how far the pages are.
    pub fn progress(self, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(progress), ..self }
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
        let before = survey(self.pid)?;
        fault::point("checkpoint-surveyed")?;
        let tids: Vec<i32> = before.processes[0].threads.iter().map(|thread| thread.tid).collect();
        drop(before);

        let waits = waits::read(self.pid, &tids);
        let frozen_at = Instant::now();
        let mut frozen = Frozen::freeze(self.pid, self.timeout)?;
        fault::point("checkpoint-frozen")?;
        let mut tree = survey(self.pid)?;
        tree.processes[0].waits = waits;
        fault::point("checkpoint-surveyed-again")?;
        refuse_dispatch(&frozen)?;
        let (plan, shared) = capture(&tree, &mut frozen, FileTable::of(self.image_file))?;
        let counts = plan.processes.first().map(|p| (p.tasks.len(), p.mappings.len(), p.descriptors.len()));
        let (out, summary, page_bytes) = self.write(out, plan, &tree.processes[0], &shared)?;
        fault::point("checkpoint-finished")?;
        commit(out)?;
        fault::point("checkpoint-renamed")?;
        if self.kill {
            frozen.kill()?;
        } else {
            drop(frozen);
        }
        let pause = frozen_at.elapsed();
        fault::point("checkpoint-thawed")?;
        let (tasks, mappings, descriptors) = counts.unwrap_or_default();
        let image_bytes = summary.length;
        Ok(Report { pause, took: begin.elapsed(), tasks, mappings, descriptors, page_bytes, image_bytes })
    }

    fn write<W: Write + Send>(
        &self,
        out: W,
        plan: Plan,
        view: &ProcessView,
        shared: &SharedTable,
    ) -> Result<(W, Summary, u64), Error> {
        let mut writer = Writer::new(out, &Header::new(Arch::X86_64))?;
        let memory = pages::Memory::of(view.pid, &plan, shared)?;
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

/// Every obstacle to a checkpoint of a process, without stopping it. Empty: it can be made.
pub fn check(pid: i32) -> Result<Vec<Refusal>, Error> {
    target::check(pid)?;
    match survey(pid) {
        Ok(_) => Ok(Vec::new()),
        Err(Error::Refused(refusals)) => Ok(refusals),
        Err(error) => Err(error),
    }
}

/// Reads what /proc tells, and refuses what cannot be captured.
fn survey(pid: i32) -> Result<TreeView, Error> {
    let tree = TreeView::of(vec![ProcessView::read(pid)?]);
    let view = &tree.processes[0];
    let mut refusals = Refusals::of(pid);
    Process::survey(view, &mut refusals);
    Task::survey(view, &mut refusals);
    bounds::survey(view, &mut refusals);
    mapping::survey(view, &mut refusals);
    fd::capture::survey(view, &tree, &mut refusals);
    match refusals.into_list() {
        list if list.is_empty() => Ok(tree),
        list => Err(Error::Refused(list)),
    }
}

/// Refuses tasks with syscall user dispatch, which /proc does not tell: a system call of ours in one of them might raise
/// a signal that only its own code can handle.
fn refuse_dispatch(frozen: &Frozen) -> Result<(), Error> {
    let mut refusals = Refusals::of(frozen.pid());
    for task in frozen.tasks() {
        // A kernel that cannot tell (before Linux 6.4) has it hardly ever in use.
        if rekindle_sys::ptrace::syscall_user_dispatch_is_on(task.tid()) == Ok(true) {
            let (subject, why) =
                (format!("thread {}", task.tid()), "syscall user dispatch cannot be captured yet");
            refusals.add("syscall-user-dispatch", subject, why, "");
        }
    }
    match refusals.into_list() {
        list if list.is_empty() => Ok(()),
        list => Err(Error::Refused(list)),
    }
}

/// Everything about a frozen process but the contents of its memory.
fn capture(tree: &TreeView, frozen: &mut Frozen, mut files: FileTable) -> Result<(Plan, SharedTable), Error> {
    let view = &tree.processes[0];
    let mut shared = SharedTable::default();
    let leader = frozen.tasks().first().cloned().ok_or(Error::NoSuchProcess { pid: view.pid })?;
    let vdso = vdso::read(view.pid, view.mappings.iter().map(|entry| &entry.mapping))?;
    let mut process = Process::outside(view, &leader)?;
    let mut tasks = Vec::with_capacity(frozen.tasks().len());
    for task in frozen.tasks() {
        tasks.push(Task::outside(view, task)?);
    }
    let mut bounds = bounds::outside(view, &mut files)?;
    let mut mappings = mapping::capture(view, &mut files, &mut shared, FIRST_OBJECT)?;
    mapping::find_guards(view.pid, &mut mappings)?;
    let (descriptions, mut tables) = fd::capture::capture(tree, &mut files, &mut shared)?;
    let descriptors = tables.remove(0);
    ask(view, frozen, &mut process, &mut tasks, &mut bounds, &mut mappings)?;
    let one = ProcessPlan { process, tasks, bounds, vdso, mappings, descriptors };
    let plan = Plan {
        info: info(view)?,
        files: files.records().to_vec(),
        shared: shared.objects().iter().map(|object| object.record.clone()).collect(),
        descriptions,
        processes: vec![one],
    };
    Ok((plan, shared))
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
    let of_process = Process::ask(&mut batch);
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

fn info(view: &ProcessView) -> Result<Info, Error> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Info {
        rekindle: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        created_ns: now.as_nanos() as u64,
        root_pid: view.pid,
        command: view.file("cmdline")?,
    })
}
