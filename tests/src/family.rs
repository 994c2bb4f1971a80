//! The processes that descend from a program's: found in /proc, waited for by their numbers, and ended with the program.
//!
//! The harness is a child subreaper: when a tree is killed, its orphans come to it, and keep their pids until it has taken
//! notice of each. Other tests do the same at the same time, so that none may wait for just any child.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::await_gone;
use crate::trial::Verdict;

/// The descendants of a process, parents before children; those that have ended but still have a pid too.
#[must_use]
pub fn descendants(root: Pid) -> Vec<Pid> {
    let mut all = children(root);
    let mut looked_at = 0;
    while let Some(parent) = all.get(looked_at).copied() {
        looked_at += 1;
        all.extend(children(parent));
    }
    all
}

/// proc_pid_task(5): `/proc/PID/task/TID/children`.
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else {
        return Vec::new();
    };
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let text: Vec<String> = tasks.flatten().map(of_task).collect();
    let numbers = text.iter().flat_map(|line| line.split_ascii_whitespace());
    numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
}

/// The descendants of a program. Dropped while the program lives, it kills and reaps them, and the program.
#[derive(Debug)]
pub struct Family {
    root: Pid,
    known: BTreeSet<i32>,
    over: bool,
}

impl Family {
    /// That of a program's process.
    #[must_use]
    pub fn of(root: Pid) -> Self {
        Self { root, known: BTreeSet::new(), over: false }
    }

    /// Remembers those that there are now.
    pub fn note(&mut self) {
        self.known.extend(descendants(self.root).into_iter().map(Pid::as_raw_pid));
    }

    /// Remembers these.
    pub fn add(&mut self, pids: impl IntoIterator<Item = i32>) {
        self.known.extend(pids.into_iter().filter(|pid| *pid != self.root.as_raw_pid()));
    }

    /// The program has ended by itself: what it may have left behind is not ours to look for.
    pub fn forget(&mut self) {
        self.over = true;
    }

    /// The whole tree has been killed, and the root reaped: waits until each of the others is gone.
    pub fn await_gone(&mut self) -> Verdict {
        self.over = true;
        self.known().into_iter().try_for_each(await_gone)
    }

    /// Those of them that are remembered, whether they live or not.
    #[must_use]
    pub fn known(&self) -> Vec<Pid> {
        self.known.iter().filter_map(|pid| Pid::from_raw(*pid)).collect()
    }

    /// Kills those that outlive the root: a supervisor that is killed while it kills may not get to all of them.
    pub fn kill_the_rest(&self) {
        for pid in self.known() {
            let _ = kill_process(pid, Signal::KILL); // most have ended
        }
    }

    /// Stops all that there are until there are no new ones, then kills them.
    pub fn kill(&mut self) {
        let mut stopped = BTreeSet::new();
        loop {
            let fresh: Vec<Pid> = std::iter::once(self.root)
                .chain(descendants(self.root))
                .filter(|pid| stopped.insert(pid.as_raw_pid()))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                let _ = kill_process(pid, Signal::STOP); // it may have ended
            }
        }
        for pid in stopped.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = kill_process(pid, Signal::KILL); // likewise
        }
        self.known = stopped;
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if !self.over {
            self.kill();
            let _ = self.await_gone(); // the test has failed already, or passed
        }
    }
}
