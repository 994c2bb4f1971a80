//! Epoll: what `rustix` has no call for.

use crate::{Errno, Result, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// `EPIOCGPARAMS`, `_IOR(0x8A, 0x02, struct epoll_params)`: how an epoll polls network devices itself, as the 8 bytes of the
/// structure; 0 where it does not (include/uapi/linux/eventpoll.h, Linux 6.9; `ENOTTY` before).
pub fn params(epoll: impl AsFd) -> Result<u64> {
    const EPIOCGPARAMS: u64 = 0x8008_8a02;
    let mut params = 0_u64;
    // SAFETY: the kernel writes the 8 bytes of `struct epoll_params` to `params`, which is live.
    check(unsafe { libc::ioctl(epoll.as_fd().as_raw_fd(), EPIOCGPARAMS, &raw mut params) }.into())?;
    Ok(params)
}

/// For each of these numbers of a process: whether one of its epolls has an entry for just the description that the number
/// leads to there, made under that number. One that cannot be found out is `false`.
///
/// It is found out by adding it once more: `EEXIST` changes nothing. What is added is removed at once. (If we die in
/// between, it stays, and may tell once of an error or a hang-up.) The kernel looks for the pair of a description and a number
/// in a tree, where kcmp(2) goes through all entries (fs/eventpoll.c: `ep_find`, `ep_find_tfd`). The numbers must be ours
/// for that: a thread with descriptors of its own does it.
pub fn are_watched(process: BorrowedFd<'_>, epoll: i32, numbers: &[i32]) -> Result<Vec<bool>> {
    let look = || -> Result<Vec<bool>> {
        // SAFETY: a number only. This thread has none but numbers from here on, and ends with them.
        check(unsafe { libc::unshare(libc::CLONE_FILES) }.into())?;
        let above = numbers.iter().copied().max().unwrap_or(0).max(epoll) + 1;
        let process = lift(process.as_raw_fd(), above)?;
        let epoll = lift(getfd(process, epoll)?, above)?;
        Ok(numbers.iter().map(|number| is_watched(process, epoll, *number).unwrap_or(false)).collect())
    };
    // Its numbers may be higher than ours can be by habit (systemd sets 1024). The threads of a process have one limit.
    let before = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    let found = std::thread::scope(|scope| {
        scope.spawn(look).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if raised.is_ok() {
        setrlimit(Resource::Nofile, before)?;
    }
    found
}

/// Another number for a descriptor of a thread that has its own.
fn lift(fd: i32, above: i32) -> Result<i32> {
    // SAFETY: numbers only; what is made is closed with the thread.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above) }.into()).map(|fd| fd as i32)
}

fn getfd(process: i32, number: i32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, number, 0) }).map(|fd| fd as i32)
}

/// In a thread with descriptors of its own, of which `process` and `epoll` have numbers above all others.
fn is_watched(process: i32, epoll: i32, number: i32) -> Result<bool> {
    let fetched = getfd(process, number)?;
    if fetched != number {
        // SAFETY: numbers only; what is replaced is this thread's copy.
        check(unsafe { libc::dup3(fetched, number, libc::O_CLOEXEC) }.into())?;
        // SAFETY: a number only, which was made above.
        unsafe { libc::close(fetched) };
    }
    let mut event = libc::epoll_event { events: (libc::EPOLLONESHOT | libc::EPOLLET) as u32, u64: 0 };
    // SAFETY: `event` is live, and only read.
    let added = check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, number, &raw mut event) }.into());
    if added.is_ok() {
        // SAFETY: as above; the kernel does not look at the event.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, number, &raw mut event) }.into())?;
    }
    // SAFETY: a number only, which leads to what was fetched.
    unsafe { libc::close(number) };
    match added {
        Ok(_) => Ok(false),
        Err(Errno::EXIST) => Ok(true),
        Err(errno) => Err(errno),
    }
}
