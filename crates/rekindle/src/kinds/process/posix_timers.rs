//! POSIX timers (timer_create(2)): their ids, clocks, whom they notify and how, and what was left of them.
//!
//! /proc/PID/timers tells all but how far each has run, which only the process can ask. The program knows a timer by the
//! number that the kernel gave it, so that each must get the same again: Linux 6.15 lets it be asked for
//! (`PR_TIMER_CREATE_RESTORE_IDS`); before that numbers are given in order, and those in between are taken and given back.
//! An overrun count that nobody has asked for (timer_getoverrun(2)) starts at none again. Processor time is counted from
//! nothing in the restored process: what is left of a timer on it is what was left.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_procfs::timers::{Notify, Target, Timer};
use rekindle_sys::{nr, task};
use rekindle_tracee::{Answers, Batch, Data, StepId, StoppedTask};
use std::path::Path;

/// See the module's story.
pub(super) struct PosixTimers;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The timers, in order of their ids.
    #[prost(message, repeated, tag = "1")]
    pub timers: Vec<PosixTimer>,
}

/// One timer; times in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct PosixTimer {
    /// The kernel's `timer_t`.
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// The clock, as clock_gettime(2) takes it.
    #[prost(int32, tag = "2")]
    pub clock: i32,
    /// `SIGEV_*`
    #[prost(int32, tag = "3")]
    pub notify: i32,
    /// `sigev_signo`
    #[prost(int32, tag = "4")]
    pub signal: i32,
    /// `sigev_value`
    #[prost(fixed64, tag = "5")]
    pub value: u64,
    /// The thread that is notified, with `SIGEV_THREAD_ID`.
    #[prost(int32, tag = "6")]
    pub tid: i32,
    /// The period; 0: none.
    #[prost(uint64, tag = "7")]
    pub interval_ns: u64,
    /// What is left until it expires; 0: it is not armed.
    #[prost(uint64, tag = "8")]
    pub remaining_ns: u64,
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;
/// Clocks beside those of the processor time of somebody told by number. The negative ones are the processor time of the
/// process itself, counted in three ways (include/linux/posix-timers_types.h).
const CLOCKS: [i32; 9] = [0, 1, 7, 8, 9, 11, -6, -7, -8];
/// The processor time of the thread that made the timer, counted in three ways.
const OWN_THREAD_CLOCKS: [i32; 3] = [-2, -3, -4];
const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
/// How high an id may be that is reached by counting.
const COUNTED_MAX: i32 = 10_000;
const NS_PER_S: u64 = 1_000_000_000;
/// Length of `struct itimerspec`.
const LEN: usize = 32;

/// Whether a process with these threads can make a timer that runs on a clock.
fn can_make(clock: i32, tids: &[i32]) -> bool {
    if CLOCKS.contains(&clock) {
        return true;
    }
    if OWN_THREAD_CLOCKS.contains(&clock) {
        // With several, the kernel does not tell which of them made it.
        return tids.len() == 1;
    }
    // clock_getcpuclockid(3): what is counted in the lowest two bits, whether of a thread in the next, and ~pid above.
    clock < 0 && clock & 3 != 3 && tids.contains(&!(clock >> 3))
}

impl PosixTimer {
    fn of(timer: &Timer) -> Option<Self> {
        let how = match timer.notify {
            Notify::Signal => SIGEV_SIGNAL,
            Notify::None => SIGEV_NONE,
            Notify::Thread => SIGEV_THREAD,
            Notify::Other(_) => return None,
        };
        let (notify, tid) = match timer.target {
            Target::Process(_) => (how, 0),
            Target::Thread(0) => return None,
            Target::Thread(tid) => (how | SIGEV_THREAD_ID, tid),
        };
        let Timer { id, signal, value, clock, .. } = *timer;
        Some(Self { id, clock, notify, signal, value, tid, interval_ns: 0, remaining_ns: 0 })
    }

    /// `struct sigevent` (sigevent(3type)): value, signal, how, thread.
    fn event(&self) -> [u8; 64] {
        let mut event = [0; 64];
        event[..8].copy_from_slice(&self.value.to_le_bytes());
        event[8..12].copy_from_slice(&self.signal.to_le_bytes());
        event[12..16].copy_from_slice(&self.notify.to_le_bytes());
        event[16..20].copy_from_slice(&self.tid.to_le_bytes());
        event
    }

    fn create(&self, batch: &mut Batch) {
        let (event, id) = (batch.data(&self.event()), batch.data(&self.id.to_le_bytes()));
        let label = format!("making POSIX timer {}", self.id);
        batch.step(label, nr::TIMER_CREATE, [self.clock.into(), event.into(), id.into()]);
    }

    fn arm(&self, batch: &mut Batch) {
        let times = [self.interval_ns, self.remaining_ns].map(|ns| [ns / NS_PER_S, ns % NS_PER_S]).concat();
        let value = batch.data(&times.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>());
        batch.step("timer_settime", nr::TIMER_SETTIME, [self.id.into(), 0.into(), value.into(), 0.into()]);
    }
}

