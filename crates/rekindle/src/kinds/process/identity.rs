//! Who a process is: pid, process group, session, name on the command line, and whether job control holds it.
//!
//! The pid is given at birth (`clone3` with `set_tid`), by the orchestration, and so are session and process group, which
//! are ties between processes (see `ties`).

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::refusal::Refusals;
use crate::view::{Namespace, ProcessView, THREAD_NAMESPACES, ThreadView};
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
    /// The parent's pid.
    #[prost(int32, tag = "5")]
    pub ppid: i32,
    /// What the parent gets when it ends: a signal, or 0.
    #[prost(int32, tag = "6")]
    pub exit_signal: i32,
    /// What it shares with the process that clones it, beyond what a fork passes on: `CLONE_VM`, `CLONE_FILES`, `CLONE_FS`,
    /// `CLONE_SIGHAND`, `CLONE_IO`.
    #[prost(uint32, tag = "7")]
    pub shares: u32,
    /// Stopped by job control, and the parent has not been told so yet (wait(2), `WUNTRACED`).
    #[prost(bool, tag = "8")]
    pub stop_is_news: bool,
}

impl Record {
    /// Whether it shares something, told by a flag of clone(2), with the process that clones it.
    pub fn shares(&self, flag: i32) -> bool {
        self.shares & flag.cast_unsigned() != 0
    }
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
    }

    fn outside(view: &ProcessView, leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record {
            pid: view.status.nstgid.last().copied().unwrap_or(view.pid),
            pgid: view.stat.pgrp,
            sid: view.stat.session,
            stopped: leader.group_stop.is_some(),
            ppid: view.stat.ppid,
            exit_signal: view.stat.exit_signal,
            shares: 0,
            // proc_pid_stat(5) tells of a stopped process what its parent will be told, and 0 afterwards.
            stop_is_news: leader.group_stop.is_some() && view.stat.exit_code != 0,
        })
    }

    fn ask(_record: &Record, _batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _phase: Phase, _batch: &mut Batch) {}
}

/// Others are looked at elsewhere: `pid` here, `mnt` with the working directory, `time` with the clocks.
const NAMESPACES: [&str; 5] = ["net", "ipc", "uts", "user", "cgroup"];

/// Each thread must live in the namespaces that we live in, as they are not captured.
fn survey_namespaces(view: &ProcessView, refusals: &mut Refusals) {
    let mut refuse = |who: String, name: &str| {
        refusals.add(
            "namespace",
            who,
            format!("it lives in another {name} namespace"),
            "run rekindle inside that namespace (nsenter(1))",
        );
    };
    for name in NAMESPACES {
        // A kernel without that kind of namespace has no such link.
        let Ok(ours) = std::fs::read_link(format!("/proc/self/ns/{name}")) else { continue };
        if std::fs::read_link(format!("/proc/{}/ns/{name}", view.pid)).is_ok_and(|theirs| theirs != ours) {
            refuse(format!("thread {}", view.pid), name);
        }
    }
    let Some(leader) = view.thread(view.pid) else { return };
    for (kind, name) in THREAD_NAMESPACES.iter().enumerate() {
        let is_elsewhere = |thread: &&ThreadView| {
            let theirs = thread.namespaces[kind];
            theirs != Namespace::default() && theirs != leader.namespaces[kind]
        };
        if let Some(thread) = view.threads.iter().find(is_elsewhere) {
            refuse(format!("thread {}", thread.tid), name);
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
