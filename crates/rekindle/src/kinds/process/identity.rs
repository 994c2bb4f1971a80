//! Who a process is: pid, process group, session, name on the command line, and whether job control holds it.
//!
//! The pid is given at birth (`clone3` with `set_tid`), by the orchestration. A session or group that the process
//! leads is made again; one that it was only a member of is that of whoever restores it, until whole trees come back.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_sys::task::{Kcmp, kcmp};
use rekindle_tracee::{Answers, Batch, StoppedTask};
use std::cmp::Ordering;

/// See the module's story.
pub(super) struct Identity;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The pid in its own pid namespace.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The process group.
    #[prost(int32, tag = "2")]
    pub pgid: i32,
    /// The session.
    #[prost(int32, tag = "3")]
    pub sid: i32,
    /// Stopped by job control.
    #[prost(bool, tag = "4")]
    pub stopped: bool,
}

impl ProcessKind for Identity {
    type Record = Record;
    type Question = ();

    fn survey(view: &ProcessView, refusals: &mut Refusals) {
        survey_namespaces(view, refusals);
        survey_sharing(view, refusals);
        if view.status.nstgid.len() > 1 {
            refusals.add(
                "pid-namespace",
                "the process",
                "it lives in another pid namespace",
                "checkpoint it from inside that namespace",
            );
        }
        let children: Vec<String> = children_of(view).iter().map(i32::to_string).collect();
        if !children.is_empty() {
            refusals.add(
                "children",
                format!("its children {}", children.join(", ")),
                "a tree of processes cannot be captured yet",
                "wait until they have ended, or checkpoint one of them",
            );
        }
    }

    fn outside(view: &ProcessView, leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record {
            pid: view.status.nstgid.last().copied().unwrap_or(view.pid),
            pgid: view.stat.pgrp,
            sid: view.stat.session,
            stopped: leader.group_stop.is_some(),
        })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Birth {
            return;
        }
        if record.sid == record.pid {
            batch.step("setsid", nr::SETSID, []);
        } else if record.pgid == record.pid {
            batch.step("setpgid", nr::SETPGID, [0.into(), 0.into()]);
        }
    }
}

/// Its children, but for the one that makes the checkpoint: it is no part of the program, which is told by wait(2) that
/// it is not there once it has been restored.
/// Namespaces that are looked at elsewhere: `pid` here, `mnt` with the working directory.
const NAMESPACES: [&str; 6] = ["net", "ipc", "uts", "user", "cgroup", "time"];

/// Each thread must live in the namespaces that we live in, as they are not captured.
fn survey_namespaces(view: &ProcessView, refusals: &mut Refusals) {
    for name in NAMESPACES {
        // A kernel without that kind of namespace has no such link.
        let Ok(ours) = std::fs::read_link(format!("/proc/self/ns/{name}")) else { continue };
        let is_elsewhere = |tid: i32| {
            let path = format!("/proc/{}/task/{tid}/ns/{name}", view.pid);
            std::fs::read_link(path).is_ok_and(|theirs| theirs != ours)
        };
        if let Some(thread) = view.threads.iter().find(|thread| is_elsewhere(thread.tid)) {
            refusals.add(
                "namespace",
                format!("thread {}", thread.tid),
                format!("it lives in another {name} namespace"),
                "run rekindle inside that namespace (nsenter(1))",
            );
        }
    }
}

/// Each thread must share descriptors and directories with its leader, whose alone are captured.
fn survey_sharing(view: &ProcessView, refusals: &mut Refusals) {
    for (what, noun) in [(Kcmp::Files, "descriptors"), (Kcmp::Fs, "directories")] {
        let has_its_own = |tid: i32| kcmp(view.pid, tid, what, 0, 0).is_ok_and(Ordering::is_ne);
        for thread in view.threads.iter().filter(|thread| has_its_own(thread.tid)) {
            refusals.add(
                "unshared-thread",
                format!("thread {}", thread.tid),
                format!("it has {noun} of its own (unshare(2)), which cannot be captured yet"),
                "",
            );
        }
    }
}

fn children_of(view: &ProcessView) -> Vec<i32> {
    let mut children = Vec::new();
    for thread in &view.threads {
        let path = format!("task/{}/children", thread.tid);
        // Without the file (CONFIG_PROC_CHILDREN) or the thread there is nothing to tell.
        let listed = crate::view::parse(view.pid, &path, rekindle_procfs::children::parse);
        children.extend(listed.unwrap_or_default());
    }
    children.retain(|child| *child != std::process::id() as i32);
    children
}
