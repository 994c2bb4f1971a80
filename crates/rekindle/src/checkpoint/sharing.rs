//! What processes share beyond a fork (clone(2): `CLONE_VM`, `CLONE_FILES`, `CLONE_FS`, `CLONE_SIGHAND`, `CLONE_IO`), which
//! threads do and processes hardly ever.
//!
//! A restored process shares it with whoever clones it, so that it must be shared with that one; anything else is refused.

use crate::refusal::{Refusal, Refusals};
use crate::view::TreeView;
use rekindle_sys::task::{Kcmp, kcmp};
use std::cmp::Ordering;

/// What is looked at, the flag that makes it so, and its name.
const SHARED: [(Kcmp, i32, &str); 5] = [
    (Kcmp::Vm, libc::CLONE_VM, "memory (CLONE_VM)"),
    (Kcmp::Files, libc::CLONE_FILES, "descriptors (CLONE_FILES)"),
    (Kcmp::Fs, libc::CLONE_FS, "working directory and umask (CLONE_FS)"),
    (Kcmp::Sighand, libc::CLONE_SIGHAND, "signal handlers (CLONE_SIGHAND)"),
    (Kcmp::Io, libc::CLONE_IO, "I/O priority (CLONE_IO)"),
];

/// What a process shares with the one that clones it: `CLONE_*`.
pub(super) fn with_maker(tree: &TreeView, pid: i32) -> u32 {
    let Some(maker) = tree.ties.maker(pid) else { return 0 };
    let shared = SHARED.iter().filter(|(what, ..)| is_one(tree, maker, pid, *what));
    shared.fold(0, |flags, (_, flag, _)| flags | *flag as u32)
}

/// Refuses processes that share any of it with another than that.
pub(super) fn survey(tree: &TreeView, list: &mut Vec<Refusal>) {
    for (what, _, noun) in SHARED {
        for (one, other) in pairs(tree, what) {
            if tree.ties.maker(other).is_some_and(|maker| is_one(tree, maker, other, what)) {
                continue;
            }
            let mut refusals = Refusals::of(other);
            let why = format!("it shares its {noun} with process {one}, which is not its parent");
            refusals.add("shared-process", "the process", why, "");
            list.extend(refusals.into_list());
        }
    }
}

fn is_one(tree: &TreeView, a: i32, b: i32, what: Kcmp) -> bool {
    kcmp(a, b, what, 0, 0) == Ok(Ordering::Equal) && has_any(tree, b, what)
}

/// Whether a process has such a thing at all: an I/O context is made when first needed, and those who have none compare as if
/// they had one together. Nobody has less than a process that has ended.
fn has_any(tree: &TreeView, pid: i32, what: Kcmp) -> bool {
    if what != Kcmp::Io {
        return true;
    }
    tree.nobody().is_some_and(|nobody| kcmp(nobody, pid, what, 0, 0).is_ok_and(Ordering::is_ne))
}

/// Processes that share a resource with one before them.
fn pairs(tree: &TreeView, what: Kcmp) -> Vec<(i32, i32)> {
    let mut met: Vec<i32> = Vec::new();
    let mut found = Vec::new();
    for view in tree.processes.iter().filter(|view| has_any(tree, view.pid, what)) {
        // Without kcmp, or of a process that has just ended, everybody seems to have his own.
        let order = |other: &i32| kcmp(*other, view.pid, what, 0, 0).unwrap_or(Ordering::Less);
        match met.binary_search_by(order) {
            Ok(at) => found.push((met[at], view.pid)),
            Err(at) => met.insert(at, view.pid),
        }
    }
    found
}
