//! Freezing a process and all its descendants, also while they fork, exec and end.
//!
//! A process is stopped before its children are looked for, so that it makes no more; and the search is repeated over all
//! that are stopped until nothing new is found, as a process that ends meanwhile may leave its children to one of them
//! (prctl(2), `PR_SET_CHILD_SUBREAPER`). So a tree that forks without pause is caught: each step leaves fewer that can.
//!
//! A process inside vfork(2) cannot be stopped until its child has executed another program or has ended. The child is
//! not touched before its parent has stopped, and so gets there by itself.
//!
//! If we die, the kernel lets all of them go on.

use crate::Result;
use crate::error::{TraceeError, call};
use crate::freeze::{Frozen, thread_ids};
use rekindle_procfs::State;
use rekindle_sys::fs::{open_directory, read_whole};
use rekindle_sys::{apart, signal};
use rustix::fs::CWD;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A tree of processes, all of whose threads we hold stopped. Dropping it lets them go on.
pub struct FrozenTree {
    processes: Vec<Frozen>,
    zombies: Vec<i32>,
}

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

impl FrozenTree {
    /// Seizes and stops every thread of a process and of all its descendants but `except` (and what descends from that).
    /// All of it has `timeout`.
    pub fn freeze(root: i32, except: i32, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let mut tree = Self { processes: vec![Frozen::freeze(root, timeout)?], zombies: Vec::new() };
        let mut known = BTreeSet::from([root, except]);
        let mut looked_at = 0;
        loop {
            let from = std::mem::replace(&mut looked_at, tree.processes.len());
            let mut fresh = tree.children(from)?;
            fresh.retain(|pid| known.insert(*pid));
            // Nothing new below those that have just been stopped: once more below all, which may have adopted some.
            if fresh.is_empty() && from > 0 {
                fresh = tree.children(0)?;
                fresh.retain(|pid| known.insert(*pid));
            }
            if fresh.is_empty() {
                return Ok(tree);
            }
            for pid in fresh {
                let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
                match Frozen::freeze(pid, left) {
                    Ok(frozen) => tree.processes.push(frozen),
                    Err(error) => tree.note_lost(pid, error)?,
                }
            }
        }
    }

    /// The processes, parents before children.
    pub fn processes(&self) -> &[Frozen] {
        &self.processes
    }

    /// As [`Self::processes`], to borrow threads of.
    pub fn processes_mut(&mut self) -> &mut [Frozen] {
        &mut self.processes
    }

    /// Children of these that have ended, and that their parents have not taken notice of.
    pub fn zombies(&self) -> &[i32] {
        &self.zombies
    }

    /// Kills all of them; none runs again.
    pub fn kill(self) -> Result<()> {
        self.kill_and(|| {})
    }

    /// As [`Self::kill`], and does something when none can run any more, but nobody has been told of their end yet.
    pub fn kill_and(self, meanwhile: impl FnOnce()) -> Result<()> {
        // All of them, whatever becomes of one, and of us: half a tree must not go on.
        let mut sent = vec![Ok(()); self.processes.len()];
        let mut send = || {
            // Those that are killed run to their end at once and take the processors. Should we die meanwhile, the others are
            // let go, but stay where they are until it is their turn.
            for frozen in &self.processes {
                let _ = signal::kill(frozen.pid(), SIGSTOP); // it may be dead already
            }
            for (frozen, sent) in self.processes.iter().zip(&mut sent) {
                *sent = signal::kill(frozen.pid(), SIGKILL);
            }
        };
        if apart::run(&mut send).is_err() {
            send();
        }
        let mut result = Ok(());
        let mut killed = Vec::with_capacity(self.processes.len());
        for (frozen, sent) in self.processes.iter().zip(sent) {
            match call(frozen.pid(), "kill", sent) {
                Ok(()) => killed.push(frozen),
                Err(error) => result = result.and(Err(error)),
            }
        }
        meanwhile();
        // Those that others wait for come last.
        killed.iter().rev().fold(result, |result, frozen| result.and(frozen.await_end()))
    }

    /// A process that could not be frozen: it has ended, or nothing can be done.
    fn note_lost(&mut self, pid: i32, error: TraceeError) -> Result<()> {
        match state(pid) {
            Some(State::Zombie) => self.zombies.push(pid),
            None | Some(State::Dead) => {}
            Some(_) => return Err(error),
        }
        Ok(())
    }

    /// The children of all from the one at place `from` on.
    fn children(&self, from: usize) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        for frozen in self.processes.iter().skip(from) {
            all.extend(children_of(frozen.pid())?);
        }
        Ok(all)
    }
}

fn state(pid: i32) -> Option<State> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    rekindle_procfs::stat::parse(&stat).ok().map(|stat| stat.state)
}

/// The children of a process, from /proc/PID/task/TID/children of each thread (needs CONFIG_PROC_CHILDREN).
pub fn children_of(pid: i32) -> Result<Vec<i32>> {
    let (mut children, mut bytes) = (Vec::new(), Vec::new());
    let threads = open_directory(CWD, &format!("/proc/{pid}/task")).map_err(|_| TraceeError::Gone { pid })?;
    for tid in thread_ids(pid)? {
        // A thread may end meanwhile; its children are then those of another.
        if read_whole(threads.as_fd(), &format!("{tid}/children"), &mut bytes).is_err() {
            continue;
        }
        children.extend(rekindle_procfs::children::parse(&bytes).unwrap_or_default());
    }
    Ok(children)
}
