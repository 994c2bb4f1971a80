//! Signals: numbers, and sending them.

use crate::{Result, check};

/// The number of signals (`_NSIG`).
pub const COUNT: i32 = 64;

/// tgkill(2): sends a signal to one task.
pub fn tgkill(tgid: i32, tid: i32, signal: i32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signal) }).map(drop)
}

/// kill(2): sends a signal to a process.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// The name of a signal, `SIGTERM` for 15.
pub fn name(signal: i32) -> String {
    const NAMES: [&str; 32] = [
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
        "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal).ok().and_then(|n| NAMES.get(n)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIGRTMIN+{}", signal - 32),
    }
}
