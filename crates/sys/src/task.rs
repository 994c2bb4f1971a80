//! Attributes of a task that can be read or set from outside: scheduling, I/O priority, robust list.

use crate::{Result, check};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sched_attr` (include/uapi/linux/sched/types.h), times in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the names are those of sched_setattr(2)")]
pub struct SchedAttr {
    pub size: u32,
    pub sched_policy: u32,
    pub sched_flags: u64,
    pub sched_nice: i32,
    pub sched_priority: u32,
    pub sched_runtime: u64,
    pub sched_deadline: u64,
    pub sched_period: u64,
    pub sched_util_min: u32,
    pub sched_util_max: u32,
}

/// sched_getattr(2).
pub fn sched_getattr(tid: i32) -> Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: `attr` is live and `size` is its length.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size, 0) })?;
    Ok(attr)
}

/// sched_setattr(2). `EPERM` for what needs `CAP_SYS_NICE`.
pub fn sched_setattr(tid: i32, attr: &SchedAttr) -> Result<()> {
    // SAFETY: `attr` is live; its length is in its first field, set here.
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0) }).map(drop)
}

/// sched_getaffinity(2): the processors a task may run on, as the kernel's bit mask in bytes.
pub fn sched_getaffinity(tid: i32) -> Result<Vec<u8>> {
    let mut mask = vec![0_u8; 1024];
    // SAFETY: the buffer is live and of the length passed.
    let len =
        check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, mask.len(), mask.as_mut_ptr()) })?;
    mask.truncate(len as usize);
    Ok(mask)
}

/// sched_setaffinity(2). `EINVAL` when none of the processors exists here.
pub fn sched_setaffinity(tid: i32, mask: &[u8]) -> Result<()> {
    // SAFETY: the buffer is live and of the length passed; it is only read.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, tid, mask.len(), mask.as_ptr()) }).map(drop)
}

const IOPRIO_WHO_PROCESS: i32 = 1;

/// ioprio_get(2).
pub fn ioprio_get(tid: i32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid) }).map(|v| v as i32)
}

/// ioprio_set(2).
pub fn ioprio_set(tid: i32, value: i32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, value) }).map(drop)
}

/// get_robust_list(2): head and length of a task's list of robust futexes.
pub fn get_robust_list(tid: i32) -> Result<(u64, u64)> {
    let (mut head, mut len) = (0_u64, 0_u64);
    // SAFETY: both out-parameters are live 8-byte values.
    check(unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) })?;
    Ok((head, len))
}

/// What kcmp(2) compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kcmp {
    /// Two descriptors: the same open file description?
    File = 0,
    /// The address spaces.
    Vm = 1,
    /// The descriptor tables.
    Files = 2,
    /// Root, working directory, umask.
    Fs = 3,
    /// The signal handlers.
    Sighand = 4,
    /// The I/O contexts.
    Io = 5,
    /// The System V semaphore undo lists.
    Sysvsem = 6,
}

/// kcmp(2): how two resources of two processes order; `Equal` when they are one.
pub fn kcmp(pid1: i32, pid2: i32, what: Kcmp, idx1: u64, idx2: u64) -> Result<std::cmp::Ordering> {
    // SAFETY: numbers only.
    let value = check(unsafe { libc::syscall(libc::SYS_kcmp, pid1, pid2, what as i32, idx1, idx2) })?;
    ordering(value)
}

fn ordering(value: u64) -> Result<std::cmp::Ordering> {
    Ok(match value {
        0 => std::cmp::Ordering::Equal,
        1 => std::cmp::Ordering::Less,
        _ => std::cmp::Ordering::Greater,
    })
}

/// `struct kcmp_epoll_slot` (include/uapi/linux/kcmp.h)
#[repr(C)]
struct EpollSlot {
    epoll: u32,
    target: u32,
    nth: u32,
}

/// kcmp(2) with `KCMP_EPOLL_TFD`: how a descriptor of one process orders with what an epoll of another watches, which was
/// added under the number `target`, as the `nth` (from 0) of that number in fdinfo. `ENOENT` when there is none.
pub fn kcmp_epoll(
    pid: i32,
    fd: i32,
    epoll_pid: i32,
    epoll: i32,
    target: i32,
    nth: u32,
) -> Result<std::cmp::Ordering> {
    const KCMP_EPOLL_TFD: i32 = 7;
    let slot = EpollSlot { epoll: epoll as u32, target: target as u32, nth };
    let (what, at) = (KCMP_EPOLL_TFD, &raw const slot);
    // SAFETY: `slot` is live and of the form that the kernel reads for this comparison.
    ordering(check(unsafe { libc::syscall(libc::SYS_kcmp, pid, epoll_pid, what, fd, at) })?)
}

/// Whether a process can ask for the numbers that its new POSIX timers get (`PR_TIMER_CREATE_RESTORE_IDS`, Linux 6.15).
pub fn timer_ids_can_be_asked_for() -> bool {
    const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
    const GET: i32 = 2;
    // SAFETY: numbers only; the call asks, and changes nothing.
    unsafe { libc::prctl(PR_TIMER_CREATE_RESTORE_IDS, GET, 0, 0, 0) >= 0 }
}

/// The calling thread's tid.
pub fn gettid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }
}
