//! Reading a plan, and refusing one that makes no sense or does not fit this machine, before anything is created.

use crate::error::Error;
use crate::kinds::clocks;
use crate::kinds::fd::{self, Files, terminal, uring};
use crate::kinds::gone_directory;
use crate::kinds::mem::file::ChangedFiles;
use crate::kinds::mem::mapping::{self, Backing};
use crate::kinds::mem::shared;
use crate::kinds::message_queues;
use crate::kinds::semaphores;
use crate::kinds::task::{credentials, seccomp};
use crate::record::{AnyRecord, FIRST_OBJECT, PROCESSES_MAX, Plan, ProcessPlan};
use crate::refusal::show;
use crate::ties::Ties;
use rekindle_image::{Arch, Incoming, PageBuffer, Reader};
use rekindle_sys::PAGE_SIZE;
use rekindle_sys::arch::TASK_SIZE;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads records up to the first pages, which are then in `pages` (or the end, and it is empty).
pub(super) fn read<R: Read>(reader: &mut Reader<R>, pages: &mut PageBuffer) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    loop {
        match reader.next_into(pages)? {
            Some(Incoming::Record(record)) => {
                if let Some(record) = AnyRecord::decode(&record)? {
                    plan.add(record)?;
                }
            }
            Some(Incoming::Pages { .. }) | None => return Ok(plan),
        }
    }
}

fn nonsense<T>(what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Nonsense(what.into()))
}

/// Refuses what no checkpoint writes.
pub(super) fn check<R: Read>(reader: &Reader<R>, plan: &Plan) -> Result<(), Error> {
    if reader.header().arch != Arch::X86_64 {
        let why =
            format!("the image is of a program for {}, and this machine is x86_64", reader.header().arch);
        return Err(Error::DoesNotFit(vec![why]));
    }
    if plan.processes.is_empty() || plan.processes.len() > PROCESSES_MAX {
        return nonsense(format!("it holds {} processes", plan.processes.len()));
    }
    let files = Files::new(&plan.files);
    if plan.files.iter().any(|file| !file.path.starts_with(b"/") || file.path.contains(&0)) {
        return nonsense("a file's path is not absolute");
    }
    let mut tids = BTreeSet::new();
    check_objects(plan)?;
    plan.semaphores.iter().try_for_each(semaphores::Record::check).map_err(Error::Nonsense)?;
    plan.message_queues.iter().try_for_each(message_queues::Record::check).map_err(Error::Nonsense)?;
    plan.info.clocks.iter().try_for_each(clocks::Record::check).map_err(Error::Nonsense)?;
    if plan.processes.first().is_some_and(|root| root.process.identity.shares != 0) {
        return nonsense("its first process shares something with one before it");
    }
    for process in &plan.processes {
        check_tasks(process, &mut tids)?;
        if let Some(Err(why)) = process.process.filesystem.gone.as_ref().map(gone_directory::Record::check) {
            return nonsense(why);
        }
        check_mappings(plan, process, &files)?;
        let executable = process.bounds.executable_object;
        if !files.has(process.bounds.executable) && !is_file_object(plan, executable) {
            return nonsense("it does not say which executable a process runs");
        }
    }
    if plan.zombies.iter().any(|zombie| !zombie.is_sane() || !tids.insert(zombie.pid)) {
        return nonsense("a process that has ended makes no sense");
    }
    let objects = plan.shared.iter().filter(|object| object.is_file()).map(|object| object.id).collect();
    let tables = plan.processes.iter().map(|process| process.descriptors.as_slice());
    let pids = plan.members().iter().map(|member| member.pid).collect();
    fd::check(&plan.descriptions, tables, &files, &objects, &pids)?;
    Ok(())
}

