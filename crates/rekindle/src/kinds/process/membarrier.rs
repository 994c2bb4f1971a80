//! What a process has registered for membarrier(2): the expedited commands are refused (`EPERM`) to one that has not said
//! beforehand that it will use them, as the runtimes of Java, .NET and Go's race detector do at their start.
//!
//! Linux 6.3 tells (`MEMBARRIER_CMD_GET_REGISTRATIONS`). Before, a process is taken to have registered for all that is its
//! own: that lets it do what it may have asked for, and costs a flag.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StepId, StoppedTask};

/// See the module's story.
pub(super) struct Membarrier;

/// Its form in the image.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The commands with which it has registered, as a set (include/uapi/linux/membarrier.h, `MEMBARRIER_CMD_REGISTER_*`).
    #[prost(uint32, tag = "1")]
    pub registered: u32,
    /// Whether the kernel did not tell; then the set is what it can have registered for.
    #[prost(bool, tag = "2")]
    pub assumed: bool,
}

const GET_REGISTRATIONS: i32 = 1 << 9;
const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`, `..._SYNC_CORE`, `..._RSEQ`
const REGISTER_PRIVATE: [u32; 3] = [1 << 4, 1 << 6, 1 << 8];

impl Record {
    /// Whether it holds nothing but registrations that are known.
    pub fn is_sane(&self) -> bool {
        let known = REGISTER_PRIVATE.iter().fold(REGISTER_GLOBAL_EXPEDITED, |all, one| all | one);
        self.registered & !known == 0
    }
}

impl ProcessKind for Membarrier {
    type Record = Record;
    type Question = StepId;

    fn outside(_view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(_record: &Record, batch: &mut Batch) -> Self::Question {
        batch.step_may_fail("membarrier", nr::MEMBARRIER, [GET_REGISTRATIONS.into(), 0.into(), 0.into()])
    }

    fn answer(record: &mut Record, question: &Self::Question, answers: &Answers) -> Result<(), Error> {
        *record = match answers.result(*question) {
            Ok(registered) => Record { registered: registered as u32, assumed: false },
            Err(_) => {
                Record { registered: REGISTER_PRIVATE.iter().fold(0, |all, one| all | one), assumed: true }
            }
        };
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        // While it has one thread: later the kernel waits until all processors have taken note.
        if phase != Phase::Attributes {
            return;
        }
        for command in [REGISTER_GLOBAL_EXPEDITED].into_iter().chain(REGISTER_PRIVATE) {
            let args = [command.into(), 0.into(), 0.into()];
            if record.registered & command == 0 {
            } else if record.assumed {
                batch.step_may_fail("registering for membarrier", nr::MEMBARRIER, args);
            } else {
                batch.step("registering for membarrier", nr::MEMBARRIER, args);
            }
        }
    }
}
