//! What a checkpoint or a restore can fail with. Every error is a sentence that names the thing and says what to do.

use crate::refusal::Refusal;
use rekindle_image::{ReadError, WriteError};
use rekindle_sys::Errno;
use rekindle_tracee::TraceeError;

/// A failed operation. Whatever it is, the program that was to be checkpointed goes on, and no half-restored process
/// is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process cannot be checkpointed; nothing was touched.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
    /// The machine, or the program that asks, does not have what a restore needs; nothing was created.
    #[error("{}", lines(.0))]
    DoesNotFit(Vec<String>),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ReadError),
    /// The image is whole, but what it says makes no sense.
    #[error("the image is not one that rekindle wrote: {0}")]
    Nonsense(String),
    /// The image could not be written.
    #[error("writing the image: {0}")]
    Write(#[from] WriteError),
    /// Something went wrong with a task.
    #[error(transparent)]
    Tracee(#[from] TraceeError),
    /// A file of /proc could not be read or understood.
    #[error("/proc/{pid}/{file}: {why}")]
    Proc {
        /// The process.
        pid: i32,
        /// The file, below /proc/PID.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such process (any more).
    #[error("there is no process {pid}; see `ps -e` for those there are")]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
    },
    /// A call of ours failed.
    #[error("{what}: {}", rekindle_sys::errno_text(*errno))]
    Call {
        /// What was tried.
        what: String,
        /// How it failed.
        errno: Errno,
    },
    /// An operation was told to stop.
    #[error("interrupted; the program goes on as before")]
    Interrupted,
    /// The caller gave it up at a stage ([`crate::stage`]); this says why.
    #[error("{0}")]
    GivenUp(String),
    /// A fault that was asked for, to test what follows from it.
    #[error("a fault was injected at `{0}`")]
    Injected(&'static str),
}

impl Error {
    /// A stable number for the exit status of a command: see `docs/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::NoSuchProcess { .. } => 3,
            Self::Tracee(
                TraceeError::Traced { .. } | TraceeError::NoRoom { .. } | TraceeError::Gone { .. },
            ) => 3,
            Self::Image(_) | Self::Nonsense(_) => 4,
            Self::DoesNotFit(_) => 5,
            _ => 1,
        }
    }

    pub(crate) fn proc(pid: i32, file: impl Into<String>, why: impl ToString) -> Self {
        Self::Proc { pid, file: file.into(), why: why.to_string() }
    }

    pub(crate) fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::Call { what: what.into(), errno }
    }

    pub(crate) fn call(what: impl Into<String>, errno: Errno) -> Self {
        Self::Call { what: what.into(), errno }
    }
}

fn list(refusals: &[Refusal]) -> String {
    let mut text = match refusals.len() {
        1 => "this process cannot be checkpointed:".to_owned(),
        n => format!("this process cannot be checkpointed, for {n} reasons:"),
    };
    for refusal in refusals {
        text.push_str("\n  ");
        text.push_str(&refusal.to_string());
    }
    text
}

fn lines(reasons: &[String]) -> String {
    match reasons {
        [one] => one.clone(),
        many => {
            format!("the image cannot be restored here, for {} reasons:\n  {}", many.len(), many.join("\n  "))
        }
    }
}
