//! A function that is executed to its end even if we are killed meanwhile.

use crate::{Result, check, wait};
use std::ffi::{c_int, c_void};

/// Room for the function's frames.
const STACK: usize = 256 << 10;

/// Calls `work` in a process of its own that shares our memory, with copies of our descriptors and all signals blocked, and
/// waits for its end (clone(2), `CLONE_VM` and `CLONE_VFORK`). A `SIGKILL` that hits us does not hit it.
///
/// `work` must take no lock and allocate nothing: what another thread holds while we are killed is held for ever. Dying itself,
/// it leaves everything as it was at that instant; so what it undoes must be checked afterwards.
pub fn run(mut work: impl FnMut()) -> Result<()> {
    let mut stack = vec![0_u8; STACK];
    let mut job: &mut dyn FnMut() = &mut work;
    let all = !0_u64;
    let mut before = 0_u64;
    // SAFETY: the masks are live 8-byte values, which is the size passed.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, &raw mut before, 8) };
    // SAFETY: one past the end of the live stack, aligned down to 16 as the ABI wants it.
    let top = unsafe { stack.as_mut_ptr().add(STACK).map_addr(|address| address & !15) };
    // SAFETY: the stack and `job` outlive the child, as with CLONE_VFORK this thread sleeps until the child has ended; so it
    // is the only one to use them, as if it had been called. It has no exit signal and is waited for below.
    let pid = check(
        unsafe { libc::clone(enter, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut job).cast()) }
            .into(),
    );
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const before, 0_usize, 8) };
    let pid = pid? as i32;
    // It has ended; whether by itself, its work shows.
    let _ = wait::wait_status(pid);
    Ok(())
}

extern "C" fn enter(job: *mut c_void) -> c_int {
    // SAFETY: `run` passes a pointer to a live `&mut dyn FnMut()` and does not touch it until we have ended.
    let job = unsafe { &mut *job.cast::<&mut dyn FnMut()>() };
    job();
    0
}

#[cfg(test)]
mod tests {
    #[test]
    fn changes_what_the_caller_has() {
        let mut count = 0;
        let own = std::process::id();
        let mut theirs = own;
        super::run(|| {
            count += 1;
            theirs = crate::task::gettid() as u32;
        })
        .unwrap();
        assert_eq!(count, 1);
        assert_ne!(theirs, own);
    }
}
