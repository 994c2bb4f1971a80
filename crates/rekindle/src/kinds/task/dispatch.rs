//! Syscall user dispatch (Documentation/admin-guide/syscall-user-dispatch.rst): a task that has it on gets `SIGSYS` instead
//! of a system call from outside a range of its code, as long as a byte of its memory, the selector, says so.
//!
//! What we have such a task execute would raise that signal, too. Where the selector lets calls through, nothing needs to be
//! changed; else it cannot be captured at this moment: to turn it off meanwhile would lose it, should we die.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_sys::ptrace::{self, SyscallUserDispatch};
use rekindle_sys::vm;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub(super) struct Dispatch;

/// `SYSCALL_DISPATCH_FILTER_ALLOW`
const ALLOW: u8 = 0;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `PR_SYS_DISPATCH_*`; 0: off.
    #[prost(uint64, tag = "1")]
    pub mode: u64,
    /// Where the selector is; 0: there is none.
    #[prost(fixed64, tag = "2")]
    pub selector: u64,
    /// Where the code begins whose calls are let through.
    #[prost(fixed64, tag = "3")]
    pub offset: u64,
    /// Its length.
    #[prost(uint64, tag = "4")]
    pub len: u64,
}

fn lets_calls_through(tid: i32, config: &SyscallUserDispatch) -> bool {
    let mut selector = [0];
    config.selector != 0 && vm::read(tid, config.selector, &mut selector) == Ok(1) && selector[0] == ALLOW
}

impl TaskKind for Dispatch {
    type Record = Record;
    type Question = ();

    fn survey_stopped(task: &StoppedTask, refusals: &mut Refusals) {
        // A kernel that cannot tell (before Linux 6.4) has it hardly ever in use.
        let Ok(config) = ptrace::get_syscall_user_dispatch(task.tid()) else { return };
        if config.mode != 0 && !lets_calls_through(task.tid(), &config) {
            refusals.add(
                "syscall-user-dispatch",
                format!("thread {}", task.tid()),
                "its system calls are diverted by syscall user dispatch at this moment",
                "try again when the program lets calls through (its selector is SYSCALL_DISPATCH_FILTER_ALLOW)",
            );
        }
    }

    fn outside(_view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let SyscallUserDispatch { mode, selector, offset, len } =
            ptrace::get_syscall_user_dispatch(task.tid()).unwrap_or_default();
        Ok(Record { mode, selector, offset, len })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _tid: i32, _phase: Phase, _batch: &mut Batch) {}

    fn restore_stopped(record: &Record, task: &StoppedTask) -> Result<(), Error> {
        let Record { mode, selector, offset, len } = *record;
        if mode == 0 {
            return Ok(());
        }
        let what = || format!("turning on the syscall user dispatch of task {}", task.tid());
        ptrace::set_syscall_user_dispatch(task.tid(), &SyscallUserDispatch { mode, selector, offset, len })
            .map_err(|errno| Error::call(what(), errno))
    }
}
