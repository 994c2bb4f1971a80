//! Epoll: what `rustix` has no call for.

use crate::{Result, check};
use rustix::fd::{AsFd, AsRawFd};

/// `EPIOCGPARAMS`, `_IOR(0x8A, 0x02, struct epoll_params)`: how an epoll polls network devices itself, as the 8 bytes of the
/// structure; 0 where it does not (include/uapi/linux/eventpoll.h, Linux 6.9; `ENOTTY` before).
pub fn params(epoll: impl AsFd) -> Result<u64> {
    const EPIOCGPARAMS: u64 = 0x8008_8a02;
    let mut params = 0_u64;
    // SAFETY: the kernel writes the 8 bytes of `struct epoll_params` to `params`, which is live.
    check(unsafe { libc::ioctl(epoll.as_fd().as_raw_fd(), EPIOCGPARAMS, &raw mut params) }.into())?;
    Ok(params)
}