/// A program whose root led its session, on a terminal that is ours now, becomes a job of our own session: a terminal
/// controls one session only, and that is our caller's. The root still leads its process group, and finds what it was
/// started on: a terminal that it can share with its jobs, as a shell does.
pub(super) fn join_our_session(plan: &mut Plan) {
    let Some(root) = plan.processes.first().map(|root| &root.process) else { return };
    let pid = root.identity.pid;
    let is_on_terminal = root.controlling_terminal.device.is_some_and(|device| device != 0);
    if root.identity.sid != pid
        || !is_on_terminal
        || terminal::inner_index(plan, &root.controlling_terminal).is_some()
    {
        return;
    }
    let (Ok(_), Ok(ours)) = (std::fs::File::open("/dev/tty"), rustix::process::getsid(None)) else { return };
    let ours = ours.as_raw_pid();
    let of_processes = plan.processes.iter_mut().map(|process| &mut process.process.identity.sid);
    let of_zombies = plan.zombies.iter_mut().map(|zombie| &mut zombie.sid);
    for sid in of_processes.chain(of_zombies).filter(|sid| **sid == pid) {
        *sid = ours;
    }
}

/// How the processes of a plan come into being, which is in the order of the plan.
pub(super) fn ties(plan: &Plan) -> Result<Ties, Error> {
    let ties = Ties::of(&plan.members()).map_err(|problems| {
        let (pid, why) = problems.into_iter().next().unwrap_or_default();
        Error::Nonsense(format!("process {pid}: {why}"))
    })?;
    let pids: BTreeSet<i32> = plan.processes.iter().map(|process| process.process.identity.pid).collect();
    let born = ties.births.iter().map(|birth| birth.pid).filter(|pid| pids.contains(pid));
    if !born.eq(plan.processes.iter().map(|process| process.process.identity.pid)) {
        return nonsense("its processes are in the wrong order");
    }
    for process in &plan.processes {
        let identity = &process.process.identity;
        let maker = ties.maker(identity.pid);
        if identity.shares != 0 && !maker.is_some_and(|maker| pids.contains(&maker)) {
            return nonsense(format!("process {} shares something with none that lives", identity.pid));
        }
    }
    Ok(ties)
}

/// More of either than any machine can hold.
const TASKS_MAX: usize = 1 << 20;
const MAPPINGS_MAX: usize = 1 << 22;

fn check_tasks(process: &ProcessPlan, tids: &mut BTreeSet<i32>) -> Result<(), Error> {
    let pid = process.process.identity.pid;
    if process.tasks.len() > TASKS_MAX || process.process.pending.pid != pid {
        return nonsense("its tasks make no sense");
    }
    let signal = process.process.identity.exit_signal;
    if !(-1..=64).contains(&signal) {
        return nonsense(format!("process {pid} cannot end with signal {signal}"));
    }
    check_sharing(process)?;
    let own: Vec<i32> = process.tasks.iter().map(|task| task.tid).collect();
    if !process.process.posix_timers.is_sane(&own) {
        return nonsense(format!("the POSIX timers of process {pid} make no sense"));
    }
    if !process.process.membarrier.is_sane() {
        return nonsense(format!("process {pid} has registered for what no kernel has"));
    }
    for task in &process.tasks {
        if task.tid <= 0 || !tids.insert(task.tid) {
            return nonsense(format!("task {} makes no sense", task.tid));
        }
        if task.pending.pid != pid {
            return nonsense(format!("the pending signals of task {} are another process's", task.tid));
        }
        if !task.seccomp.is_sane() {
            return nonsense(format!("the seccomp filters of task {} make no sense", task.tid));
        }
        if task.registers.regs().is_none() {
            return nonsense(format!("the registers of task {} have the wrong length", task.tid));
        }
    }
    match process.tasks.first() {
        Some(leader) if leader.tid == pid && pid > 1 => Ok(()),
        _ => nonsense(format!("process {pid} has no leading task")),
    }
}

/// What processes can share: with memory, also their signal handlers; one without memory of its own has no mappings.
fn check_sharing(process: &ProcessPlan) -> Result<(), Error> {
    let identity = &process.process.identity;
    let known = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_IO;
    let shares_memory = identity.shares(libc::CLONE_VM);
    if identity.shares & !known.cast_unsigned() != 0
        || (identity.shares(libc::CLONE_SIGHAND) && !shares_memory)
        || (shares_memory && !process.mappings.is_empty())
    {
        return nonsense(format!("what process {} shares makes no sense", identity.pid));
    }
    Ok(())
}

