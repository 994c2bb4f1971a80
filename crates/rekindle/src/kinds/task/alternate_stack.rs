//! The alternate signal stack (sigaltstack(2)), which only the task itself can ask for and set.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StoppedTask};

/// See the module's story.
pub(super) struct AlternateStack;

/// Length of `stack_t`: pointer, flags (and padding), size.
const LEN: usize = 24;
const SS_ONSTACK: u32 = 1;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its lowest address.
    #[prost(fixed64, tag = "1")]
    pub pointer: u64,
    /// `SS_*`
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// Its length in bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
}

impl TaskKind for AlternateStack {
    type Record = Record;
    type Question = Data;

    fn outside(_view: &ProcessView, _task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(batch: &mut Batch) -> Data {
        let old = batch.room(LEN);
        batch.step("sigaltstack", nr::SIGALTSTACK, [0.into(), old.into()]);
        old
    }

    fn answer(record: &mut Record, old: &Data, answers: &Answers) -> Result<(), Error> {
        let bytes = answers.bytes(*old);
        let field = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        // Whether the task is on that stack follows from its stack pointer, which was elsewhere when we asked.
        *record = Record { pointer: field(0), flags: field(8) as u32 & !SS_ONSTACK, size: field(16) };
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        // Also when there is none: the leader was born with that of the thread of ours that cloned it.
        if phase != Phase::Task {
            return;
        }
        let fields = [record.pointer, record.flags.into(), record.size];
        let new = batch.data(&fields.map(u64::to_le_bytes).concat());
        batch.step("sigaltstack", nr::SIGALTSTACK, [new.into(), 0.into()]);
    }
}
