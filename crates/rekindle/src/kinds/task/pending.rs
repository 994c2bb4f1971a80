//! Signals that are pending for one task, in order, with what came with them (`siginfo_t`).
//!
//! Only the process itself may queue a signal with the code of the kernel or of kill(2), so that a restored task
//! queues its own.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_sys::ptrace::Queue;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub struct Pending;

/// A queue of signals.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Signals {
    /// `siginfo_t` of each, 128 bytes.
    #[prost(bytes = "vec", repeated, tag = "1")]
    #[serde(serialize_with = "crate::json::sizes")]
    pub infos: Vec<Vec<u8>>,
}

impl Signals {
    /// Number and `siginfo_t` of each signal.
    pub fn each(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.infos.iter().filter(|info| info.len() == 128).map(|info| {
            let number = info.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
            (number, info.as_slice())
        })
    }
}

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The queue.
    #[prost(message, required, tag = "1")]
    pub signals: Signals,
    /// The process of the task.
    #[prost(int32, tag = "2")]
    pub pid: i32,
}

/// Reads a queue.
pub fn read(task: &StoppedTask, queue: Queue) -> Result<Signals, Error> {
    Ok(Signals { infos: task.pending(queue)?.iter().map(|info| info.to_vec()).collect() })
}

impl TaskKind for Pending {
    type Record = Record;
    type Question = ();

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record { signals: read(task, Queue::Private)?, pid: view.pid })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, tid: i32, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Pending {
            return;
        }
        for (signal, info) in record.signals.each() {
            let info = batch.data(info);
            let args = [record.pid.into(), tid.into(), signal.into(), info.into()];
            batch.step("queueing a signal", nr::RT_TGSIGQUEUEINFO, args);
        }
    }
}
