//! What madvise(2), mlock(2) and mseal(2) have set on a mapping, as the VmFlags of /proc/PID/smaps show it.

use rekindle_procfs::smaps::VmFlags;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// A VmFlags code and the advice that sets it (include/uapi/asm-generic/mman-common.h).
const ADVICE: [([u8; 2], i32, &str); 5] = [
    (*b"rr", 1, "MADV_RANDOM"),
    (*b"sr", 2, "MADV_SEQUENTIAL"),
    (*b"mg", 12, "MADV_MERGEABLE"),
    (*b"hg", 14, "MADV_HUGEPAGE"),
    (*b"nh", 15, "MADV_NOHUGEPAGE"),
];
/// Advice on what a fork does, which must not be given before the last fork of a restore.
const FORK_ADVICE: [([u8; 2], i32, &str); 2] =
    [(*b"dc", 10, "MADV_DONTFORK"), (*b"wf", 18, "MADV_WIPEONFORK")];

/// Leaves a mapping out of core dumps.
pub const DONTDUMP: i32 = 16;
/// Takes [`DONTDUMP`] back.
pub const DODUMP: i32 = 17;
/// Drops pages.
pub const DONTNEED: i32 = 4;
/// Makes pages that fault (Linux 6.13).
pub const GUARD_INSTALL: i32 = 102;
const MLOCK_ONFAULT: i32 = 1;

/// VmFlags of mappings that cannot be captured, and why.
pub const REFUSED: [([u8; 2], &str); 6] = [
    (*b"um", "it is watched by userfaultfd"),
    (*b"uw", "it is write-protected by userfaultfd"),
    (*b"ui", "it is watched by userfaultfd"),
    (*b"ss", "it is a shadow stack"),
    (*b"pf", "it maps a device's memory"),
    (*b"mm", "it maps a device's mixed memory"),
];

/// Advice to be given before contents come, such as for huge pages.
pub fn before_contents(flags: &VmFlags, start: u64, len: u64, batch: &mut Batch) {
    for (code, advice, name) in ADVICE {
        if flags.has(code) {
            batch.step(name, nr::MADVISE, [start.into(), len.into(), advice.into()]);
        }
    }
}

/// Locks, and what a fork does, which come when contents and protection are final.
pub fn after_contents(flags: &VmFlags, prot: u32, start: u64, len: u64, batch: &mut Batch) {
    for (code, advice, name) in FORK_ADVICE {
        if flags.has(code) {
            batch.step(name, nr::MADVISE, [start.into(), len.into(), advice.into()]);
        }
    }
    if flags.has(*b"lo") {
        let how = if flags.has(*b"lf") { MLOCK_ONFAULT } else { 0 };
        let args = [start.into(), len.into(), how.into()];
        if prot == 0 {
            // ENOMEM for pages that nobody may touch: the mapping is locked all the same (mlock(2)).
            batch.step_may_fail("mlock2", nr::MLOCK2, args);
        } else {
            batch.step("locking memory (needs CAP_IPC_LOCK, or room below RLIMIT_MEMLOCK)", nr::MLOCK2, args);
        }
    }
}

/// The seal, which forbids all that comes before it.
pub fn seal(flags: &VmFlags, start: u64, len: u64, batch: &mut Batch) {
    if flags.has(*b"sl") {
        batch.step("mseal", nr::MSEAL, [start.into(), len.into(), 0.into()]);
    }
}
