//! Descriptors of a captured process as descriptors of ours (`pidfd_getfd(2)`), to ask them what /proc does not tell.

use crate::view::{FdView, ProcessView};
use rekindle_sys::Errno;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// A descriptor as one of ours: it leads to the same description, so what is done to that is seen by the program.
pub(super) fn fetch(fd: &FdView, view: &ProcessView) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(view.pid).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_getfd(&pidfd, fd.fd, PidfdGetfdFlags::empty())
}
