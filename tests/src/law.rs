//! The law: what /proc tells of a process after a restore is what it told before the checkpoint, apart from one short table.
//!
//! The table is the only place where a difference is excused, each with its reason and with the occasion on which it may
//! occur. Whatever the kernel adds to these files in future is under the law from the first day.

use crate::snapshot::Snapshot;
use crate::trial::Verdict;
use crate::{ensure, fail};

/// What has happened between two snapshots; each occasion may change what those before it may change, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// The process was checkpointed and went on: only what changes in any process that waits.
    LeftRunning,
    /// It was killed and restored, and is our child again.
    Restored,
    /// It was killed and restored, and its parent is the restorer.
    RestoredInForeground,
}
use Occasion::{LeftRunning, Restored, RestoredInForeground};

/// Name (`*` stands for any part of it), the occasion from which on it may differ, and why.
pub const VOLATILE: &[(&str, Occasion, &str)] = &[
    ("*status/voluntary_ctxt_switches", LeftRunning, "counts how often the thread has waited"),
    ("*status/nonvoluntary_ctxt_switches", LeftRunning, "counts how often the thread was preempted"),
    ("*stat/utime", LeftRunning, "time used; no system call sets it"),
    ("*stat/stime", LeftRunning, "time used; stopping takes some"),
    ("*stat/guest_time", LeftRunning, "time used"),
    ("*stat/minflt", LeftRunning, "counts page faults; no system call sets it"),
    ("*stat/majflt", LeftRunning, "counts page faults"),
    ("*stat/processor", LeftRunning, "the processor it last ran on; the scheduler's choice"),
    ("*stat/delayacct_blkio_ticks", LeftRunning, "time waited for the disk"),
    ("*stat/wchan", LeftRunning, "0 or 1: whether the thread happens to be blocked"),
    ("*status/SigQ", LeftRunning, "counts the signals queued for all processes of the user"),
    ("*status/VmRSS", LeftRunning, "pages present; the kernel drops and fetches pages of files as it likes"),
    ("*status/RssAnon", LeftRunning, "pages present"),
    ("*status/RssFile", LeftRunning, "pages present"),
    ("*status/RssShmem", LeftRunning, "pages present"),
    (
        "*status/HugetlbPages",
        Restored,
        "huge pages mapped by now; those of shared memory are mapped as they are touched",
    ),
    ("*status/VmSwap", LeftRunning, "pages swapped out; the kernel's choice"),
    ("*status/VmHWM", LeftRunning, "the most pages ever present; no system call sets it"),
    ("*status/VmPTE", LeftRunning, "page tables; built as pages are touched"),
    ("*stat/rss", LeftRunning, "pages present"),
    (
        "*status/VmPeak",
        LeftRunning,
        "the largest size ever; a batch maps a page or two for as long as it runs",
    ),
    ("*stat/starttime", Restored, "when the kernel made the process; no system call sets it"),
    (
        "*stat/flags",
        Restored,
        "the kernel's own notes (PF_*): forked without exec, used the FPU, was a memory reclaimer",
    ),
    ("*stat/cminflt", Restored, "counts page faults of children reaped; no system call sets it"),
    ("*stat/cmajflt", Restored, "counts page faults of children reaped"),
    ("*stat/cutime", Restored, "time used by children reaped"),
    ("*stat/cstime", Restored, "time used by children reaped"),
    ("*stat/cguest_time", Restored, "time used by children reaped"),
    ("status/PPid", RestoredInForeground, "the parent is the restorer, by definition"),
    ("task/*/status/PPid", RestoredInForeground, "the parent is the restorer, by definition"),
    ("stat/ppid", RestoredInForeground, "the parent is the restorer, by definition"),
    ("task/*/stat/ppid", RestoredInForeground, "the parent is the restorer, by definition"),
];

/// Differences that concern which call a thread waits in, not its state: a wait stopped once shows as `restart_syscall` (219)
/// and a wait entered anew may be a different call with the remaining time. Stack pointer and program counter are compared.
const WAITS: &[&str] = &["219", "230", "35", "202", "7", "271", "23", "270", "128"];

/// Compares two snapshots of one process.
pub fn holds(before: &Snapshot, after: &Snapshot, occasion: Occasion) -> Verdict {
    let mut broken = before.differences(after);
    broken.retain(|(name, was, is)| !excused(name, was, is, occasion));
    if broken.is_empty() {
        return Ok(());
    }
    broken.sort_by_key(|(name, ..)| name.starts_with("maps/") || name.starts_with("task/")); // these repeat themselves
    let lines = broken.iter().take(12).map(|(name, was, is)| format!("\n  {name}: was '{was}', is '{is}'"));
    fail!("{} differences in /proc ({occasion:?}):{}", broken.len(), lines.collect::<String>());
}

fn excused(name: &str, was: &str, is: &str, occasion: Occasion) -> bool {
    let wait = |call: &str| call.split(' ').next().is_some_and(|number| WAITS.contains(&number));
    VOLATILE.iter().any(|(pattern, from, _)| occasion >= *from && matches(pattern, name))
        || (name.ends_with("/syscall/call") && wait(was) && wait(is))
}

/// `*` in a pattern stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
        }),
    }
}

/// A name in the table that no snapshot has would excuse nothing, and hide a mistake.
pub fn table_is_alive(snapshot: &Snapshot) -> Verdict {
    for (pattern, _, reason) in VOLATILE {
        ensure!(!reason.is_empty(), "{pattern} has no reason");
        ensure!(
            snapshot.names().any(|name| matches(pattern, name)),
            "{pattern} is in the table, but not in /proc"
        );
    }
    Ok(())
}
