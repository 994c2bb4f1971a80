//! Restartable sequences (rseq(2)): the area that the kernel keeps the number of the processor in, and the sequence a
//! task is inside of.
//!
//! A task that was inside a sequence is continued at the sequence's abort handler, as after a migration to another
//! processor. On the living process the kernel does that by itself.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::{nr, vm};
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub struct Rseq;

/// Offset of `rseq_cs` in `struct rseq` (include/uapi/linux/rseq.h).
const RSEQ_CS: u64 = 8;

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

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let Some(area) = task.rseq().filter(|area| area.address != 0) else {
            return Ok(Record::default());
        };
        let abort_ip = abort_ip(view.pid, area.address, task.regs()?.rip).unwrap_or(0);
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

/// The abort handler of the sequence that `rip` is inside of: `struct rseq_cs` is {version, flags, start, length,
/// abort}.
fn abort_ip(pid: i32, area: u64, rip: u64) -> Option<u64> {
    let descriptor = read_u64(pid, area + RSEQ_CS)?;
    if descriptor == 0 {
        return None;
    }
    let (start, length) = (read_u64(pid, descriptor + 8)?, read_u64(pid, descriptor + 16)?);
    let abort = read_u64(pid, descriptor + 24)?;
    (rip.wrapping_sub(start) < length).then_some(abort)
}

fn read_u64(pid: i32, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (vm::read(pid, address, &mut bytes) == Ok(8)).then(|| u64::from_le_bytes(bytes))
}
