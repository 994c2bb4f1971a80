//! Ctrl-C during a command: what it has begun is undone, and it dies of the signal, as a shell expects.
//!
//! **During a checkpoint** the program goes on, and no half of an image is left. The library survives our sudden death,
//! so that we may just die; but the file under its passing name would stay. Whoever takes that name away first decides,
//! and the file system sees to it that only one does:
//!
//! ```text
//!  checkpoint:  create F.PID.part ... write ... sync ── rename to F ── kill the program, if asked ── done, exit 0
//!  signal:      unlink F.PID.part: done  ── the rename must fail; die of the signal
//!               unlink F.PID.part: there is none ── not yet: try again; renamed: the image is complete, and so is
//!                                                   the command in a moment
//! ```

use crate::{Error, failed};
use rekindle_sys::sigwait::{self, SignalSet};
use rustix::process::Signal;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Signals by which users and systems end a command.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// What came of an attempt to undo.
pub enum Undone {
    /// It is undone; this is what to say.
    Yes(&'static str),
    /// There is nothing to undo: not yet, or it is too late.
    NotNow,
}

/// Something that may be interrupted, until [`Watch::over`].
pub struct Watch {
    over: Arc<Mutex<bool>>,
}

impl Watch {
    /// Watches over a checkpoint into `image`, which is in the making under its passing name; `None`: into a stream.
    pub fn over_checkpoint(
        image: Option<&Path>,
        tell: impl Fn(i32, &str) + Send + 'static,
    ) -> Result<Self, Error> {
        let part = image.map(passing_name);
        Self::begin(tell, move || match part.as_deref().map_or(Ok(()), std::fs::remove_file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Undone::NotNow,
            _ => Undone::Yes("the program goes on as before"),
        })
    }

    /// Watches over something that `undo` undoes. `tell` is given the signal, and a sentence that says what is so now.
    pub fn begin(
        tell: impl Fn(i32, &str) + Send + 'static,
        undo: impl Fn() -> Undone + Send + 'static,
    ) -> Result<Self, Error> {
        let over = Arc::new(Mutex::new(false));
        let set = SignalSet::of(ENDING.map(Signal::as_raw)).without(ignored());
        sigwait::hold(set).map_err(|errno| failed("holding signals back", errno))?;
        let state = Arc::clone(&over);
        let watching = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Ok(arrived) = sigwait::wait(set) {
                // A second one ends us at once, whatever it leaves.
                let _ = sigwait::let_through(set);
                interrupt(arrived.signal(), undo, &state, tell);
            }
        });
        watching.map_err(|error| Error::io("starting a thread", &error))?;
        Ok(Self { over })
    }

    /// It has come to its end, one way or the other: a signal is too late now. Does not return if one was
    /// in time.
    pub fn over(self) {
        *lock(&self.over) = true;
    }
}

fn lock(over: &Mutex<bool>) -> MutexGuard<'_, bool> {
    over.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals that whoever started us has told us to ignore, as nohup(1) does.
pub fn ignored() -> SignalSet {
    let status = std::fs::read("/proc/self/status").ok();
    let status = status.and_then(|bytes| rekindle_procfs::status::parse(&bytes).ok());
    status.map_or(SignalSet(0), |status| SignalSet(status.sig_ign))
}

/// The name that an image has until it is complete (crates/rekindle/src/checkpoint/output.rs).
fn passing_name(image: &Path) -> PathBuf {
    let mut name = image.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    image.with_file_name(name)
}

fn interrupt(signal: i32, undo: impl Fn() -> Undone, over: &Mutex<bool>, tell: impl Fn(i32, &str)) {
    loop {
        let over = lock(over);
        if *over {
            return;
        }
        if let Undone::Yes(what) = undo() {
            let message = format!("interrupted by {}; {what}", rekindle_sys::signal::name(signal));
            tell(signal, &message);
            let _ = sigwait::take_default(signal);
            // Does not come back: none of the signals is lived through.
            std::process::exit(128 + signal);
        }
        drop(over);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::passing_name;
    use std::path::Path;

    /// crates/cli/tests/command_line.rs sees to it that the library uses the same name.
    #[test]
    fn the_passing_name_is_beside_the_image() {
        let part = format!("dir/job.rkd.{}.part", std::process::id());
        assert_eq!(passing_name(Path::new("dir/job.rkd")), Path::new(&part));
    }
}
