//! A program that is checkpointed, or one that was restored: our child either way, killed and reaped when dropped.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use crate::lab::Lab;

/// How long a subject may take to set itself up, or to look at all of its memory.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that waits to be told to look whether all is as it was.
#[derive(Debug)]
pub(crate) struct Subject {
    pid: Pid,
    reaped: bool,
}

impl Subject {
    /// Starts `programs/subject.c` and waits until it waits.
    pub(crate) fn start(lab: &Lab, what: &str, size: u64) -> Result<Self> {
        let mut command = Command::new(lab.program("subject"));
        command.args([what, &size.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut subject = Self { pid: Pid::from_child(&child), reaped: false };
        let call = format!("/proc/{}/syscall", subject.pid());
        let end = Instant::now() + PATIENCE;
        // The number of rt_sigtimedwait on x86_64, which sigwait(3) is made of.
        while !fs::read_to_string(&call).is_ok_and(|text| text.starts_with("128 ")) {
            if let Some(status) = subject.poll()? {
                bail!("subject {what} {size} ended with {status:?} instead of waiting");
            }
            ensure!(Instant::now() < end, "subject {what} {size} does not come to wait");
            std::thread::sleep(Duration::from_millis(1)); // between two looks at /proc, which cannot be polled
        }
        Ok(subject)
    }

    /// What a `restore --detach` has just brought back.
    pub(crate) fn restored(pid: i32) -> Result<Self> {
        Ok(Self { pid: Pid::from_raw(pid).context("pid 0")?, reaped: false })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills and reaps it: its pid is free afterwards.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.end(Signal::KILL).map(drop)
    }

    /// The same, of a program whose children end with it, and then come to us. There are no other children of ours then.
    pub(crate) fn kill_with_children(self) -> Result<()> {
        self.kill()?;
        while waitpid(None, WaitOptions::empty()).is_ok() {}
        Ok(())
    }

    /// Lets it look whether all is as it was, and end.
    pub(crate) fn verify(mut self) -> Result<()> {
        let status = self.end(Signal::USR1)?;
        ensure!(status.exit_status() == Some(0), "the program is not as it was: {status:?}");
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> Result<WaitStatus> {
        kill_process(self.pid, signal)?;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "process {} does not end", self.pid());
            std::thread::sleep(Duration::from_millis(1)); // bounded, as waitpid is not
        }
    }

    fn poll(&mut self) -> Result<Option<WaitStatus>> {
        let status = waitpid(Some(self.pid), WaitOptions::NOHANG)?.map(|(_, status)| status);
        self.reaped |= status.is_some();
        Ok(status)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // As long as it is not reaped, its pid is its own.
        if !self.reaped && kill_process(self.pid, Signal::KILL).is_ok() {
            let _ = waitpid(Some(self.pid), WaitOptions::empty()); // fails when it is not our child
        }
    }
}
