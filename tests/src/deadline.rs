//! Waiting, always bounded: for a process to end, for bytes to come, for a condition seen in /proc.
//!
//! Whoever waits in vain gets a report of the processes it waited for: the state, the kernel function and the system call of
//! each of their threads, so that a hang in CI can be understood from its log.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use crate::trial::{Trouble, Verdict};

/// What one step of a test may take: far more than it ever should, on a busy machine.
pub const STEP: Duration = Duration::from_secs(30);

/// A point in time, and what was to happen before it.
#[derive(Debug, Clone)]
pub struct Deadline {
    end: Instant,
    limit: Duration,
    what: String,
}

impl Deadline {
    /// [`STEP`] from now; `what` completes "waited … s for …".
    #[must_use]
    pub fn step(what: impl Into<String>) -> Self {
        Self::after(STEP, what)
    }

    /// `limit` from now.
    #[must_use]
    pub fn after(limit: Duration, what: impl Into<String>) -> Self {
        Self { end: Instant::now() + limit, limit, what: what.into() }
    }

    /// Waits until `fd` is readable or hung up (a pidfd: until the process has ended).
    pub fn readable(&self, fd: impl AsFd, watched: &[Pid]) -> Verdict {
        if readable_within(fd.as_fd(), self.end.saturating_duration_since(Instant::now()))? {
            return Ok(());
        }
        Err(self.passed(watched))
    }

    /// Asks until `check` gives something, at most every millisecond.
    pub fn until<T>(&self, watched: &[Pid], mut check: impl FnMut() -> Verdict<Option<T>>) -> Verdict<T> {
        loop {
            if let Some(value) = check()? {
                return Ok(value);
            }
            if Instant::now() > self.end {
                return Err(self.passed(watched));
            }
            std::thread::sleep(Duration::from_millis(1)); // the pause between two looks at /proc, which cannot be polled
        }
    }

    fn passed(&self, watched: &[Pid]) -> Trouble {
        let mut text = format!("waited {} s in vain for {}", self.limit.as_secs(), self.what);
        for pid in watched {
            text.push_str(&report(*pid));
        }
        Trouble::Failed(text)
    }
}

/// Whether `fd` becomes readable or hung up within `limit`.
pub fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> Verdict<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where each thread of a process is.
#[must_use]
pub fn report(pid: Pid) -> String {
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let read = |path: String| {
        fs::read(path).map_or_else(|e| e.to_string(), |b| b.trim_ascii().escape_ascii().to_string())
    };
    let mut text = format!("\n  process {}: {}", pid.as_raw_nonzero(), read(format!("{process}/cmdline")));
    let Ok(tasks) = fs::read_dir(format!("{process}/task")) else { return text + " (gone)" };
    for task in tasks.flatten().take(10) {
        let task = task.path();
        let file = |name: &str| read(task.join(name).display().to_string());
        let status = fs::read(task.join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let field =
            |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or("").replace('\t', " ");
        let tid = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _ =
            write!(text, "\n    {tid} {} | {} | {} | ", file("comm"), field("State:"), field("TracerPid:"));
        let _ = write!(text, "{} | {}", field("SigBlk:"), field("ShdPnd:"));
        let _ = write!(text, " | wchan {} | syscall {}", file("wchan"), file("syscall"));
    }
    text
}
