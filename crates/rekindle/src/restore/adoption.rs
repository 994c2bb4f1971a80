//! A process that its parent has adopted: made by one that has ended, further below, in a session that the parent has never
//! been in (see `ties`). It is made as it was in life.
//!
//! ```text
//! parent: PR_SET_CHILD_SUBREAPER ── host: clones a passing child ── that clones the process, and ends ── host: takes notice
//!   ── parent: not PR_SET_CHILD_SUBREAPER any more (what it was in the end is set with its other settings)
//! ```
//!
//! The passing child sends no signal when it ends, and its number is free again before anybody else is made. It is one that
//! no process of the image has.

use super::nest::{Nest, SIGCHLD};
use crate::error::Error;
use rekindle_sys::clone::Offspring;
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Batch, Newborn, TraceeError};
use std::collections::BTreeSet;
use std::path::Path;

/// `PR_SET_CHILD_SUBREAPER` (include/uapi/linux/prctl.h).
const PR_SET_CHILD_SUBREAPER: i32 = 36;

/// How many numbers are tried for a passing child: others on the machine may be as fast as we are.
const ATTEMPTS: usize = 100;

impl Nest<'_> {
    /// Makes a process that comes from a passing child of `host`, and that `parent`, from which the host descends, adopts.
    pub(super) fn bear_adopted(&mut self, pid: i32, host: i32, parent: i32) -> Result<Newborn, Error> {
        self.take_in_orphans(parent, 1)?;
        let mut passing = self.passing_child(host, pid)?;
        // A process that is adopted sends SIGCHLD when it ends, whatever it was to send before (kernel/exit.c, reparent_leader).
        let newborn = self.nursery.clone_by(&mut passing, pid, Offspring::Child(0), SIGCHLD)?;
        self.let_pass(passing, host)?;
        self.take_in_orphans(parent, 0)?;
        Ok(newborn)
    }

    fn take_in_orphans(&mut self, parent: i32, on: i32) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.step("PR_SET_CHILD_SUBREAPER", nr::PRCTL, [PR_SET_CHILD_SUBREAPER.into(), on.into()]);
        self.at_pid(parent)?.run(&batch)?;
        Ok(())
    }

    /// A child with a number near `pid` that nobody has.
    fn passing_child(&mut self, host: i32, pid: i32) -> Result<Newborn, Error> {
        let tasks = self.plan.processes.iter().flat_map(|process| &process.tasks).map(|task| task.tid);
        let others = self.plan.zombies.iter().map(|zombie| zombie.pid).chain(self.ties.passing_pids());
        let needed: BTreeSet<i32> = tasks.chain(others).collect();
        let mut attempts = ATTEMPTS;
        for number in (2..pid).rev().chain(pid + 1..i32::MAX) {
            if needed.contains(&number) || Path::new(&format!("/proc/{number}")).exists() {
                continue;
            }
            attempts -= 1;
            match self.clone_by(host, number, Offspring::Child(0), 0) {
                Err(Error::Tracee(TraceeError::Step { errno: Errno::EXIST, .. })) if attempts > 0 => {}
                made => return made,
            }
        }
        Err(Error::Nonsense("there is no free pid".into()))
    }
}
