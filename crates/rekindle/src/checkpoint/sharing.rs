//! What processes share beyond a fork (clone(2): `CLONE_VM`, `CLONE_FILES`, `CLONE_FS`, `CLONE_SIGHAND`), which threads do and
//! processes hardly ever.
//!
//! kcmp(2) orders the resources of two tasks, so that those that are one are found by searching.

use crate::refusal::{Refusal, Refusals};
use crate::view::TreeView;
use rekindle_sys::task::{Kcmp, kcmp};
use std::cmp::Ordering;

/// What is looked at, and its name.
const SHARED: [(Kcmp, &str); 4] = [
    (Kcmp::Vm, "memory (CLONE_VM)"),
    (Kcmp::Files, "descriptors (CLONE_FILES)"),
    (Kcmp::Fs, "working directory and umask (CLONE_FS)"),
    (Kcmp::Sighand, "signal handlers (CLONE_SIGHAND)"),
];

/// Refuses processes that share any of it.
pub(super) fn survey(tree: &TreeView, list: &mut Vec<Refusal>) {
    for (what, noun) in SHARED {
        for (one, other) in pairs(tree, what) {
            let mut refusals = Refusals::of(other);
            let why = format!("it shares its {noun} with process {one}, which cannot be captured yet");
            refusals.add("shared-process", "the process", why, "");
            list.extend(refusals.into_list());
        }
    }
}

/// Pairs of processes that share a resource.
fn pairs(tree: &TreeView, what: Kcmp) -> Vec<(i32, i32)> {
    let mut met: Vec<i32> = Vec::new();
    let mut found = Vec::new();
    for view in &tree.processes {
        // Without kcmp, or of a process that has just ended, everybody seems to have his own.
        let order = |other: &i32| kcmp(*other, view.pid, what, 0, 0).unwrap_or(Ordering::Less);
        match met.binary_search_by(order) {
            Ok(at) => found.push((met[at], view.pid)),
            Err(at) => met.insert(at, view.pid),
        }
    }
    found
}
