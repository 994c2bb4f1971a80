//! Why a command failed: a word for scripts, an exit status, a sentence for people.

use rekindle::{Error, Refusal};
use rekindle_image::ReadError;
use serde::Serialize;
use std::io;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    code: &'static str,
    exit_code: u8,
    message: String,
    refusals: Vec<Refusal>,
}

/// What a command comes to.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// The exit status of a command that cannot do what is asked of it, here or with this process.
pub(crate) const REFUSED: u8 = 3;
/// The exit status for an image that cannot be used.
const BAD_IMAGE: u8 = 4;

impl Failure {
    fn new(code: &'static str, exit_code: u8, message: impl Into<String>) -> Self {
        Self { code, exit_code, message: message.into(), refusals: Vec::new() }
    }

    /// Something did not work out.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new("failed", 1, message)
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", 2, message)
    }

    /// The machine lacks something.
    pub(crate) fn lacking(message: impl Into<String>) -> Self {
        Self::new("lacking", REFUSED, message)
    }

    /// An image that cannot be used.
    pub(crate) fn image(message: impl Into<String>) -> Self {
        Self::new("image", BAD_IMAGE, message)
    }

    /// How to say that the user has interrupted a command by a signal (`rekindle_foreground::interrupt::Watch`).
    pub(crate) fn interrupted(json: bool) -> impl Fn(i32, &str) {
        move |signal, message| {
            Self::new("interrupted", u8::try_from(128 + signal).unwrap_or(1), message).report(json);
        }
    }

    /// A failed call of ours.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        Self::failed(format!("{what}: {}", crate::show::reason(error)))
    }

    /// Names the image, if that is what the failure is about.
    pub(crate) fn of_image(self, name: &str) -> Self {
        if self.exit_code != BAD_IMAGE || self.message.contains(name) {
            return self;
        }
        Self { message: format!("{name}: {}", self.message), ..self }
    }

    /// Says it: to people on standard error, to programs (`json`) on standard output too.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        crate::show::say(&format!("error: {}", self.message));
        if json {
            // The exit status says that something is wrong, should nobody take the text.
            let _ = crate::show::json(&serde_json::json!({ "error": self }));
        }
        ExitCode::from(self.exit_code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(code(&error), error.exit_code(), error.to_string());
        match error {
            Error::Refused(refusals) => Self { refusals, ..failure },
            _ => failure,
        }
    }
}

impl From<rekindle_foreground::Error> for Failure {
    fn from(error: rekindle_foreground::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Error::from(error).into()
    }
}

/// The word for scripts.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(_) => "refused",
        Error::DoesNotFit(_) => "does-not-fit",
        Error::Image(_) | Error::Nonsense(_) => "image",
        Error::Write(_) => "write",
        Error::NoSuchProcess { .. } => "no-such-process",
        Error::Injected(_) => "injected",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_about_images_name_the_image() {
        let failure = Failure::from(ReadError::Empty).of_image("job.rkd");
        assert!(failure.message.starts_with("job.rkd: the image is empty"), "{}", failure.message);
        assert_eq!(failure.exit_code, 4);
        let failure = Failure::from(Error::NoSuchProcess { pid: 7 }).of_image("job.rkd");
        assert!(!failure.message.contains("job.rkd"), "{}", failure.message);
    }

    #[test]
    fn json_has_every_field() {
        let failure = Failure::usage("no");
        let json = serde_json::to_value(&failure).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "code": "usage", "exit_code": 2, "message": "no", "refusals": [] })
        );
    }
}
