//! What a test is: a name and a function that passes, is skipped, or fails with a sentence.

use std::fmt::Display;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};
use rustix::process::{getpid, set_child_subreaper};

/// Why a test did not pass.
#[derive(Debug)]
pub enum Trouble {
    /// The machine lacks something; the text completes "needs …".
    Needs(String),
    /// Something is wrong; the text says what.
    Failed(String),
}

/// What every step of a test returns.
pub type Verdict<T = ()> = Result<T, Trouble>;

/// Any error that nobody foresaw is a failure.
impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Fails the test with a formatted sentence.
#[macro_export]
macro_rules! fail {
    ($($argument:tt)*) => { return Err($crate::trial::Trouble::Failed(format!($($argument)*))) };
}

/// Fails the test with a formatted sentence unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($argument:tt)*) => { if !$condition { $crate::fail!($($argument)*) } };
}

/// Says in which step an error happened.
pub trait Context<T> {
    /// Puts `step` before the error's own text.
    fn context(self, step: impl Display) -> Verdict<T>;
}

impl<T, E: Into<Trouble>> Context<T> for Result<T, E> {
    fn context(self, step: impl Display) -> Verdict<T> {
        self.map_err(|error| match error.into() {
            Trouble::Failed(text) => Trouble::Failed(format!("{step}: {text}")),
            needs @ Trouble::Needs(_) => needs,
        })
    }
}

/// A test that can find out at run time that it cannot run here. Such a one counts as ignored, never as passed.
pub fn trial(name: impl Into<String>, body: impl FnOnce() -> Verdict + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match body() {
        Ok(()) => Ok(Completion::Completed),
        Err(Trouble::Needs(what)) => Ok(Completion::ignored_with(format!("skipped: needs {what}"))),
        Err(Trouble::Failed(text)) => Err(text.into()),
    })
}

/// Skips the test unless the condition holds; `what` completes "needs …".
pub fn needs(condition: bool, what: &str) -> Verdict {
    if condition { Ok(()) } else { Err(Trouble::Needs(what.to_owned())) }
}

/// Skips the test unless run by root.
pub fn needs_root() -> Verdict {
    needs(rustix::process::geteuid().is_root(), "root")
}

/// The `main` of a test binary: as many tests at a time as there are processors, unless the command line says otherwise.
#[must_use]
pub fn run(trials: Vec<Trial>) -> ExitCode {
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        eprintln!("error: the harness cannot become a child subreaper: {error}");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// As [`run`], for tests that fill the machine by themselves: one at a time.
#[must_use]
pub fn run_one_at_a_time(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        eprintln!("error: the harness cannot become a child subreaper: {error}");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
