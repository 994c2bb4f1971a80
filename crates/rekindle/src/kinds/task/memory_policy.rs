//! NUMA policy of a task (set_mempolicy(2)): what its mappings without a policy of their own follow.

use super::super::mem::policy::{self, Record};
use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub(super) struct MemoryPolicy;

impl TaskKind for MemoryPolicy {
    type Record = Record;
    type Question = policy::Question;

    fn outside(_view: &ProcessView, _task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(batch: &mut Batch) -> Self::Question {
        policy::ask(None, batch)
    }

    fn answer(record: &mut Record, question: &Self::Question, answers: &Answers) -> Result<(), Error> {
        *record = policy::answer(question, answers);
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
