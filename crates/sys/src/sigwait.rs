//! Signals that a process holds back and waits for, instead of having handlers run in between.
//!
//! A held signal is blocked in every thread, so that it stays pending until [`wait`] takes it out, with who sent it.
//! [`take_default`] then does what the kernel would have done, had nobody held it: end us, stop us, or nothing.

use crate::{Errno, Result, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A set of signals: bit n-1 for signal n, as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// These signals.
    pub fn of(signals: impl IntoIterator<Item = i32>) -> Self {
        Self(signals.into_iter().fold(0, |set, signal| set | bit(signal)))
    }

    /// Whether a signal is in it.
    pub fn has(self, signal: i32) -> bool {
        self.0 & bit(signal) != 0
    }

    /// Its signals that are not in another set.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

fn bit(signal: i32) -> u64 {
    match u32::try_from(signal) {
        Ok(signal @ 1..=64) => 1 << (signal - 1),
        _ => 0,
    }
}

/// A signal that was taken out.
#[derive(Clone, Copy)]
pub struct Arrived {
    /// `siginfo_t`: number, errno, code, then what depends on the code.
    info: [u32; 32],
}

impl Arrived {
    /// Its number.
    pub fn signal(&self) -> i32 {
        self.info[0].cast_signed()
    }

    /// Whether the kernel itself sent it: from a terminal it goes to the whole foreground group (`SI_KERNEL`).
    pub fn is_from_kernel(&self) -> bool {
        self.info[2].cast_signed() == libc::SI_KERNEL
    }

    /// Sends it on to a process. The value of a queued one (sigqueue(3)) goes with it.
    pub fn pass_on(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        let queued = self.info[2].cast_signed() == libc::SI_QUEUE;
        let info = if queued { self.info.as_ptr() } else { std::ptr::null() };
        // SAFETY: the descriptor is borrowed for the call; `info` is null or a live siginfo_t, of 128 bytes.
        let value =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), self.signal(), info, 0) };
        check(value).map(drop)
    }
}

/// Holds signals back from the calling thread, and from threads that it starts from now on.
pub fn hold(set: SignalSet) -> Result<()> {
    change_mask(libc::SIG_BLOCK, set)
}

/// Lets them through again in the calling thread.
pub fn let_through(set: SignalSet) -> Result<()> {
    change_mask(libc::SIG_UNBLOCK, set)
}

fn change_mask(how: i32, set: SignalSet) -> Result<()> {
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the set is a live 8-byte value, which is the length passed.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set.0, none, 8) }).map(drop)
}

/// Waits until one of the held signals is there, and takes it out.
pub fn wait(set: SignalSet) -> Result<Arrived> {
    let mut arrived = Arrived { info: [0; 32] };
    let no_limit = std::ptr::null::<libc::timespec>();
    loop {
        let info = arrived.info.as_mut_ptr();
        // SAFETY: the set is a live 8-byte value, which is the length passed; `info` has room for a siginfo_t.
        let value = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set.0, info, no_limit, 8) };
        match check(value) {
            Ok(_) => return Ok(arrived),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Signals whose default is not to end (signal(7)).
const LIVED_THROUGH: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// Does what a signal does to a process that has no handler for it. Returns only if that was not to end: after a stop
/// when continued, at once if it was nothing. If we end, no core is dumped: it is not our fault that it would be of.
pub fn take_default(signal: i32) -> Result<()> {
    let one = SignalSet::of([signal]);
    // SAFETY: numbers only; the default action runs no code of ours. Fails for SIGKILL and SIGSTOP, which have no
    // other.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if !LIVED_THROUGH.contains(&signal) {
        // SAFETY: numbers only.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    }
    // To this thread, not the process: another thread may be waiting for the same signal.
    crate::signal::tgkill(std::process::id() as i32, crate::task::gettid(), signal)?;
    let_through(one)?;
    hold(one)
}

#[cfg(test)]
mod tests {
    use super::{SignalSet, hold, let_through, take_default, wait};
    use std::os::fd::AsFd;

    #[test]
    fn sets_hold_what_they_were_made_of() {
        let set = SignalSet::of([1, 15, 64, 0, 65, -1]);
        assert_eq!(set.0, 1 | 1 << 14 | 1 << 63);
        assert!(set.has(15) && !set.has(2) && !set.has(0) && !set.has(65));
        assert!(!set.without(SignalSet::of([15])).has(15));
    }

    #[test]
    fn a_held_signal_can_be_taken_and_passed_on() {
        let set = SignalSet::of([libc::SIGUSR2]);
        hold(set).unwrap();
        let me = std::process::id() as i32;
        crate::signal::tgkill(me, crate::task::gettid(), libc::SIGUSR2).unwrap();
        let arrived = wait(set).unwrap();
        assert_eq!(arrived.signal(), libc::SIGUSR2);
        assert!(!arrived.is_from_kernel());
        let bystander = crate::probe::Bystander::start().unwrap();
        let pid = rustix::process::Pid::from_raw(bystander.pid()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        arrived.pass_on(pidfd.as_fd()).unwrap();
        // The bystander was born with the signal held back.
        let status = std::fs::read_to_string(format!("/proc/{}/status", bystander.pid())).unwrap();
        assert!(status.contains("ShdPnd:\t0000000000000800"), "{status}");
        let_through(set).unwrap();
    }

    #[test]
    fn the_default_of_a_harmless_signal_is_nothing() {
        take_default(libc::SIGWINCH).unwrap();
        let_through(SignalSet::of([libc::SIGWINCH])).unwrap();
    }
}
