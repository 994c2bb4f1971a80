//! The program of the demo: started, watched, reaped; killed if it still lives when dropped.

use super::progress::{Progress, THREADS};
use crate::failure::Failure;
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, errno_text, signal};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything it does may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// See the module's story.
pub(super) struct Subject {
    pid: i32,
    what: &'static str,
    output: PathBuf,
    errors: PathBuf,
    is_there: bool,
}

impl Subject {
    /// Starts it, in a directory for it alone.
    pub(super) fn start(place: &Path, python: bool) -> Result<Self, Failure> {
        let (output, errors) = (place.join("output"), place.join("errors"));
        let launch = |mut command: Command| -> io::Result<u32> {
            command.arg(std::process::id().to_string()).current_dir(place).stdin(Stdio::null());
            command.stdout(append(&output)?).stderr(append(&errors)?);
            Ok(command.spawn()?.id())
        };
        let mut started = None;
        if python {
            let mut command = Command::new("python3");
            command.args(["-c", include_str!("program.py")]);
            started = launch(command)
                .ok()
                .map(|pid| (pid, "python3, with 4 threads that count and 64 MiB of random bytes"));
        }
        let (pid, what) = match started {
            Some(started) => started,
            None => {
                let own = std::env::current_exe().map_err(|error| Failure::io("finding myself", &error))?;
                let mut command = Command::new(own);
                command.arg("demo-program");
                let pid = launch(command).map_err(|error| Failure::io("starting a program", &error))?;
                (pid, "a program with 4 threads that count and 64 MiB of random bytes")
            }
        };
        let pid = i32::try_from(pid).map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { pid, what, output, errors, is_there: true })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// What it is.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// The file that its standard output is.
    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Waits until it has counted further than `from`.
    pub(super) fn await_counting(&mut self, from: u64) -> Result<(), Failure> {
        self.wait_until("count", |subject| Progress::read(&subject.output).total() > from + THREADS)
    }

    /// Lets it run for a while.
    pub(super) fn watch_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        self.wait_until("run", |_| Instant::now() >= end)
    }

    /// It lives again, as a child of ours.
    pub(super) fn is_back(&mut self) {
        self.is_there = true;
    }

    /// Takes notice of its end; says how it ended.
    pub(super) fn reap(&mut self) -> Result<String, Failure> {
        let failed =
            |errno| Failure::failed(format!("waiting for process {}: {}", self.pid, errno_text(errno)));
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let how = match wait::poll(self.pid) {
                Ok(Some(Event::Exited(code))) => format!("with exit code {code}"),
                Ok(Some(Event::Killed(number))) => format!("killed by {}", signal::name(number)),
                // Whoever kills what it traces takes notice of its end: the checkpoint has.
                Err(Errno::CHILD) => "killed".to_owned(),
                Err(errno) => return Err(failed(errno)),
                Ok(_) => {
                    std::thread::sleep(LOOK);
                    continue;
                }
            };
            self.is_there = false;
            return Ok(how);
        }
        Err(self.failed("end"))
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(&mut self) -> Result<String, Failure> {
        let asked = signal::kill(self.pid, rustix::process::Signal::TERM.as_raw());
        asked.map_err(|errno| Failure::failed(format!("asking it to end: {}", errno_text(errno))))?;
        self.reap()
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !done(self) {
            let ended = wait::poll(self.pid);
            if let Ok(Some(Event::Exited(_) | Event::Killed(_))) = ended {
                self.is_there = false;
                return Err(self.failed(&format!("{what}, but ended ({ended:?})")));
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.failed(what));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> Failure {
        let errors = std::fs::read(&self.errors).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        Failure::failed(format!("process {} should {what}; it does not. {}", self.pid, errors.trim()))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if self.is_there {
            let _ = signal::kill(self.pid, rustix::process::Signal::KILL.as_raw()); // our child, and not reaped yet
            while matches!(wait::wait(self.pid), Ok(event) if !matches!(event, Event::Exited(_) | Event::Killed(_)))
            {
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
