//! Settings of a task that have a prctl(2) of their own: the signal it gets when its parent dies, timer slack.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StepId, StoppedTask};

/// See the module's story.
pub struct Personal;

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;

const PR_MCE_KILL: i32 = 33;
const PR_MCE_KILL_GET: i32 = 34;
const PR_MCE_KILL_SET: i32 = 1;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `PR_GET_PDEATHSIG`; 0: none.
    #[prost(int32, tag = "1")]
    pub pdeathsig: i32,
    /// `PR_GET_TIMERSLACK`, in nanoseconds.
    #[prost(uint64, tag = "2")]
    pub timerslack_ns: u64,
    /// `PR_MCE_KILL_GET`: what a memory error does to it. 0 late, 1 early, 2 the default.
    #[prost(uint32, optional, tag = "3")]
    pub mce_kill: Option<u32>,
}

impl TaskKind for Personal {
    type Record = Record;
    type Question = (Data, StepId, StepId);

    fn outside(_view: &ProcessView, _task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(batch: &mut Batch) -> Self::Question {
        let pdeathsig = batch.room(4);
        batch.step("PR_GET_PDEATHSIG", nr::PRCTL, [PR_GET_PDEATHSIG.into(), pdeathsig.into()]);
        // A slack above i64::MAX reads as an error; nobody has one.
        let slack = batch.step_may_fail("PR_GET_TIMERSLACK", nr::PRCTL, [PR_GET_TIMERSLACK.into()]);
        // EINVAL in a kernel without memory-failure handling.
        (pdeathsig, slack, batch.step_may_fail("PR_MCE_KILL_GET", nr::PRCTL, [PR_MCE_KILL_GET.into()]))
    }

    fn answer(
        record: &mut Record,
        (pdeathsig, slack, mce_kill): &Self::Question,
        answers: &Answers,
    ) -> Result<(), Error> {
        record.pdeathsig = answers.u32(*pdeathsig) as i32;
        record.timerslack_ns = answers.result(*slack).unwrap_or(0);
        record.mce_kill = answers.result(*mce_kill).ok().map(|value| value as u32);
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase == Phase::Task && record.timerslack_ns != 0 {
            let args = [PR_SET_TIMERSLACK.into(), record.timerslack_ns.into()];
            batch.step_may_fail("PR_SET_TIMERSLACK", nr::PRCTL, args);
        }
        if let Some(mce_kill) = record.mce_kill.filter(|_| phase == Phase::Task) {
            let args = [PR_MCE_KILL.into(), PR_MCE_KILL_SET.into(), mce_kill.into()];
            batch.step_may_fail("PR_MCE_KILL", nr::PRCTL, args);
        }
        if phase == Phase::Settled && record.pdeathsig != 0 {
            let args = [PR_SET_PDEATHSIG.into(), record.pdeathsig.into()];
            batch.step("PR_SET_PDEATHSIG", nr::PRCTL, args);
        }
    }
}
