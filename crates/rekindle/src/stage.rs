//! Stages of a checkpoint and of a restore at which the caller may have a say: to run scripts there, to write down a pid,
//! to give it up.
//!
//! ```text
//! checkpoint: survey ── Frozen ── records, pages, sync, name ── Complete ── killed, or goes on
//! restore:    plan checked ── Created ── everything put back ── Restored ── runs
//! ```
//!
//! An error that a caller returns ([`crate::Error::GivenUp`]) undoes what has been done: a program that was to be
//! checkpointed goes on (an image that is complete stays where it is), a restored one ends before it has begun.

use crate::error::Error;

/// Where a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStage {
    /// Everything stands still.
    Frozen,
    /// The image is complete, on the disk, and has its name; everything still stands still.
    Complete,
}

/// Where a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStage {
    /// There is a process with the program's pid, and nothing of the program in it yet.
    Created,
    /// Everything is back, and runs as soon as this has been seen.
    Restored,
}

/// A caller who has a say at the stages of `S`; it is told the pid of the program's (first) process.
pub type Say<'s, S> = &'s dyn Fn(S, i32) -> Result<(), Error>;
