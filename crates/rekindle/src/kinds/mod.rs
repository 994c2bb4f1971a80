//! The kinds of resources a process owns, each in a place of its own.
//!
//! Three tables register them all: what a process has one of ([`process`]), what each task has one of ([`task`]),
//! and what descriptors can refer to ([`fd`]); memory ([`mem`]) is a kind apart. Orchestration (`checkpoint`,
//! `restore`, `check`, `inspect`) goes through the tables and knows no kind by name.
//!
//! A kind that a process has one of goes through these stations:
//!
//! ```text
//! checkpoint   survey ──  outside ── ask ── answer      /proc only; ptrace; steps for the task; what they returned
//! restore      restore(phase, batch)                    steps for the task, in the phase where they belong
//! ```

pub mod clocks;
pub mod fd;
pub mod gone_directory;
pub mod ipc;
pub mod mem;
pub mod message_queues;
pub mod process;
pub mod semaphores;
#[cfg(test)]
mod support_matrix;
pub mod task;

use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// When in a restore a step is executed. The order is that of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// First, while nothing of the program is there: what decides how memory is laid out.
    Space,
    /// With memory in place, and still with all privileges: files, directories, handlers, settings.
    Attributes,
    /// After threads exist, in each task: what belongs to it alone.
    Task,
    /// Nobody but the superuser may look at the process, or attach to it, from here on until all its tasks have the
    /// rights they had.
    Hidden,
    /// Seccomp filters that all tasks of a process have, with all privileges: they do not apply yet.
    CommonFilters,
    /// Those that each task has of its own, on top.
    Filters,
    /// Limits and credentials: last but for signals, as what comes before may need rights that they take away, and
    /// nobody may meet the process with more rights than it had.
    Rights,
    /// What a change of credentials resets, and what would have forbidden earlier steps.
    Settled,
    /// Signals that were pending: after everything that could have raised one of its own.
    Pending,
}

/// State that a process has one of.
pub trait ProcessKind {
    /// Its form in the image.
    type Record: prost::Message + Default;
    /// The steps that it asks its questions with.
    type Question;

    /// Says what of it cannot be captured, from /proc alone.
    fn survey(_view: &ProcessView, _refusals: &mut Refusals) {}
    /// Reads what can be read from outside.
    fn outside(view: &ProcessView, leader: &StoppedTask) -> Result<Self::Record, Error>;
    /// Adds the steps that ask for the rest, to be executed in the process. The record holds what is known.
    fn ask(record: &Self::Record, batch: &mut Batch) -> Self::Question;
    /// Completes the record with what they returned.
    fn answer(record: &mut Self::Record, question: &Self::Question, answers: &Answers) -> Result<(), Error>;
    /// Adds the steps that bring it back.
    fn restore(record: &Self::Record, phase: Phase, batch: &mut Batch);
    /// What is set from outside, after [`Phase::Attributes`].
    fn restore_outside(_record: &Self::Record, _pid: i32) -> Result<(), Error> {
        Ok(())
    }
}

/// State that each task has one of.
pub trait TaskKind {
    /// Its form in the image.
    type Record: prost::Message + Default;
    /// The steps that it asks its questions with.
    type Question;

    /// Says what of it cannot be captured, from /proc alone.
    fn survey(_view: &ProcessView, _refusals: &mut Refusals) {}
    /// Says what of it cannot be captured, of a task that stands still, before anything is executed in it.
    fn survey_stopped(_task: &StoppedTask, _refusals: &mut Refusals) {}
    /// Reads what can be read from outside, of a task of the process.
    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Self::Record, Error>;
    /// Adds the steps that ask for the rest, to be executed in the task.
    fn ask(batch: &mut Batch) -> Self::Question;
    /// Completes the record with what they returned.
    fn answer(record: &mut Self::Record, question: &Self::Question, answers: &Answers) -> Result<(), Error>;
    /// Adds the steps that bring it back, executed in the task.
    fn restore(record: &Self::Record, tid: i32, phase: Phase, batch: &mut Batch);
    /// What ptrace sets on the stopped task, last of all.
    fn restore_stopped(_record: &Self::Record, _task: &StoppedTask) -> Result<(), Error> {
        Ok(())
    }
    /// What is set from outside, after [`Phase::Task`].
    fn restore_outside(_record: &Self::Record, _pid: i32, _tid: i32) -> Result<(), Error> {
        Ok(())
    }
}
