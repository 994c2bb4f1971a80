//! io_uring(7): the calls, and the constants of include/uapi/linux/io_uring.h.

use crate::{Result, check, last_errno};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `struct io_uring_params`: what a ring is made with, and what the kernel answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::IntoBytes, zerocopy::Immutable)]
pub struct Params {
    /// Entries of the submission queue.
    pub sq_entries: u32,
    /// Entries of the completion queue; asked for with [`setup::CQSIZE`].
    pub cq_entries: u32,
    /// [`setup`]
    pub flags: u32,
    /// The processor of the thread that submits, with [`setup::SQ_AFF`].
    pub sq_thread_cpu: u32,
    /// How long that thread looks for more before it sleeps, in milliseconds; 0: a second.
    pub sq_thread_idle: u32,
    /// `IORING_FEAT_*`
    pub features: u32,
    /// The ring whose workers are shared.
    pub wq_fd: u32,
    /// Zeros.
    pub reserved: [u32; 3],
    /// `struct io_sqring_offsets`: head, tail, mask, entries, flags, dropped, array; three more that are zeros.
    pub sq_off: [u32; 10],
    /// `struct io_cqring_offsets`: head, tail, mask, entries, overflow, cqes, flags; three more that are zeros.
    pub cq_off: [u32; 10],
}

/// `IORING_SETUP_*`
pub mod setup {
    /// A thread of the kernel's submits.
    pub const SQPOLL: u32 = 1 << 1;
    /// It keeps to a processor.
    pub const SQ_AFF: u32 = 1 << 2;
    /// The size of the completion queue is given.
    pub const CQSIZE: u32 = 1 << 3;
    /// An operation that cannot be begun does not end the submission (Linux 5.18).
    pub const SUBMIT_ALL: u32 = 1 << 7;
    /// `IORING_SQ_TASKRUN` tells of completions that wait for the task (Linux 5.19).
    pub const TASKRUN_FLAG: u32 = 1 << 9;
    /// Only one task submits (Linux 6.0).
    pub const SINGLE_ISSUER: u32 = 1 << 12;
    /// Completions wait until the task asks for them (Linux 6.1).
    pub const DEFER_TASKRUN: u32 = 1 << 13;
    /// Submissions are taken in the order in which they lie in memory (Linux 6.6).
    pub const NO_SQARRAY: u32 = 1 << 16;
}

/// Offset at which the memory of both queues is mapped.
pub const OFF_SQ_RING: u64 = 0;
/// The same, by its other name.
pub const OFF_CQ_RING: u64 = 0x800_0000;
/// Offset at which the memory of submissions is mapped.
pub const OFF_SQES: u64 = 0x1000_0000;
/// Bytes of a submission (`struct io_uring_sqe`).
pub const SQE_LEN: usize = 64;
/// Bytes of a completion (`struct io_uring_cqe`).
pub const CQE_LEN: usize = 16;
/// The most entries that a submission queue has (io_uring/io_uring.h); a completion queue has up to twice as many.
pub const ENTRIES_MAX: u32 = 32768;

/// `IORING_ENTER_GETEVENTS`
pub const ENTER_GETEVENTS: u32 = 1;
/// `IORING_ENTER_SQ_WAKEUP`
pub const ENTER_SQ_WAKEUP: u32 = 1 << 1;
/// `IORING_ENTER_REGISTERED_RING`
pub const ENTER_REGISTERED_RING: u32 = 1 << 4;
/// Rings that a task can register (`IO_RINGFD_REG_MAX`, io_uring/tctx.h).
pub const REGISTERED_RINGS_MAX: u32 = 16;

/// `IORING_REGISTER_*`
pub mod register {
    /// Buffers: `struct iovec`s.
    pub const BUFFERS: u32 = 0;
    /// Files: descriptors, -1 for none.
    pub const FILES: u32 = 2;
    /// An eventfd.
    pub const EVENTFD: u32 = 4;
    /// Asks which operations there are.
    pub const PROBE: u32 = 8;
    /// Asks for the head of a ring of buffers (Linux 6.8).
    pub const PBUF_STATUS: u32 = 26;
    /// Has network devices polled (Linux 6.9).
    pub const NAPI: u32 = 27;
}

/// Makes a ring (io_uring_setup(2)). The kernel's answers are in `params`.
pub fn make(entries: u32, params: &mut Params) -> Result<OwnedFd> {
    // SAFETY: `params` is live, exclusively borrowed, and has the layout of `struct io_uring_params`. With the flags that its
    // callers give the kernel uses no memory of ours but this.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, std::ptr::from_mut(params)) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: a descriptor that the kernel has just given us, and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Submits, and asks for completions (io_uring_enter(2)), without waiting for any. Tells how many were submitted.
pub fn enter(ring: impl AsFd, to_submit: u32, flags: u32) -> Result<u32> {
    let fd = ring.as_fd().as_raw_fd();
    // SAFETY: no pointer is passed. What is submitted is the business of whoever wrote it to the ring.
    let done = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, fd, to_submit, 0, flags, std::ptr::null::<u8>(), 0)
    };
    check(done).map(|done| done as u32)
}

/// What a ring answers to a question that makes no sense, and harms nothing: `EINVAL` if this task may ask it anything, `EEXIST`
/// if only another may ([`setup::SINGLE_ISSUER`]), `EACCES` if it is restricted.
pub fn ask(ring: impl AsFd) -> Result<u64> {
    const TOO_MANY: u32 = 300;
    let fd = ring.as_fd().as_raw_fd();
    let mut room = [0_u64; 2];
    // SAFETY: more answers are asked for than there can be, which fails before the memory is looked at (io_uring/register.c);
    // the pointer is to memory that is live.
    check(unsafe {
        libc::syscall(libc::SYS_io_uring_register, fd, register::PROBE, room.as_mut_ptr(), TOO_MANY)
    })
}
