//! What a ring tells only its own process, asked while that is borrowed; and the time that operations get to end.
//!
//! A program is frozen in the middle of its reads and writes. The kernel goes on with them, but most tell that they are done
//! only when the task that submitted them passes through the kernel: so all tasks ask their rings for completions, which
//! changes nothing that any other call of theirs would not have changed, until no operation is left but those that wait for
//! a file or a time.

use super::flight;
use super::told::Told;
use crate::error::Error;
use crate::kinds::fd::anonymous;
use crate::view::{FdView, ProcessView};
use rekindle_sys::uring::{self, register};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Answers, Batch, Frozen, Hijack, StepId};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// What is known of the rings of a process.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    /// By the number of a descriptor.
    by_fd: HashMap<i32, Inside>,
    /// A task has registered a ring (`IORING_REGISTER_RING_FDS`).
    pub(super) has_registered: bool,
}

/// What a ring has told its process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inside {
    /// What the harmless question was answered with: nothing is wrong but its length.
    pub(super) asked: Option<Errno>,
    /// Whether an eventfd is registered.
    pub(super) has_eventfd: bool,
    /// Whether devices are polled for completions (`IORING_SETUP_IOPOLL`).
    pub(super) polls_devices: bool,
    /// Whether buffers are provided to it.
    pub(super) has_provided: bool,
    /// Whether it is not enabled yet (`IORING_SETUP_R_DISABLED`).
    pub(super) is_disabled: bool,
}

impl Rings {
    pub(super) fn of(&self, fd: i32) -> Option<&Inside> {
        self.by_fd.get(&fd)
    }
}

/// Whether a descriptor is a ring.
pub(super) fn is_ring(fd: &FdView) -> bool {
    anonymous::is(fd, "io_uring")
}

/// Groups of provided buffers that are looked for.
const GROUPS: u32 = 32;
/// How long operations get while nothing ends, and at most.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_secs(3);

/// Asks, and waits for what is at work.
pub fn settle(view: &ProcessView, frozen: &mut Frozen) -> Result<Rings, Error> {
    let mut seen = BTreeSet::new();
    let fds: Vec<i32> =
        view.fds.iter().filter(|fd| is_ring(fd) && seen.insert(fd.ino)).map(|fd| fd.fd).collect();
    if fds.is_empty() {
        return Ok(Rings::default());
    }
    let others = frozen.tasks()[1..].to_vec();
    let mut hijack = Hijack::begin(frozen, &view.plain_mappings())?;
    let mut batch = Batch::new();
    let registered = ask_for_registered(uring::REGISTERED_RINGS_MAX, &mut batch);
    let questions: Vec<_> = fds.iter().map(|fd| Question::ask(*fd, &mut batch)).collect();
    let answers = hijack.run(&batch)?;
    let mut rings = Rings { has_registered: is_registered(&registered, &answers), ..Rings::default() };
    rings.by_fd.extend(questions.iter().map(|question| (question.fd, question.answer(&answers))));

    let mut passing = Batch::new();
    let registered = ask_for_registered(1, &mut passing);
    for fd in &fds {
        let args = [(*fd).into(), 0.into(), 0.into(), uring::ENTER_GETEVENTS.into(), 0.into(), 0.into()];
        passing.step_may_fail("io_uring_enter", nr::IO_URING_ENTER, args);
    }
    let (begin, mut last, mut changed) = (Instant::now(), Vec::new(), Instant::now());
    loop {
        hijack.run(&passing)?;
        for answers in hijack.ask(&others, &passing)? {
            rings.has_registered |= is_registered(&registered, &answers);
        }
        let now: Vec<i32> = fds.iter().map(|fd| at_work(view.pid, *fd)).collect::<Result<_, _>>()?;
        if now.iter().all(|count| *count <= 0)
            || changed.elapsed() > PATIENCE
            || begin.elapsed() > PATIENCE_MAX
        {
            break;
        }
        if now != last {
            (last, changed) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(1)); // a device tells nobody but the task when it is done
    }
    hijack.end()?;
    Ok(rings)
}

/// How many operations are in flight beside those that wait for a file, as far as can be told.
fn at_work(pid: i32, fd: i32) -> Result<i32, Error> {
    let told = Told::read(pid, fd)?;
    let queued = if told.thread.is_some() { told.queued().min(told.sq_entries).cast_signed() } else { 0 };
    Ok(flight::count(&told, 0, 0) - told.polls.len() as i32 + queued)
}

/// Steps that succeed where a task has registered a ring (io_uring_enter(2), `IORING_ENTER_REGISTERED_RING`).
fn ask_for_registered(count: u32, batch: &mut Batch) -> Vec<StepId> {
    let ask = |index: u32| {
        let args =
            [index.into(), 0.into(), 0.into(), uring::ENTER_REGISTERED_RING.into(), 0.into(), 0.into()];
        batch.step_may_fail("io_uring_enter", nr::IO_URING_ENTER, args)
    };
    (0..count).map(ask).collect()
}

fn is_registered(steps: &[StepId], answers: &Answers) -> bool {
    steps.iter().any(|step| answers.result(*step).is_ok())
}

/// Questions whose answers are errors that tell something (io_uring/register.c): each has an argument that makes no sense,
/// looked at after what is asked for.
struct Question {
    fd: i32,
    enter: StepId,
    probe: StepId,
    eventfd: StepId,
    napi: StepId,
    groups: Vec<StepId>,
}

impl Question {
    fn ask(fd: i32, batch: &mut Batch) -> Self {
        const NOWHERE: u64 = 1;
        const TOO_MANY: u32 = 300;
        let enter = batch.step_may_fail("io_uring_enter", nr::IO_URING_ENTER, [fd.into(), 0.into()]);
        let room = batch.room(16);
        let ask = |batch: &mut Batch, what: u32, argument, len: u32| {
            let args = [fd.into(), what.into(), argument, len.into()];
            batch.step_may_fail("io_uring_register", nr::IO_URING_REGISTER, args)
        };
        let probe = ask(batch, register::PROBE, room.into(), TOO_MANY);
        let eventfd = ask(batch, register::EVENTFD, NOWHERE.into(), 1);
        let napi = ask(batch, register::NAPI, NOWHERE.into(), 1);
        let group = |group: u32| {
            // `struct io_uring_buf_status`: group, head, reserved
            let mut status = [0; 40];
            status[..4].copy_from_slice(&group.to_le_bytes());
            let status = batch.data(&status);
            ask(batch, register::PBUF_STATUS, status.into(), 1)
        };
        Self { fd, enter, probe, eventfd, napi, groups: (0..GROUPS).map(group).collect() }
    }

    fn answer(&self, answers: &Answers) -> Inside {
        let why = |step: &StepId| answers.result(*step).err();
        // `ENOENT`: no such group. `EEXIST`, `EACCES`: nothing may be asked, which `asked` tells. `EINVAL`: an old kernel,
        // or a group of the older form; the kernel that cannot tell has no question for rings of buffers either.
        let has_no_group =
            |step: &StepId| matches!(why(step), Some(Errno::NOENT | Errno::EXIST | Errno::ACCESS));
        Inside {
            asked: why(&self.probe),
            has_eventfd: why(&self.eventfd) == Some(Errno::BUSY),
            polls_devices: why(&self.napi) == Some(Errno::INVAL),
            has_provided: !self.groups.iter().all(has_no_group),
            is_disabled: why(&self.enter) == Some(Errno::BADFD),
        }
    }
}
