//! Room in an address space: where the stub can lie that is free both in us, who clone the process, and in the
//! program that it becomes; and where shared memory can be filled before its mappings are made.

use crate::error::Error;
use crate::record::ProcessPlan;
use rekindle_sys::PAGE_SIZE;
use rekindle_sys::arch::TASK_SIZE;

/// Ranges of addresses that are taken, to find free ones between.
pub(super) struct Places {
    taken: Vec<(u64, u64)>,
}

/// Lowest address given out: above what vm.mmap_min_addr may forbid, and a null pointer's neighbourhood.
const LOWEST: u64 = 0x1_0000_0000;
/// Distance kept to what is taken, for stacks that grow down and their guard gap (256 pages).
const DISTANCE: u64 = 512 * PAGE_SIZE;

impl Places {
    /// Those free in every process of the program and in this process.
    pub(super) fn of(processes: &[ProcessPlan]) -> Result<Self, Error> {
        let own = crate::view::parse(std::process::id() as i32, "maps", rekindle_procfs::maps::parse)?;
        let mut taken: Vec<(u64, u64)> = own.iter().map(|mapping| (mapping.start, mapping.end)).collect();
        for process in processes {
            taken.extend(process.mappings.iter().map(|mapping| (mapping.start, mapping.end)));
            taken.extend(process.vdso.iter().map(|vdso| (vdso.vvar_start.min(vdso.start), vdso.end)));
        }
        taken.sort_unstable();
        taken.dedup_by(|next, before| {
            let touches = next.0 <= before.1;
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        Ok(Self { taken })
    }

    /// Takes `len` bytes, as high up as there is room.
    pub(super) fn take(&mut self, len: u64) -> Result<u64, Error> {
        let len = len.next_multiple_of(PAGE_SIZE);
        let mut above = TASK_SIZE;
        for (index, (start, end)) in self.taken.iter().enumerate().rev() {
            let room_from = end.saturating_add(DISTANCE).max(LOWEST);
            if above.saturating_sub(room_from) >= len + DISTANCE {
                let at = above - DISTANCE - len;
                self.taken.insert(index + 1, (at, at + len));
                return Ok(at);
            }
            above = above.min(*start);
        }
        Err(Error::DoesNotFit(vec![format!(
            "the program's address space has no {len} bytes free for the restore"
        )]))
    }
}
