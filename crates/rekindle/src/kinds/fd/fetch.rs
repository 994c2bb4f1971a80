//! Descriptors of a captured process as descriptors of ours (`pidfd_getfd(2)`), to ask them what /proc does not tell.

use crate::view::{FdView, ProcessView};
use rekindle_sys::Errno;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::cell::RefCell;

thread_local! {
    /// The process that was asked last: a program may have thousands of descriptors to fetch.
    static LAST: RefCell<Option<(Pid, OwnedFd)>> = const { RefCell::new(None) };
}

/// A descriptor as one of ours: it leads to the same description, so what is done to that is seen by the program.
pub(super) fn fetch(fd: &FdView, view: &ProcessView) -> Result<OwnedFd, Errno> {
    with_pidfd(view, |pidfd| pidfd_getfd(pidfd, fd.fd, PidfdGetfdFlags::empty()))
}

/// Asks something of a process by a descriptor that stands for it.
pub(super) fn with_pidfd<R>(
    view: &ProcessView,
    ask: impl Fn(BorrowedFd<'_>) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let pid = Pid::from_raw(view.pid).ok_or(Errno::SRCH)?;
    LAST.with_borrow_mut(|last| {
        if let Some((_, pidfd)) = last.as_ref().filter(|(known, _)| *known == pid) {
            match ask(pidfd.as_fd()) {
                // That one has ended; another may have its pid.
                Err(Errno::SRCH) => {}
                result => return result,
            }
        }
        let (_, pidfd) = last.insert((pid, pidfd_open(pid, PidfdFlags::empty())?));
        ask(pidfd.as_fd())
    })
}
