//! What can go wrong with a tracee, as sentences.

use rekindle_sys::{Errno, errno_text};

/// A failed operation on a tracee.
#[derive(Debug, thiserror::Error)]
pub enum TraceeError {
    /// A call of ours on the task failed.
    #[error("task {tid}: {what}: {}", errno_text(*errno))]
    Call {
        /// The task.
        tid: i32,
        /// What was tried.
        what: &'static str,
        /// How it failed.
        errno: Errno,
    },
    /// A step of a batch failed inside the task.
    #[error("task {tid}: {step}: {}", errno_text(*errno))]
    Step {
        /// The task.
        tid: i32,
        /// What the step was to do.
        step: String,
        /// How it failed.
        errno: Errno,
    },
    /// The task ended while we held it: somebody else killed it.
    #[error("task {tid} ended while rekindle held it ({how}); nothing is left to do with it")]
    Died {
        /// The task.
        tid: i32,
        /// How it ended.
        how: String,
    },
    /// A task does not stop: it sleeps in the kernel and cannot be interrupted.
    #[error(
        "task {tid} does not stop within {seconds} s: it waits in the kernel ({wchan}); try again when that is over"
    )]
    DoesNotStop {
        /// The task.
        tid: i32,
        /// The time it was given, in seconds.
        seconds: u64,
        /// The kernel function it waits in, from /proc/TID/wchan.
        wchan: String,
    },
    /// Somebody else traces the task.
    #[error("task {tid} is traced already (by process {tracer}); detach the debugger first")]
    Traced {
        /// The task.
        tid: i32,
        /// Who traces it.
        tracer: i32,
    },
    /// There is no such process any more.
    #[error("process {pid} does not exist")]
    Gone {
        /// The process.
        pid: i32,
    },
    /// The process has no place to put the stub or a signal frame.
    #[error("process {pid} has no room for {what}: {why}")]
    NoRoom {
        /// The process.
        pid: i32,
        /// For what there is no room.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A file of /proc could not be read or understood.
    #[error("/proc/{pid}/{file}: {why}")]
    Proc {
        /// The process.
        pid: i32,
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The task stopped in a way that it should not have inside the stub.
    #[error("task {tid}: unexpected {event} while it ran {during}")]
    Unexpected {
        /// The task.
        tid: i32,
        /// What happened.
        event: String,
        /// What it was doing.
        during: &'static str,
    },
}

/// Gives a failed call on a task its context.
pub(crate) fn call<T>(tid: i32, what: &'static str, result: rekindle_sys::Result<T>) -> crate::Result<T> {
    result.map_err(|errno| TraceeError::Call { tid, what, errno })
}
