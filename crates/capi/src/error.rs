//! Failures as C has them: an `errno`, and a sentence that each thread keeps until its next call.

use rekindle::{Error, Refusal};
use rekindle_image::{ReadError, WriteError};
use rekindle_sys::Errno;
use rekindle_sys::library::set_errno;
use rekindle_tracee::TraceeError;
use std::cell::RefCell;
use std::ffi::{CString, c_char};

thread_local! {
    static SENTENCE: RefCell<CString> = RefCell::default();
}

/// The calling thread's sentence; empty when its last call succeeded.
pub(crate) fn sentence() -> *const c_char {
    SENTENCE.with_borrow(|sentence| sentence.as_ptr())
}

/// The calling thread's last call succeeded.
pub(crate) fn clear() {
    SENTENCE.set(CString::default());
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) sentence: String,
}

impl Failure {
    pub(crate) fn new(errno: Errno, sentence: String) -> Self {
        Self { errno, sentence }
    }

    /// Leaves it where C looks for it.
    pub(crate) fn set(self) {
        let bytes: Vec<u8> = self.sentence.into_bytes().into_iter().filter(|byte| *byte != 0).collect();
        SENTENCE.set(CString::new(bytes).unwrap_or_default());
        set_errno(self.errno);
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // What to do is said in words of the command line.
        let sentence = error.to_string();
        let sentence = sentence.replace("pass --accept-changed-files", "give REKINDLE_ACCEPT_CHANGED_FILES");
        Self { errno: errno(&error), sentence }
    }
}

/// The number for an error, as documented in `rekindle.h`.
fn errno(error: &Error) -> Errno {
    match error {
        Error::Refused(reasons) => refused(reasons),
        Error::DoesNotFit(_) => Errno::BUSY,
        Error::Image(ReadError::Io { source, .. }) => of_io(source),
        Error::Image(_) | Error::Nonsense(_) => Errno::BADMSG,
        Error::Write(WriteError::Io { source, .. }) => of_io(source),
        Error::Tracee(error) => of_tracee(error),
        Error::NoSuchProcess { .. } => Errno::SRCH,
        Error::Call { errno, .. } => *errno,
        Error::Interrupted => Errno::INTR,
        Error::GivenUp(_) => Errno::CANCELED,
        Error::Write(_) | Error::Proc { .. } | Error::Injected(_) => Errno::IO,
    }
}

fn refused(reasons: &[Refusal]) -> Errno {
    match reasons {
        [Refusal { code: "zombie", .. }] => Errno::SRCH,
        [Refusal { code: "thread", .. }] => Errno::INVAL,
        _ => Errno::PERM,
    }
}

fn of_tracee(error: &TraceeError) -> Errno {
    match error {
        TraceeError::Call { errno, .. } | TraceeError::Step { errno, .. } => *errno,
        TraceeError::Died { .. } | TraceeError::Gone { .. } => Errno::SRCH,
        TraceeError::DoesNotStop { .. } => Errno::TIMEDOUT,
        TraceeError::Traced { .. } | TraceeError::NoRoom { .. } => Errno::PERM,
        TraceeError::Proc { .. } | TraceeError::Unexpected { .. } => Errno::IO,
    }
}

fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
