//! Registers: general ones, the whole XSAVE area, FS and GS base, and the signal mask. Set last of all, by ptrace.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::arch::Regs;
use rekindle_tracee::{Answers, Batch, StoppedTask};
use zerocopy::{FromBytes, IntoBytes};

/// See the module's story.
pub struct Registers;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `struct user_regs_struct`, as `NT_PRSTATUS` has it.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub general: Vec<u8>,
    /// The XSAVE area in the standard format, as `NT_X86_XSTATE` has it.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub xsave: Vec<u8>,
    /// The signal mask, bit n-1 for signal n.
    #[prost(fixed64, tag = "3")]
    pub sigmask: u64,
    /// The instruction pointer, for readers.
    #[prost(fixed64, tag = "4")]
    pub rip: u64,
    /// The stack pointer, for readers.
    #[prost(fixed64, tag = "5")]
    pub rsp: u64,
    /// The number of the system call it was in, or -1.
    #[prost(sint64, tag = "6")]
    pub syscall: i64,
}

impl Record {
    /// The general registers; `None` when the record holds something else.
    pub fn regs(&self) -> Option<Regs> {
        Regs::read_from_bytes(&self.general).ok()
    }
}

impl TaskKind for Registers {
    type Record = Record;
    type Question = ();

    fn outside(_view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let found = task.found()?;
        let regs = &found.regs;
        Ok(Record {
            general: regs.as_bytes().to_vec(),
            xsave: found.xsave.clone(),
            sigmask: found.sigmask,
            rip: regs.rip,
            rsp: regs.rsp,
            syscall: regs.in_syscall().unwrap_or(-1),
        })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _tid: i32, _phase: Phase, _batch: &mut Batch) {}

    /// All but the general registers, which the orchestration sets when it has settled interrupted system calls.
    fn restore_stopped(record: &Record, task: &StoppedTask) -> Result<(), Error> {
        task.set_xsave(&record.xsave)?;
        Ok(task.set_sigmask(record.sigmask)?)
    }
}
