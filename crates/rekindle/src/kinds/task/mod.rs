//! What each task has one of. A kind is a file here and a line in the table below.

mod alternate_stack;
pub mod credentials;
mod dispatch;
mod exit_notice;
mod memory_policy;
mod name;
pub mod pending;
pub mod personal;
pub mod registers;
pub mod rseq;
mod scheduling;
pub mod seccomp;
mod segments;
pub mod sleep;

use super::mem::policy;
use super::{Phase, TaskKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_tracee::{Answers, Batch, StoppedTask};

macro_rules! task_kinds {
    ($($tag:literal $name:ident: $kind:ty, $record:ty;)*) => {
        /// The record of a task: one field a kind.
        #[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
        #[expect(missing_docs, reason = "each field's type says what it is")]
        pub struct Task {
            /// Its tid in its own pid namespace.
            #[prost(int32, tag = "1")]
            pub tid: i32,
            $(#[prost(message, required, tag = $tag)] pub $name: $record,)*
        }

        /// The steps by which the kinds ask.
        pub struct Questions {
            $($name: <$kind as TaskKind>::Question,)*
        }

        impl Task {
            /// The names of the kinds.
            pub const KINDS: &[&str] = &[$(stringify!($name)),*];

            /// What of a process's tasks cannot be captured.
            pub fn survey(view: &ProcessView, refusals: &mut Refusals) {
                $(<$kind>::survey(view, refusals);)*
            }

            /// What of a task that stands still cannot be captured, though /proc does not tell.
            pub fn survey_stopped(task: &StoppedTask, refusals: &mut Refusals) {
                $(<$kind>::survey_stopped(task, refusals);)*
            }

            /// What can be read from outside.
            pub fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Self, Error> {
                Ok(Self { tid: task.tid(), $($name: <$kind>::outside(view, task)?,)* })
            }

            /// The steps that ask for the rest.
            pub fn ask(batch: &mut Batch) -> Questions {
                Questions { $($name: <$kind>::ask(batch),)* }
            }

            /// Completes the record.
            pub fn answer(&mut self, questions: &Questions, answers: &Answers) -> Result<(), Error> {
                $(<$kind>::answer(&mut self.$name, &questions.$name, answers)?;)*
                Ok(())
            }

            /// The steps of a phase that bring it back.
            pub fn restore(&self, phase: Phase, batch: &mut Batch) {
                $(<$kind>::restore(&self.$name, self.tid, phase, batch);)*
            }

            /// What ptrace sets on the stopped task.
            pub fn restore_stopped(&self, task: &StoppedTask) -> Result<(), Error> {
                $(<$kind>::restore_stopped(&self.$name, task)?;)*
                Ok(())
            }

            /// What is set from outside.
            pub fn restore_outside(&self, pid: i32) -> Result<(), Error> {
                $(<$kind>::restore_outside(&self.$name, pid, self.tid)?;)*
                Ok(())
            }
        }
    };
}

task_kinds! {
    "2" registers: registers::Registers, registers::Record;
    "3" name: name::Name, name::Record;
    "4" exit_notice: exit_notice::ExitNotice, exit_notice::Record;
    "5" rseq: rseq::Rseq, rseq::Record;
    "6" alternate_stack: alternate_stack::AlternateStack, alternate_stack::Record;
    "7" segments: segments::Segments, segments::Record;
    "8" scheduling: scheduling::Scheduling, scheduling::Record;
    "9" credentials: credentials::Credentials, credentials::Record;
    "10" personal: personal::Personal, personal::Record;
    "11" pending: pending::Pending, pending::Record;
    "13" memory_policy: memory_policy::MemoryPolicy, policy::Record;
    "12" sleep: sleep::Sleep, sleep::Record;
    "20" seccomp: seccomp::Seccomp, seccomp::Record;
    "21" dispatch: dispatch::Dispatch, dispatch::Record;
}
