//! wait4(2) with the status kept as it is: real-time signals and ptrace events included.

use crate::{Result, check};

/// What a wait reported of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
    /// A `PTRACE_EVENT_STOP`: our interrupt (`SIGTRAP`), or a group stop (the stopping signal).
    Stop(i32),
    /// A stop on the way into or out of a system call (with `TRACESYSGOOD`).
    SyscallStop,
    /// Another ptrace event (`PTRACE_EVENT_*`).
    PtraceEvent(i32),
    /// About to receive a signal.
    Signal(i32),
    /// Continued by `SIGCONT`.
    Continued,
}

impl Event {
    /// Takes a wait status apart (wait(2); ptrace(2), "Stopped states").
    pub fn from_status(status: i32) -> Self {
        const PTRACE_EVENT_STOP: i32 = 128;
        if libc::WIFEXITED(status) {
            return Self::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        if libc::WIFCONTINUED(status) {
            return Self::Continued;
        }
        let signal = (status >> 8) & 0xff;
        match status >> 16 {
            PTRACE_EVENT_STOP => Self::Stop(signal),
            0 if signal == libc::SIGTRAP | 0x80 => Self::SyscallStop,
            0 => Self::Signal(signal),
            event => Self::PtraceEvent(event),
        }
    }
}

/// Waits until something happens to a task that we trace, or to a child of ours, and tells its raw status.
/// `ECHILD` when it is neither.
pub fn wait_status(pid: i32) -> Result<i32> {
    wait4(pid, libc::__WALL).map(|(_, status)| status)
}

/// As [`wait_status`], decoded.
pub fn wait(pid: i32) -> Result<Event> {
    wait_status(pid).map(Event::from_status)
}

/// What has happened to a task, if anything has.
pub fn poll(pid: i32) -> Result<Option<Event>> {
    let (who, status) = wait4(pid, libc::__WALL | libc::WNOHANG)?;
    Ok((who != 0).then(|| Event::from_status(status)))
}

/// Waits for a child of ours to stop (job control), continue or end, without `__WALL`'s reach to tracees.
pub fn wait_child(pid: i32) -> Result<Event> {
    wait4(pid, libc::WUNTRACED | libc::WCONTINUED).map(|(_, status)| Event::from_status(status))
}

/// As [`wait_child`], for any child: which one, and what happened to it. `ECHILD` when there is none.
pub fn wait_any_child() -> Result<(i32, Event)> {
    let (who, status) = wait4(-1, libc::WUNTRACED | libc::WCONTINUED)?;
    Ok((who, Event::from_status(status)))
}

/// Waits until a child of ours has ended, and leaves it to be waited for once more (waitid(2), `WNOWAIT`). One that is
/// there no more has ended too.
pub fn await_end_of_child(pid: i32) -> Result<()> {
    loop {
        let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        let no_info = std::ptr::null_mut();
        // SAFETY: Linux's waitid writes nothing when it is given no place for what it found.
        match check(unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), no_info, flags) }.into()) {
            Err(crate::Errno::INTR) => {}
            Ok(_) | Err(crate::Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

fn wait4(pid: i32, options: i32) -> Result<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live int, and no rusage is asked for.
        let who = unsafe { libc::wait4(pid, &raw mut status, options, std::ptr::null_mut()) };
        match check(who.into()) {
            Ok(who) => return Ok((who as i32, status)),
            Err(crate::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn real_time_signals_and_events_are_told_apart() {
        assert_eq!(Event::from_status(0x80_057f), Event::Stop(5));
        assert_eq!(Event::from_status(0x80_137f), Event::Stop(libc::SIGSTOP));
        assert_eq!(Event::from_status(0x857f), Event::SyscallStop);
        assert_eq!(Event::from_status((37 << 8) | 0x7f), Event::Signal(37));
        assert_eq!(Event::from_status(37), Event::Killed(37));
        assert_eq!(Event::from_status(3 << 8), Event::Exited(3));
    }
}
