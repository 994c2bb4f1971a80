//! Restartable sequences (rseq(2)) of a task that is made to execute something else in the middle of one.
//!
//! When such a task returns to user mode anywhere outside of the sequence, the kernel takes that as its end and forgets
//! it. Put back into the sequence, the task would complete it on whatever processor it is on by then. So it is put back
//! at the sequence's abort handler, as after a preemption.

use rekindle_sys::vm;
use zerocopy::IntoBytes;

/// Offset of `rseq_cs` in `struct rseq` (include/uapi/linux/rseq.h).
const RSEQ_CS: u64 = 8;

/// The abort handler of the sequence that `rip` is inside of, if it is inside of one; `area` is the task's
/// `struct rseq`. `struct rseq_cs` is {version, flags, start, length, abort}.
pub(crate) fn abort_ip(tid: i32, area: u64, rip: u64) -> Option<u64> {
    let [descriptor] = read_u64s(tid, area.checked_add(RSEQ_CS)?)?;
    if descriptor == 0 {
        return None;
    }
    let [start, length, abort] = read_u64s(tid, descriptor.checked_add(8)?)?;
    (rip.wrapping_sub(start) < length).then_some(abort)
}

fn read_u64s<const N: usize>(tid: i32, address: u64) -> Option<[u64; N]> {
    let mut numbers = [0_u64; N];
    let bytes = numbers.as_mut_bytes();
    (vm::read(tid, address, bytes) == Ok(bytes.len())).then_some(numbers)
}
