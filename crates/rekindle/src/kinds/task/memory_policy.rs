//! NUMA policy of a task (set_mempolicy(2)): what its mappings without a policy of their own follow.

use super::super::mem::policy::Record;
use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StepId, StoppedTask};

/// See the module's story.
pub(super) struct MemoryPolicy;

/// Bits of a node mask: more nodes than any kernel is built for.
const NODES: usize = 1024;

impl TaskKind for MemoryPolicy {
    type Record = Record;
    type Question = (StepId, Data, Data);

    fn outside(_view: &ProcessView, _task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(batch: &mut Batch) -> Self::Question {
        let (mode, nodes) = (batch.room(4), batch.room(NODES / 8));
        // ENOSYS in a kernel without NUMA.
        let args = [mode.into(), nodes.into(), NODES.into(), 0.into(), 0.into()];
        (batch.step_may_fail("get_mempolicy", nr::GET_MEMPOLICY, args), mode, nodes)
    }

    fn answer(
        record: &mut Record,
        (step, mode, nodes): &Self::Question,
        answers: &Answers,
    ) -> Result<(), Error> {
        if answers.result(*step).is_ok() {
            let words = answers.bytes(*nodes).chunks_exact(8);
            let nodes = words.map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
            *record = Record::new(answers.u32(*mode), nodes.collect());
        }
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        // Also the default: a newborn process has ours.
        if phase == Phase::Task {
            let (nodes, max_node) = record.node_mask(batch);
            batch.step_may_fail(
                "set_mempolicy",
                nr::SET_MEMPOLICY,
                [record.mode.into(), nodes.into(), max_node.into()],
            );
        }
    }
}
