//! What the process does on each signal: handler, flags, restorer, mask (`CLONE_SIGHAND`; rt_sigaction(2)).

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_sys::signal::COUNT;
use rekindle_tracee::{Answers, Batch, Data, StoppedTask};

/// See the module's story.
pub(super) struct SignalActions;

/// Length of the kernel's `struct sigaction` on x86_64: handler, flags, restorer, mask.
const LEN: usize = 32;
/// Length of a signal mask, as the calls want it told.
const MASK_LEN: i32 = 8;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The actions that differ from the default.
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
}

/// The action on one signal.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Action {
    /// The signal.
    #[prost(int32, tag = "1")]
    pub signal: i32,
    /// Address of the handler, or 1: ignored.
    #[prost(fixed64, tag = "2")]
    pub handler: u64,
    /// `SA_*`.
    #[prost(fixed64, tag = "3")]
    pub flags: u64,
    /// Address of the code that returns from a handler.
    #[prost(fixed64, tag = "4")]
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    #[prost(fixed64, tag = "5")]
    pub mask: u64,
}

/// Signals whose action can be set: all but `SIGKILL` and `SIGSTOP`.
fn settable() -> impl Iterator<Item = i32> {
    (1..=COUNT).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
}

impl ProcessKind for SignalActions {
    type Record = Record;
    type Question = Vec<(i32, Data)>;

    fn outside(_view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(_record: &Record, batch: &mut Batch) -> Self::Question {
        settable()
            .map(|signal| {
                let old = batch.room(LEN);
                batch.step(
                    "rt_sigaction",
                    nr::RT_SIGACTION,
                    [signal.into(), 0.into(), old.into(), MASK_LEN.into()],
                );
                (signal, old)
            })
            .collect()
    }

    fn answer(record: &mut Record, question: &Self::Question, answers: &Answers) -> Result<(), Error> {
        for (signal, old) in question {
            let field = |n: usize| {
                let bytes = answers.bytes(*old);
                bytes.get(n * 8..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
            };
            let action = Action {
                signal: *signal,
                handler: field(0),
                flags: field(1),
                restorer: field(2),
                mask: field(3),
            };
            if action != (Action { signal: *signal, ..Action::default() }) {
                record.actions.push(action);
            }
        }
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Attributes {
            return;
        }
        // All of them: what we ignore, a newborn process of ours ignores too.
        for signal in settable() {
            let action =
                record.actions.iter().find(|action| action.signal == signal).copied().unwrap_or_default();
            let fields = [action.handler, action.flags, action.restorer, action.mask];
            let new = batch.data(&fields.map(u64::to_le_bytes).concat());
            batch.step(
                "rt_sigaction",
                nr::RT_SIGACTION,
                [signal.into(), new.into(), 0.into(), MASK_LEN.into()],
            );
        }
    }
}
