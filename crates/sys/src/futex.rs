//! Futexes in memory shared with a tracee, and the list by which the kernel tells it that we died.

use crate::shared::SharedArea;
use crate::{Errno, Result, check};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Set by the kernel in a futex word whose owner died (include/uapi/linux/futex.h).
pub const OWNER_DIED: u32 = 0x4000_0000;
/// Tells the kernel that somebody waits.
pub const WAITERS: u32 = 0x8000_0000;

/// `FUTEX_WAIT`: sleeps while `word` holds `expected`, for at most `timeout`. Returns also when woken for no reason.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Result<()> {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY: the word and the timeout are live references for the length of the call.
    let value = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const timeout)
    };
    match check(value) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// `FUTEX_WAKE`: wakes up to `count` waiters of `word`.
pub fn wake(word: &AtomicU32, count: i32) -> Result<()> {
    // SAFETY: the word is a live reference; the call does not write to it.
    let value = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    check(value).map(drop)
}

#[repr(C)]
struct RobustListHead {
    first: u64,
    futex_offset: i64,
    pending: u64,
}

/// The robust futexes that the calling thread owns: when the thread ends, however it ends, the kernel marks each
/// with [`OWNER_DIED`] and wakes a waiter (get_robust_list(2), Documentation/locking/robust-futex-ABI.rst).
///
/// It takes the place of the thread's robust list that the C library set up, and so must live on a thread that
/// holds no robust pthread mutex; dropping it gives the C library's back. It cannot leave its thread.
pub struct RobustList {
    head: Box<RobustListHead>,
    nodes: Vec<NodePlace>,
    previous: (u64, usize),
    _not_send: std::marker::PhantomData<*const ()>,
}

/// A node of the list: a pointer to the next, in the shared area itself, a fixed distance behind its word.
struct NodePlace {
    area: SharedArea,
    offset: usize,
}

impl NodePlace {
    fn address(&self) -> u64 {
        self.area.address() + self.offset as u64
    }
}

impl RobustList {
    /// How far behind its futex word a node lies, in bytes.
    pub const NODE_DISTANCE: usize = 64;

    /// Registers an empty list for the calling thread.
    pub fn register() -> Result<Self> {
        let mut previous_head = 0_u64;
        let mut previous_len = 0_usize;
        // SAFETY: both out-parameters are live; pid 0 is the calling thread.
        let value = unsafe {
            libc::syscall(libc::SYS_get_robust_list, 0, &raw mut previous_head, &raw mut previous_len)
        };
        check(value)?;
        let mut head =
            Box::new(RobustListHead { first: 0, futex_offset: -(Self::NODE_DISTANCE as i64), pending: 0 });
        head.first = &raw const *head as u64;
        // SAFETY: the head is boxed, so that it stays where it is until `drop` unregisters it.
        let value = unsafe {
            libc::syscall(libc::SYS_set_robust_list, &raw const *head, size_of::<RobustListHead>())
        };
        check(value)?;
        let previous = (previous_head, previous_len);
        Ok(Self { head, nodes: Vec::new(), previous, _not_send: std::marker::PhantomData })
    }

    /// Puts the word at `word_offset` of `area` on the list; the 8 bytes [`Self::NODE_DISTANCE`] behind it are the
    /// list's own from then on. The area stays mapped as long as the list.
    pub fn add(&mut self, area: &SharedArea, word_offset: usize) {
        let offset = word_offset + Self::NODE_DISTANCE;
        let next = self.head.first;
        area.store_u64(offset, next);
        let node = NodePlace { area: area.clone(), offset };
        // The node points onward before the head points to it: the list is whole at every instant.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.head.first = node.address();
        self.nodes.push(node);
    }

    /// Takes the words of `area` off the list whose nodes lie in a range of offsets.
    pub fn remove(&mut self, area: &SharedArea, range: std::ops::Range<usize>) {
        self.nodes.retain(|node| !(node.area.is_same(area) && range.contains(&node.offset)));
        let mut next = &raw const *self.head as u64;
        for node in &self.nodes {
            node.area.store_u64(node.offset, next);
            next = node.address();
        }
        self.head.first = next;
    }
}

impl Drop for RobustList {
    fn drop(&mut self) {
        let (head, len) = self.previous;
        // SAFETY: this was the thread's list before; the C library keeps it for as long as the thread lives.
        unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) };
    }
}
