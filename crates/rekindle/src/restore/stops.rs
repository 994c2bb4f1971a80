//! Children that job control has stopped come back stopped, and their parents know of it what they knew.
//!
//! A process that is stopped goes on executing batches all the same, as long as we trace it: PTRACE_CONT lets it run, and the
//! kernel puts it back to where it was when we detach (ptrace(2), "Group-stop"). So it is stopped while its parent can still
//! take notice of it:
//!
//! ```text
//! child    SIGSTOP ── group stop ── goes on in the stub ────────────────── ... detached: stopped
//! parent             SIGCHLD         waitid, if it had been told before ── signal taken back
//! ```

use super::nest::SIGCHLD;
use crate::error::Error;
use crate::record::{Plan, ProcessPlan};
use crate::ties::{self, Ties};
use rekindle_sys::nr;
use rekindle_tracee::{Batch, Newborn};

/// The children that were stopped: all but the root, whose parent is another one now.
fn stopped(plan: &Plan) -> impl Iterator<Item = (usize, &ProcessPlan)> {
    plan.processes.iter().enumerate().skip(1).filter(|(_, process)| process.process.identity.stopped)
}

/// Stops those that were stopped. Each has all its threads.
pub(super) fn stop(newborns: &mut [Newborn], plan: &Plan) -> Result<(), Error> {
    for (index, _) in stopped(plan) {
        if let Some(newborn) = newborns.get_mut(index) {
            newborn.stop_by_job_control()?;
        }
    }
    Ok(())
}

/// Whether a process has children that have been stopped, which sent it a signal.
pub(super) fn has_stopped_children(pid: i32, plan: &Plan) -> bool {
    stopped(plan).any(|(_, child)| child.process.identity.ppid == pid)
}

/// The steps by which a parent takes notice of the stops that it knew of.
pub(super) fn take_notice(pid: i32, plan: &Plan, batch: &mut Batch) {
    const P_PID: i32 = 1;
    let flags = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    for (_, child) in stopped(plan) {
        let identity = &child.process.identity;
        if identity.ppid == pid && !identity.stop_is_news {
            let args = [P_PID.into(), identity.pid.into(), 0.into(), flags.into(), 0.into()];
            batch.step_may_fail("taking notice of a stopped child", nr::WAITID, args);
        }
    }
}

/// The signals that the children of a process have sent it which have ended, or stopped, in the course of the restore.
pub(super) fn signals_of_children(pid: i32, plan: &Plan, ties: &Ties) -> Vec<i32> {
    let stands_in = |birth: &ties::Birth| birth.stand_in && birth.maker == ties::Maker::Parent(pid);
    let leads =
        |grouping: &ties::Grouping| matches!(grouping, ties::Grouping::LeadByChild(by, _) if *by == pid);
    let zombies = plan.zombies.iter().filter(|zombie| zombie.ppid == pid);
    let mut signals: Vec<i32> = zombies.map(|zombie| zombie.exit_signal).collect();
    let has_stopped = has_stopped_children(pid, plan);
    if has_stopped || ties.births.iter().any(stands_in) || ties.groupings.iter().any(leads) {
        signals.push(SIGCHLD);
    }
    // Real-time signals queue up (signal(7)); of the others there is one at most.
    signals.sort_unstable();
    signals.dedup_by(|next, before| next == before && *next < REAL_TIME);
    signals
}

/// The first of the real-time signals as the kernel sees them.
const REAL_TIME: i32 = 32;
