//! Restartable sequences (rseq(2)): the area that the kernel keeps the number of the processor in, and the sequence a
//! task is inside of.
//!
//! A task that was inside a sequence is continued at the sequence's abort handler, as after a migration to another
//! processor. On the living process the kernel does that by itself, or `rekindle-tracee` for a thread that it borrowed.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub struct Rseq;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Where the area is; 0: none.
    #[prost(fixed64, tag = "1")]
    pub address: u64,
    /// Its length.
    #[prost(uint32, tag = "2")]
    pub size: u32,
    /// The signature before abort handlers.
    #[prost(uint32, tag = "3")]
    pub signature: u32,
    /// Where to continue instead of the saved instruction pointer; 0: nowhere else.
    #[prost(fixed64, tag = "4")]
    pub abort_ip: u64,
}

impl TaskKind for Rseq {
    type Record = Record;
    type Question = ();

    fn outside(_view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let found = task.found()?;
        let Some(area) = found.rseq else { return Ok(Record::default()) };
        let abort_ip = found.abort_ip.unwrap_or(0);
        Ok(Record { address: area.address, size: area.size, signature: area.signature, abort_ip })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase == Phase::Task && record.address != 0 {
            let args = [record.address.into(), record.size.into(), 0.into(), record.signature.into()];
            batch.step("rseq", nr::RSEQ, args);
        }
    }
}
