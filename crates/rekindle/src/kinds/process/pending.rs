//! Signals that are pending for the process as a whole, in order, with what came with them.

use super::super::task::pending::{self, Signals};
use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_sys::ptrace::Queue;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub(super) struct SharedPending;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The queue.
    #[prost(message, required, tag = "1")]
    pub signals: Signals,
    /// The process they are sent to.
    #[prost(int32, tag = "2")]
    pub pid: i32,
}

impl ProcessKind for SharedPending {
    type Record = Record;
    type Question = ();

    fn outside(view: &ProcessView, leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record { signals: pending::read(leader, Queue::Shared)?, pid: view.pid })
    }

    fn ask(_record: &Record, _batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Pending {
            return;
        }
        for (signal, info) in record.signals.each() {
            let info = batch.data(info);
            let args = [record.pid.into(), signal.into(), info.into()];
            batch.step("queueing a signal", nr::RT_SIGQUEUEINFO, args);
        }
    }
}
