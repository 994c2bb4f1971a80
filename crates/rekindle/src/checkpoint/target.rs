//! Which pids can be checkpointed at all: the sentences for those that cannot, each its own.

use crate::error::Error;
use crate::refusal::{Refusal, Refusals};
use crate::view::ProcessView;
use rekindle_procfs::State;
use rekindle_procfs::status::Status;

/// Refuses what is no program to be checkpointed: ourselves, a kernel thread, a zombie, one that is traced, one of
/// another user.
pub(super) fn check(pid: i32) -> Result<(), Error> {
    let status = crate::view::parse(pid, "status", rekindle_procfs::status::parse)?;
    let refuse = |code, why: String, remedy: &str| {
        let (subject, remedy) = ("the process".to_owned(), remedy.to_owned());
        Err(Error::Refused(vec![Refusal { code, pid, subject, why, remedy }]))
    };
    if pid <= 0 {
        return Err(Error::NoSuchProcess { pid });
    }
    if status.tgid == std::process::id() as i32 {
        let remedy = "checkpoint it from another process, or call rekindle_checkpoint(0, ...) from within";
        return refuse("ourselves", "it is rekindle itself".into(), remedy);
    }
    if status.tgid != pid {
        let why = format!("it is a thread of process {}", status.tgid);
        return refuse("thread", why, "give the process's pid");
    }
    if is_kernel_thread(pid, &status) {
        return refuse("kernel-thread", "it is a thread of the kernel, not a program".into(), "");
    }
    if matches!(status.state, State::Zombie | State::Dead) && status.threads > 1 {
        return refuse("leader-ended", LEADER_ENDED.into(), "");
    }
    if matches!(status.state, State::Zombie | State::Dead) {
        let why = format!("it has ended already, and waits for its parent {} to take notice", status.ppid);
        return refuse("zombie", why, "there is nothing left to capture");
    }
    if status.tracer_pid != 0 {
        let why = format!("it is traced by process {}", status.tracer_pid);
        return refuse("traced", why, "detach the debugger first");
    }
    let uid = rustix::process::geteuid();
    if !uid.is_root() && status.uid[..3].iter().any(|theirs| *theirs != uid.as_raw()) {
        let why = format!("it belongs to user {}, and you are user {}", status.uid[0], uid.as_raw());
        return refuse("other-user", why, "run rekindle as that user, or as root");
    }
    Ok(())
}

/// Refuses a descendant that cannot be traced, or is another user's.
pub(super) fn survey_descendant(view: &ProcessView, refusals: &mut Refusals) {
    let status = &view.status;
    let own = std::process::id().cast_signed();
    if status.tracer_pid != 0 && tracer_process(status.tracer_pid) != Some(own) {
        let why = format!("it is traced by process {}", status.tracer_pid);
        refusals.add("traced", "the process", why, "detach the debugger first");
    }
    let uid = rustix::process::geteuid();
    if !uid.is_root() && status.uid[..3].iter().any(|theirs| *theirs != uid.as_raw()) {
        let why = format!("it belongs to user {}, and you are user {}", status.uid[0], uid.as_raw());
        refusals.add("other-user", "the process", why, "run rekindle as root");
    }
}

const LEADER_ENDED: &str = "its first thread has ended while others go on, which cannot be captured yet";

/// Refuses a process that its first thread has left (`pthread_exit` in `main`).
pub(super) fn survey_leader(view: &ProcessView, refusals: &mut Refusals) {
    if matches!(view.status.state, State::Zombie | State::Dead) {
        refusals.add("leader-ended", "the process", LEADER_ENDED, "");
    }
}

/// The process of a tracing thread.
fn tracer_process(tid: i32) -> Option<i32> {
    crate::view::parse(tid, "status", rekindle_procfs::status::parse).ok().map(|status| status.tgid)
}

/// Kernel threads have no memory of their own; newer kernels say it outright.
fn is_kernel_thread(pid: i32, status: &Status) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    status.kthread.unwrap_or_else(|| {
        let stat = crate::view::parse(pid, "stat", rekindle_procfs::stat::parse);
        stat.is_ok_and(|stat| stat.flags & PF_KTHREAD != 0)
    })
}
