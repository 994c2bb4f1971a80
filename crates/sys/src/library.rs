//! Living as a library inside a program of somebody else's: its descriptors, which come as numbers, its `errno`, and a
//! forked copy of it that works for us.

use crate::{Errno, Result, check};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A descriptor of our own for what a number of the program's leads to; the two share the file offset. `EBADF` when the
/// number is not open.
pub fn own_descriptor(number: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only: F_DUPFD_CLOEXEC makes a new descriptor and changes none.
    let own = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: it was just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(own as i32) })
}

/// Sets the calling thread's `errno`.
pub fn set_errno(errno: Errno) {
    // SAFETY: the address is that of the thread's own `errno`, which C code and we access from this thread alone.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

/// Forks a copy of this process that does nothing but `work`, then ends with the code that it returns (255 when it
/// panics), without what a program does at its exit. All signals are blocked in it. Returns its pid.
///
/// The program may have any number of threads: `fork` of the C library leaves its allocator usable in the child. Locks
/// of the program's own that other threads hold stay locked there, so `work` must call nothing but our own code; and the
/// caller sees to it that no other thread is inside ours.
pub fn fork_helper(work: impl FnOnce() -> u8) -> Result<i32> {
    let before = block_all_signals()?;
    // SAFETY: the child runs `work` on a copy of this thread's stack, and never returns from this function: what other
    // threads own, it neither frees nor waits for, as described above.
    let forked = check(unsafe { libc::fork() }.into());
    if forked == Ok(0) {
        let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(255);
        // SAFETY: ends the process at once; handlers of atexit(3), which are the program's, do not run.
        unsafe { libc::_exit(code.into()) };
    }
    set_signal_mask(before)?;
    forked.map(|pid| pid as i32)
}

fn block_all_signals() -> Result<u64> {
    let all = !0_u64;
    let mut before = 0_u64;
    let how = libc::SIG_SETMASK;
    // SAFETY: the masks are live 8-byte values, which is the size passed.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const all, &raw mut before, 8) })?;
    Ok(before)
}

fn set_signal_mask(mask: u64) -> Result<()> {
    let (how, none) = (libc::SIG_SETMASK, std::ptr::null_mut::<u64>());
    // SAFETY: the mask is a live 8-byte value, which is the size passed; the old one is not asked for.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, none, 8) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{fork_helper, own_descriptor};
    use crate::Errno;
    use crate::wait::{Event, wait_child};

    #[test]
    fn a_helper_ends_with_the_code_of_its_work() {
        let pid = fork_helper(|| 42).unwrap();
        assert_eq!(wait_child(pid), Ok(Event::Exited(42)));
    }

    #[test]
    fn a_helper_that_panics_ends_all_the_same() {
        let pid = fork_helper(|| std::panic::resume_unwind(Box::new(()))).unwrap();
        assert_eq!(wait_child(pid), Ok(Event::Exited(255)));
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        assert_eq!(own_descriptor(-1).unwrap_err(), Errno::BADF);
    }
}
