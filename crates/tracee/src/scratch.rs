//! Where a signal frame can lie in a running process without harm, before anything is mapped for it: in pages at the
//! low end of its initial stack, far below the stack pointer, best where no page has been touched yet.
//!
//! Memory below the stack pointer means nothing to a program (System V ABI, 3.2.2: but for the 128 bytes of the red
//! zone), so that a frame left there by our sudden death is no harm. We put the bytes back all the same.

use crate::Result;
use crate::error::{TraceeError, call};
use rekindle_procfs::maps::Mapping;
use rekindle_procfs::pagemap;
use rekindle_sys::{Errno, PAGE_SIZE, vm};
use std::os::unix::fs::FileExt;

/// More than this is not asked for, in bytes: some two dozen threads can answer at a time then.
const LEN_MAX: u64 = 32 * PAGE_SIZE;
/// Bytes below a stack pointer that are in use (System V ABI, 3.2.2).
const RED_ZONE: u64 = 128;
/// Touched pages are used only this far below a stack pointer, in bytes.
const DISTANCE: u64 = 32 * 1024;

/// Pages of a process's stack that we write to.
pub(crate) struct Scratch {
    pid: i32,
    /// First byte.
    pub(crate) start: u64,
    /// What was there before, of all of it.
    pub(crate) before: Vec<u8>,
}

impl Scratch {
    /// Finds pages for at least `needed` bytes, for `wanted` if there is so much room. `stack_pointers` are those of
    /// all threads.
    pub(crate) fn find(
        pid: i32,
        mappings: &[Mapping],
        stack_pointers: &[u64],
        needed: u64,
        wanted: u64,
    ) -> Result<Self> {
        let none = |why| TraceeError::NoRoom { pid, what: "a signal frame", why };
        let stack = mappings
            .iter()
            .find(|m| m.name == b"[stack]")
            .ok_or_else(|| none("it has no initial stack mapping"))?;
        let inside = stack_pointers.iter().copied().filter(|sp| (stack.start..stack.end).contains(sp));
        let lowest_sp = inside.min();
        let wanted = wanted.clamp(needed, LEN_MAX.max(needed)).next_multiple_of(PAGE_SIZE);
        let end = lowest_sp.map_or(stack.end, |sp| sp - RED_ZONE).min(stack.start.saturating_add(wanted));
        let unused = unused_len(pid, stack.start, end);
        let far_below = lowest_sp.unwrap_or(stack.start).saturating_sub(stack.start + DISTANCE);
        // Pages that have been touched only where others do not do.
        let room = if unused >= needed { unused } else { far_below };
        let len = room.min(wanted) / PAGE_SIZE * PAGE_SIZE;
        if len < needed {
            return Err(none("its initial stack is in use down to the last page"));
        }
        let mut before = vec![0; len as usize];
        let count = call(pid, "reading its stack", vm::read(pid, stack.start, &mut before))?;
        if count < before.len() {
            return Err(none("its initial stack cannot be read"));
        }
        Ok(Self { pid, start: stack.start, before })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.before.len()
    }

    /// Writes to the scratch pages.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        call(self.pid, "writing to its stack", vm::write(self.pid, address, bytes)).map(drop)
    }

    /// Reads from the scratch pages.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let read = match vm::read(self.pid, address, bytes) {
            Ok(count) if count < bytes.len() => Err(Errno::FAULT),
            read => read,
        };
        call(self.pid, "reading its stack", read).map(drop)
    }

    /// Puts back what was there.
    pub(crate) fn restore(&self) -> Result<()> {
        self.write(self.start, &self.before)
    }
}

/// How many bytes from `start` on are of no use to the program: pages that have never been touched, or that hold
/// nothing but zeros (as those of an earlier scratch do) and lie below every stack pointer in the stack.
fn unused_len(pid: i32, start: u64, end: u64) -> u64 {
    let pages = end.saturating_sub(start) / PAGE_SIZE;
    let mut entries = vec![0_u8; pages as usize * 8];
    let read = std::fs::File::open(format!("/proc/{pid}/pagemap"))
        .and_then(|file| file.read_exact_at(&mut entries, start / PAGE_SIZE * 8));
    if read.is_err() {
        return 0;
    }
    let in_use = (0..pages).zip(entries.chunks_exact(8)).position(|(page, chunk)| {
        let entry = pagemap::Entry(chunk.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes)));
        (entry.present() || entry.swapped()) && !holds_zeros(pid, start + page * PAGE_SIZE)
    });
    in_use.map_or(pages, |page| page as u64) * PAGE_SIZE
}

fn holds_zeros(pid: i32, address: u64) -> bool {
    let mut page = [0; PAGE_SIZE as usize];
    vm::read(pid, address, &mut page) == Ok(page.len()) && page.iter().all(|byte| *byte == 0)
}