impl Record {
    /// Whether its numbers make sense for a process with these threads, on this kernel.
    pub fn is_sane(&self, tids: &[i32]) -> bool {
        let ascend = self.timers.windows(2).all(|pair| pair[0].id < pair[1].id);
        let can_be_made = |timer: &PosixTimer| {
            timer.id >= 0
                && (timer.id <= COUNTED_MAX || task::timer_ids_can_be_asked_for())
                && can_make(timer.clock, tids)
                && (timer.tid == 0 || tids.contains(&timer.tid))
        };
        ascend && self.timers.iter().all(can_be_made)
    }
}

fn read(view: &ProcessView) -> Result<Vec<Timer>, Error> {
    // Without the file (CONFIG_POSIX_TIMERS) there are none.
    if !Path::new("/proc/self/timers").exists() {
        return Ok(Vec::new());
    }
    crate::view::parse(view.pid, "timers", rekindle_procfs::timers::parse)
}

impl ProcessKind for PosixTimers {
    type Record = Record;
    type Question = Vec<(StepId, Data)>;

    fn survey(view: &ProcessView, refusals: &mut Refusals) {
        let timers = match read(view) {
            Ok(timers) => timers,
            Err(error) => {
                refusals.add(
                    "unreadable",
                    "its POSIX timers",
                    error.to_string(),
                    "run as its user, or as root",
                );
                return;
            }
        };
        let tids: Vec<i32> = view.threads.iter().map(|thread| thread.tid).collect();
        for timer in timers {
            let why = if PosixTimer::of(&timer).is_none() {
                "it notifies a thread that has ended, or in a way that is not known"
            } else if OWN_THREAD_CLOCKS.contains(&timer.clock) && tids.len() > 1 {
                "it runs on the processor time of a thread, and the kernel does not tell of which"
            } else if !can_make(timer.clock, &tids) {
                "it runs on the processor time of a thread that has ended, or of another process"
            } else if timer.id > COUNTED_MAX && !task::timer_ids_can_be_asked_for() {
                "this kernel (before Linux 6.15) cannot give it its number again"
            } else {
                continue;
            };
            refusals.add(
                "posix-timer",
                format!("POSIX timer {}", timer.id),
                why,
                "let the program delete it",
            );
        }
    }

    fn outside(view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        let mut timers: Vec<PosixTimer> = read(view)?.iter().filter_map(PosixTimer::of).collect();
        timers.sort_by_key(|timer| timer.id);
        Ok(Record { timers })
    }

    fn ask(record: &Record, batch: &mut Batch) -> Self::Question {
        let ask = |timer: &PosixTimer| {
            let value = batch.room(LEN);
            (batch.step("timer_gettime", nr::TIMER_GETTIME, [timer.id.into(), value.into()]), value)
        };
        record.timers.iter().map(ask).collect()
    }

    fn answer(record: &mut Record, question: &Self::Question, answers: &Answers) -> Result<(), Error> {
        for (timer, (_, value)) in record.timers.iter_mut().zip(question) {
            let field = |n: usize| {
                let bytes = answers.bytes(*value);
                bytes.get(n * 8..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
            };
            let time = |n: usize| field(n).saturating_mul(NS_PER_S).saturating_add(field(n + 1));
            (timer.interval_ns, timer.remaining_ns) = (time(0), time(2));
        }
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        // Armed last, so that as little as possible of the remaining time passes before the program runs.
        let (Phase::Pending, Some(last)) = (phase, record.timers.last()) else { return };
        if task::timer_ids_can_be_asked_for() {
            ask_for_ids(1, batch);
            record.timers.iter().for_each(|timer| timer.create(batch));
            ask_for_ids(0, batch);
        } else {
            create_by_counting(&record.timers, last.id, batch);
        }
        record.timers.iter().filter(|timer| timer.remaining_ns != 0).for_each(|timer| timer.arm(batch));
    }
}

/// Whether the timers that are created from here on have the ids that are passed in.
fn ask_for_ids(on: i32, batch: &mut Batch) {
    let args = [PR_TIMER_CREATE_RESTORE_IDS.into(), on.into(), 0.into(), 0.into(), 0.into()];
    batch.step("PR_TIMER_CREATE_RESTORE_IDS", nr::PRCTL, args);
}

/// A new process counts from 0: every number up to the last is taken, and given back if it is none of theirs.
fn create_by_counting(timers: &[PosixTimer], last: i32, batch: &mut Batch) {
    let mut timers = timers.iter().peekable();
    for id in 0..=last.min(COUNTED_MAX) {
        match timers.next_if(|timer| timer.id == id) {
            Some(timer) => timer.create(batch),
            None => {
                PosixTimer { id, clock: 1, notify: SIGEV_NONE, ..PosixTimer::default() }.create(batch);
                batch.step("timer_delete", nr::TIMER_DELETE, [id.into()]);
            }
        }
    }
}