fn check_mappings(plan: &Plan, process: &ProcessPlan, files: &Files<'_>) -> Result<(), Error> {
    if process.mappings.len() > MAPPINGS_MAX {
        return nonsense("it has more mappings than fit an address space");
    }
    let mut end = 0;
    for mapping in &process.mappings {
        let at = format!("mapping {:x}-{:x}", mapping.start, mapping.end);
        let aligned =
            [mapping.start, mapping.end, mapping.offset].iter().all(|n| n.is_multiple_of(PAGE_SIZE));
        if !aligned || mapping.start < end || mapping.end <= mapping.start || mapping.end > TASK_SIZE {
            return nonsense(format!("{at} is misplaced"));
        }
        end = mapping.end;
        let known = match Backing::try_from(mapping.backing) {
            Ok(Backing::Anonymous) => !mapping.shared,
            Ok(Backing::File) => files.has(mapping.file),
            Ok(Backing::SharedAnonymous) => mapping.shared && object_holds(plan, mapping),
            Ok(Backing::Object) => is_file_object(plan, mapping.object),
            Ok(Backing::Ring) => {
                mapping.shared && uring::has_ring(mapping, &plan.descriptions, &process.descriptors)
            }
            Err(_) => false,
        };
        let lie_inside = |ranges: &[u64]| {
            ranges.chunks(2).all(|range| match *range {
                [start, length] => {
                    let aligned = start.is_multiple_of(PAGE_SIZE) && length.is_multiple_of(PAGE_SIZE);
                    let end = start.checked_add(length);
                    aligned && start >= mapping.start && end.is_some_and(|end| end <= mapping.end)
                }
                _ => false,
            })
        };
        let guards = lie_inside(&mapping.guards) && lie_inside(&mapping.dropped);
        let reach = mapping.offset.checked_add(mapping.end).is_some_and(|reach| i64::try_from(reach).is_ok());
        if !known || !guards || !reach || mapping.prot > 7 {
            return nonsense(format!("{at} has nothing sensible behind it"));
        }
    }
    if let Some(vdso) = &process.vdso {
        let len = vdso.end.checked_sub(vdso.start);
        if vdso.vvar_start > vdso.start
            || len != Some(vdso.code.len() as u64)
            || vdso.end > TASK_SIZE
            || !vdso.start.is_multiple_of(PAGE_SIZE)
        {
            return nonsense("the vDSO is misplaced");
        }
    }
    Ok(())
}

fn check_objects(plan: &Plan) -> Result<(), Error> {
    let mut ids = BTreeSet::new();
    for object in &plan.shared {
        let huge = object.huge_page;
        let huge_is_sane = huge == 0 || (huge.is_power_of_two() && (PAGE_SIZE..=1 << 34).contains(&huge));
        if object.id < FIRST_OBJECT || !ids.insert(object.id) || object.size > TASK_SIZE / 2 || !huge_is_sane
        {
            return nonsense(format!("shared object {} makes no sense", object.id));
        }
        if let Err(why) = object.check() {
            return nonsense(format!("object {}: {why}", object.id));
        }
    }
    Ok(())
}

fn is_file_object(plan: &Plan, id: u32) -> bool {
    plan.object(id).is_some_and(shared::Record::is_file)
}

fn object_holds(plan: &Plan, mapping: &mapping::Record) -> bool {
    let object = plan.object(mapping.object);
    object.is_some_and(|object| {
        let size = object.mapped_size();
        !object.is_file() && mapping.offset.checked_add(mapping.length()).is_some_and(|reach| reach <= size)
    })
}

