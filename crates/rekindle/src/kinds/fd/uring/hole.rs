//! Mapping a ring at a given address, which the kernel refuses to do: it chooses itself (io_uring/memmap.c,
//! `io_uring_get_unmapped_area`, refuses every address and so every move).
//!
//! So it is left no choice. All that is free in the address space is taken, but for the place where the ring shall be:
//!
//! ```text
//! free   [........]  program [....] place kept [........] program [...]
//! taken  [xxxxxxxx]  program [xxxx]            [xxxxxxxx] program [xxx]     then: mmap(NULL), and all x go again
//! ```

use crate::error::Error;
use rekindle_procfs::maps;
use rekindle_sys::arch::TASK_SIZE;
use rekindle_sys::nr;
use rekindle_tracee::{Batch, Newborn};

/// The lowest address that is taken: what is below, the kernel gives to nobody who does not ask (vm.mmap_min_addr).
const LOWEST: u64 = 0x1_0000;
const MAP_SHARED_POPULATE: i32 = 0x8001;
/// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE`
const TAKE: i32 = 0x10_4022;

/// A part of a ring to be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) prot: u32,
    /// `IORING_OFF_*`
    pub(super) offset: u64,
}

/// Maps a part of the ring that has a number in a process, in the place of what is mapped there now to keep it.
pub(super) fn map(newborn: &mut Newborn, ring: i32, part: &Part) -> Result<(), Error> {
    let maps = crate::view::parse(newborn.pid(), "maps", maps::parse)?;
    let mut free = Vec::new();
    let mut from = LOWEST;
    for mapping in &maps {
        if mapping.start > from && from < TASK_SIZE {
            free.push((from, mapping.start.min(TASK_SIZE) - from));
        }
        from = from.max(mapping.end);
    }
    if from < TASK_SIZE {
        free.push((from, TASK_SIZE - from));
    }
    let mut batch = Batch::new();
    for (start, len) in &free {
        let args = [(*start).into(), (*len).into(), 0.into(), TAKE.into(), (-1).into(), 0.into()];
        batch.step("taking what is free", nr::MMAP, args);
    }
    let len = part.end - part.start;
    batch.step("munmap", nr::MUNMAP, [part.start.into(), len.into()]);
    let label = format!("mapping an io_uring at {:x}", part.start);
    let args =
        [0.into(), len.into(), part.prot.into(), MAP_SHARED_POPULATE.into(), ring.into(), part.offset.into()];
    let mapped = batch.step(label.clone(), nr::MMAP, args);
    for (start, len) in &free {
        batch.step("munmap", nr::MUNMAP, [(*start).into(), (*len).into()]);
    }
    let answers = newborn.run(&batch)?;
    if answers.result(mapped) == Ok(part.start) {
        return Ok(());
    }
    Err(Error::call(label, rekindle_sys::Errno::ADDRINUSE))
}
