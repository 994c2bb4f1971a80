//! A stopped task, and batches of system calls executed inside it.
//!
//! ```text
//! Frozen::freeze(pid) ── every thread seized and stopped ──┬─ StoppedTask: registers, masks, pending signals
//!                                                          └─ Hijack: one thread runs batches, others answer questions
//! Newborn::clone(pid) ── a child of ours that only runs batches, and becomes the restored process
//! ```
//!
//! Two promises hold here. A [`freeze::Frozen`] process goes on as if nothing had happened when the value is
//! dropped, when a call fails, and when we are killed at any instant (see [`hijack`]). A [`newborn::Newborn`]
//! is killed when it is dropped before its release, or when we die.

pub mod batch;
mod boot;
mod borrowed;
pub mod cave;
pub mod control;
pub mod error;
pub mod freeze;
pub mod hijack;
pub mod newborn;
mod rseq;
mod scratch;
pub mod server;
mod steps;
pub mod task;
pub mod tree;

pub use batch::{Answers, Arg, Batch, Data, StepId};
pub use error::TraceeError;
pub use freeze::Frozen;
pub use hijack::Hijack;
pub use newborn::{Newborn, Nursery};
pub use task::StoppedTask;
pub use tree::FrozenTree;

/// The result of an operation on a tracee.
pub type Result<T> = std::result::Result<T, TraceeError>;
