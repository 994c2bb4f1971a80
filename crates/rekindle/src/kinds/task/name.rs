//! The name of a task (`PR_SET_NAME`, /proc/PID/task/TID/comm).

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StoppedTask};

/// See the module's story.
pub(super) struct Name;

/// `TASK_COMM_LEN`
const LEN: usize = 16;
const PR_SET_NAME: i32 = 15;
const PR_GET_NAME: i32 = 16;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The name, at most 15 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub comm: Vec<u8>,
}

impl TaskKind for Name {
    type Record = Record;
    type Question = Data;

    fn outside(_view: &ProcessView, _task: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(batch: &mut Batch) -> Data {
        let name = batch.room(LEN);
        batch.step("PR_GET_NAME", nr::PRCTL, [PR_GET_NAME.into(), name.into()]);
        name
    }

    fn answer(record: &mut Record, name: &Data, answers: &Answers) -> Result<(), Error> {
        record.comm = answers.bytes(*name).split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase == Phase::Task {
            let name = batch.c_string(&record.comm);
            batch.step("PR_SET_NAME", nr::PRCTL, [PR_SET_NAME.into(), name.into()]);
        }
    }
}
