//! What the kernel does for a thread when it ends: the word it clears and wakes (set_tid_address(2); how
//! `pthread_join` waits), and the list of robust mutexes it marks (set_robust_list(2)).

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::{nr, task};
use rekindle_tracee::{Answers, Batch, Data, StoppedTask};

/// See the module's story.
pub(super) struct ExitNotice;

const PR_GET_TID_ADDRESS: i32 = 40;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The word that is cleared; 0: none.
    #[prost(fixed64, tag = "1")]
    pub clear_child_tid: u64,
    /// The head of the robust list; 0: none.
    #[prost(fixed64, tag = "2")]
    pub robust_list: u64,
    /// Its length, as the program gave it.
    #[prost(uint64, tag = "3")]
    pub robust_list_len: u64,
}

impl TaskKind for ExitNotice {
    type Record = Record;
    type Question = Data;

    fn outside(_view: &ProcessView, stopped: &StoppedTask) -> Result<Record, Error> {
        let (robust_list, robust_list_len) = task::get_robust_list(stopped.tid())
            .map_err(|errno| Error::call(format!("get_robust_list of task {}", stopped.tid()), errno))?;
        Ok(Record { clear_child_tid: 0, robust_list, robust_list_len })
    }

    fn ask(batch: &mut Batch) -> Data {
        let address = batch.room(8);
        // Needs CONFIG_CHECKPOINT_RESTORE, which every distribution's kernel has.
        batch.step("PR_GET_TID_ADDRESS", nr::PRCTL, [PR_GET_TID_ADDRESS.into(), address.into()]);
        address
    }

    fn answer(record: &mut Record, address: &Data, answers: &Answers) -> Result<(), Error> {
        record.clear_child_tid = answers.u64(*address);
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Task {
            return;
        }
        batch.step("set_tid_address", nr::SET_TID_ADDRESS, [record.clear_child_tid.into()]);
        if record.robust_list != 0 {
            let args = [record.robust_list.into(), record.robust_list_len.into()];
            batch.step("set_robust_list", nr::SET_ROBUST_LIST, args);
        }
    }
}
