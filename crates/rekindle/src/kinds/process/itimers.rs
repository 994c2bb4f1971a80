//! The three interval timers (getitimer(2)), with what was left of them.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StoppedTask};

/// See the module's story.
pub(super) struct Itimers;

/// Length of `struct itimerval`.
const LEN: usize = 32;
/// setitimer(2)
const SETITIMER: u32 = libc::SYS_setitimer as u32;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// For each timer that is armed: its number, then interval and remaining time as `struct itimerval` has them.
    #[prost(message, repeated, tag = "1")]
    pub armed: Vec<Itimer>,
}

/// One armed timer; times in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Itimer {
    /// `ITIMER_REAL` 0, `ITIMER_VIRTUAL` 1, `ITIMER_PROF` 2.
    #[prost(int32, tag = "1")]
    pub which: i32,
    /// The period.
    #[prost(uint64, tag = "2")]
    pub interval_us: u64,
    /// What is left of the current one.
    #[prost(uint64, tag = "3")]
    pub remaining_us: u64,
}

impl ProcessKind for Itimers {
    type Record = Record;
    type Question = Vec<Data>;

    fn outside(_view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(_record: &Record, batch: &mut Batch) -> Self::Question {
        (0..3)
            .map(|which| {
                let value = batch.room(LEN);
                batch.step("getitimer", nr::GETITIMER, [which.into(), value.into()]);
                value
            })
            .collect()
    }

    fn answer(record: &mut Record, question: &Self::Question, answers: &Answers) -> Result<(), Error> {
        for (which, value) in (0..).zip(question) {
            let field = |n: usize| {
                let bytes = answers.bytes(*value);
                bytes.get(n * 8..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
            };
            let micros = |n: usize| field(n) * 1_000_000 + field(n + 1);
            let timer = Itimer { which, interval_us: micros(0), remaining_us: micros(2) };
            if timer.remaining_us != 0 {
                record.armed.push(timer);
            }
        }
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        // Armed last, so that as little as possible of the remaining time passes before the program runs.
        if phase != Phase::Pending {
            return;
        }
        for timer in &record.armed {
            let fields =
                [timer.interval_us, timer.remaining_us].map(|us| [us / 1_000_000, us % 1_000_000]).concat();
            let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
            let value = batch.data(&bytes);
            batch.step("setitimer", SETITIMER, [timer.which.into(), value.into(), 0.into()]);
        }
    }
}
