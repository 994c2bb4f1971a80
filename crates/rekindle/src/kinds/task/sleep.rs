//! A sleep with a time limit that a task was interrupted in: `nanosleep`, `clock_nanosleep`, `poll`, `futex`.
//!
//! The kernel keeps what it needs to go on with such a call in the task (`restart_block`, shown by the return value
//! `ERESTART_RESTARTBLOCK`), where nobody can read it. What is left of the time is known all the same: the kernel has
//! written it to the program's own memory (`nanosleep` with a second argument), or it follows from when the task
//! went to sleep (`se.exec_start` of /proc/PID/sched, read before the freeze), or, in a call that was restarted before, from
//! when its timer is due (`waits/deadlines.rs`).
//!
//! A restored task enters the call again with what was left, and is interrupted in it at once: the kernel then holds
//! the same thing again, and the task goes on from its saved registers as if nothing had happened.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use crate::waits::{Wait, voluntary_switches};
use rekindle_sys::arch::Regs;
use rekindle_sys::vm;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub struct Sleep;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The system call, or -1: it was in none of these.
    #[prost(sint64, tag = "1")]
    pub nr: i64,
    /// Its arguments.
    #[prost(fixed64, repeated, tag = "2")]
    pub args: Vec<u64>,
    /// What was left of its time, in nanoseconds; the whole time where what was left cannot be known.
    #[prost(uint64, tag = "3")]
    pub remaining_ns: u64,
}

const NANOSLEEP: i64 = libc::SYS_nanosleep;
const CLOCK_NANOSLEEP: i64 = libc::SYS_clock_nanosleep;
const POLL: i64 = libc::SYS_poll;
const FUTEX: i64 = libc::SYS_futex;
const RESTART_SYSCALL: i64 = libc::SYS_restart_syscall;
const RESTART_BLOCK: i64 = -516;
const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

impl Record {
    /// The call to enter, and its arguments; `stage` puts bytes where the task can read them. `None`: execute the
    /// original call from its start.
    pub fn restart_call(&self, stage: impl FnOnce(&[u8]) -> u64) -> Option<(u64, [u64; 6])> {
        let args: [u64; 6] = self.args.as_slice().try_into().ok()?;
        let time =
            || [self.remaining_ns / NS_PER_S, self.remaining_ns % NS_PER_S].map(u64::to_le_bytes).concat();
        let with = |position: usize, value: u64| {
            let mut args = args;
            args[position] = value;
            Some((self.nr as u64, args))
        };
        match self.nr {
            NANOSLEEP => with(0, stage(&time())),
            CLOCK_NANOSLEEP => with(2, stage(&time())),
            POLL => with(2, self.remaining_ns.div_ceil(NS_PER_MS)),
            FUTEX => with(3, stage(&time())),
            _ => None,
        }
    }
}

impl TaskKind for Sleep {
    type Record = Record;
    type Question = ();

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let none = Record { nr: -1, ..Record::default() };
        let regs = task.found()?.regs;
        if regs.in_syscall().is_none() || regs.syscall_result() != RESTART_BLOCK {
            return Ok(none);
        }
        let waited = view.waits.get(&task.tid());
        let same = waited.filter(|wait| is_same_sleep(wait, view, task.tid()));
        let nr = match regs.in_syscall() {
            // Restarted once already: its registers no longer say which call it was.
            Some(RESTART_SYSCALL) => waited.map_or(-1, |wait| call_behind(&wait.wchan, &regs)),
            Some(nr) => nr,
            None => -1,
        };
        // Which call it was must be known all the same: it is executed again.
        let Some(limit) = time_limit(view.pid, nr, &regs) else { return Ok(Record { nr, ..none }) };
        let remaining_ns = match limit {
            Limit::Left(left) => left,
            Limit::Whole(whole) => match same.and_then(|wait| wait.left_ns) {
                Some(left) => left.min(whole),
                None => whole.saturating_sub(same.map_or(0, |wait| wait.asleep_ns)),
            },
        };
        Ok(Record { nr, args: regs.syscall_args().to_vec(), remaining_ns })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _tid: i32, _phase: Phase, _batch: &mut Batch) {}
}

/// Whether the sleep that was seen before the freeze is the one that the freeze has interrupted.
fn is_same_sleep(wait: &Wait, view: &ProcessView, tid: i32) -> bool {
    let switches = view.thread(tid).and_then(|thread| voluntary_switches(&thread.status));
    // Going to sleep once, and into our stop.
    switches.is_some_and(|switches| switches <= wait.voluntary_switches + 1)
}

enum Limit {
    /// What is left.
    Left(u64),
    /// What there was at the start.
    Whole(u64),
}

/// The time limit of a call, from its arguments. `None` for a call that is simply executed again: an absolute limit
/// stays what it is.
fn time_limit(pid: i32, nr: i64, regs: &Regs) -> Option<Limit> {
    const TIMER_ABSTIME: u64 = 1;
    const FUTEX_WAIT: u64 = 0;
    const FUTEX_COMMAND: u64 = 0x7f;
    let [a0, a1, a2, a3, ..] = regs.syscall_args();
    match nr {
        NANOSLEEP => sleep_limit(pid, a0, a1),
        CLOCK_NANOSLEEP if a1 & TIMER_ABSTIME == 0 => sleep_limit(pid, a2, a3),
        POLL => Some(Limit::Whole(u64::try_from(a2 as i32).ok()? * NS_PER_MS)),
        FUTEX if a1 & FUTEX_COMMAND == FUTEX_WAIT => Some(Limit::Whole(timespec(pid, a3)?)),
        _ => None,
    }
}

/// An interrupted sleep writes what is left to its second pointer, if it has one.
fn sleep_limit(pid: i32, request: u64, rest: u64) -> Option<Limit> {
    if rest != 0 { timespec(pid, rest).map(Limit::Left) } else { timespec(pid, request).map(Limit::Whole) }
}

fn timespec(pid: i32, address: u64) -> Option<u64> {
    let mut bytes = [0; 16];
    if vm::read(pid, address, &mut bytes) != Ok(16) {
        return None;
    }
    let field = |n: usize| bytes[n..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    field(0).checked_mul(NS_PER_S)?.checked_add(field(8))
}

/// Which call a task is in that restarts it, by the kernel function it waits in (/proc/PID/wchan). A restarted sleep
/// waits in functions that are counted as the scheduler's and not shown.
fn call_behind(wchan: &[u8], regs: &Regs) -> i64 {
    let waits_in = |name: &[u8]| wchan.windows(name.len()).any(|part| part == name);
    // The first argument of one kind of sleep is a clock's number, of the other an address.
    let is_clock = regs.rdi < 4096 || ((regs.rdi as i32) < 0 && regs.rdi >> 32 == u64::from(u32::MAX));
    match () {
        () if waits_in(b"poll") => POLL,
        () if waits_in(b"futex") => FUTEX,
        () if is_clock => CLOCK_NANOSLEEP,
        () => NANOSLEEP,
    }
}