/// How long the parent of a process that has just been killed may take to take notice.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Sentences for the pids of the image that are taken; by processes that have ended, once the grace is over.
pub(super) fn taken_pids(plan: &Plan, ties: &Ties, grace: Duration) -> Vec<String> {
    let deadline = Instant::now() + grace;
    loop {
        let holders = holders(plan, ties);
        let can_pass = !holders.is_empty() && holders.iter().all(|holder| holder.has_ended);
        if !can_pass || Instant::now() >= deadline {
            return holders.into_iter().map(|holder| holder.sentence).collect();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Who has a pid of the image.
struct Holder {
    /// It has only to be waited for.
    has_ended: bool,
    sentence: String,
}

fn holders(plan: &Plan, ties: &Ties) -> Vec<Holder> {
    let tids = plan.processes.iter().flat_map(|process| &process.tasks).map(|task| task.tid);
    let zombies = plan.zombies.iter().map(|zombie| zombie.pid);
    tids.chain(zombies).chain(ties.passing_pids()).filter_map(who_has).collect()
}

/// How long the process that an image was made of may take to go away once its image has arrived.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the pids of the image are free.
pub(super) fn await_pids(plan: &Plan, ties: &Ties) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match taken_pids(plan, ties, Duration::ZERO) {
            taken if taken.is_empty() => return Ok(()),
            taken if Instant::now() >= deadline => return Err(Error::DoesNotFit(taken)),
            // Its end could be waited for; that its parent takes notice, after which the pid is free, cannot.
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Descriptors of the program may have higher numbers than our soft limit allows.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, a descriptor beyond it fails by name.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Whether any of its tasks is.
pub(super) fn is_under_seccomp(plan: &Plan) -> bool {
    plan.processes.iter().flat_map(|process| &process.tasks).any(|task| task.seccomp.is_on())
}

/// Everything but pids that keeps the image from being restored on this machine, at this time.
pub(super) fn obstacles(plan: &Plan, changed_files: ChangedFiles) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(plan.files.iter().filter_map(|file| file.compare(changed_files).err()));
    let directories = plan.processes.iter().map(|process| &process.process.filesystem);
    let needed = directories.flat_map(|fs| [Some(&fs.root), fs.gone.is_none().then_some(&fs.cwd)]);
    let directories: BTreeSet<&Vec<u8>> = needed.flatten().collect();
    reasons.extend(fd::obstacles(&plan.descriptions));
    let tasks = plan.processes.iter().flat_map(|process| &process.tasks);
    reasons.extend(credentials::obstacles(tasks.map(|task| &task.credentials)));
    reasons.extend(is_under_seccomp(plan).then(seccomp::can_be_suspended).and_then(Result::err));
    for dir in directories {
        if !Path::new(OsStr::from_bytes(dir)).is_dir() {
            reasons.push(format!("the program's directory {} does not exist; create it", show(dir)));
        }
    }
    reasons
}

/// Who has a pid that is needed.
fn who_has(tid: i32) -> Option<Holder> {
    let Ok(status) = crate::view::parse(tid, "status", rekindle_procfs::status::parse) else {
        let group = Pid::from_raw(tid)?;
        let has_members = !matches!(test_kill_process_group(group), Err(Errno::SRCH));
        return has_members.then(|| Holder {
            has_ended: true,
            sentence: format!(
                "pid {tid} is still the number of a process group whose leader has ended; end its members \
                 (`ps -eo pid,pgid,comm`), or restore in a pid namespace of its own"
            ),
        });
    };
    let name = show(&status.name);
    let has_ended = status.state == rekindle_procfs::State::Zombie;
    let sentence = if has_ended {
        let parent = crate::view::parse(status.ppid, "status", rekindle_procfs::status::parse)
            .map_or_else(|_| "?".to_owned(), |parent| show(&parent.name));
        format!(
            "pid {tid} is still held by `{name}`, which has ended but whose parent {} ({parent}) has not taken \
             notice; end that parent, or make it wait for its child",
            status.ppid
        )
    } else {
        format!(
            "pid {tid} is taken by `{name}`; restore when that has ended, or in a pid namespace of its own"
        )
    };
    Some(Holder { has_ended, sentence })
}
