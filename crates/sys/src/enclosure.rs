//! Namespaces of one's own, which need no privilege: in them any pid may be chosen.

use crate::{Result, check};
use std::ffi::CStr;

/// Moves this process into a new user and a new mount namespace, and its children to come into a new pid namespace. `EPERM`,
/// `ENOSPC` where that is forbidden (sysctl user.max_user_namespaces); `EINVAL` in a process with threads.
pub fn unshare() -> Result<()> {
    // SAFETY: numbers only; what is unshared is not memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS) }.into())
        .map(drop)
}

/// fork(2): `None` in the child, its pid in the parent.
///
/// # Errors
/// `EINVAL` in a process with threads, whose child could find locks held for ever.
pub fn fork() -> Result<Option<i32>> {
    let tasks = std::fs::read_dir("/proc/self/task").map_or(2, Iterator::count);
    if tasks != 1 {
        return Err(crate::Errno::INVAL);
    }
    // SAFETY: there is no other thread, so the child is as whole as its parent.
    let pid = check(unsafe { libc::fork() }.into())? as i32;
    Ok((pid != 0).then_some(pid))
}

/// Mounts, for this mount namespace alone, what /proc shows of this process's pid namespace.
pub fn mount_proc() -> Result<()> {
    const FLAGS: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"proc", c"/proc", Some(c"proc"), FLAGS)
}

fn mount(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings are live and end in a zero; the type may be null, as may the data.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) }.into())
        .map(drop)
}

/// Asks for `SIGKILL` when the parent dies, or for nothing any more.
pub fn die_with_parent(die: Die) -> Result<()> {
    let signal = match die {
        Die::WithParent => libc::SIGKILL,
        Die::Alone => 0,
    };
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }.into()).map(drop)
}

/// Whether one's end follows that of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Die {
    /// It does.
    WithParent,
    /// It does not.
    Alone,
}
