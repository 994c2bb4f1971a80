//! Pidfds (pidfd_open(2)): of processes of the tree, zombies included, and of processes that have ended and been waited for.
//!
//! Descriptors are opened when all processes of the tree are there, threads but for the first ones are not. What has ended
//! is stood for by a child of the restorer that has ended too, and that the restorer waits for when all is done.

use super::restore::Opening;
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Survey, anonymous};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Pidfd;

/// What is particular to a pidfd.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The process; -1 for one that has ended and been waited for.
    #[prost(int32, tag = "1")]
    pub pid: i32,
}

/// As fdinfo tells of a process that is there no more.
const GONE: i32 = -1;
/// `PIDFD_THREAD` (Linux 6.9): the pidfd is of a thread.
const THREAD: u32 = o::EXCL;

impl FdKind for Pidfd {
    fn name(&self) -> &'static str {
        "pidfd"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !anonymous::is(fd, "pidfd") {
            return Claim::NotMine;
        }
        let pid = pid(fd);
        let is_in_tree = cx.tree.processes.iter().any(|view| Some(view.pid) == pid)
            || cx.tree.zombies.iter().any(|zombie| Some(zombie.pid) == pid);
        let is_thread = || {
            let threads = cx.tree.processes.iter().flat_map(|view| &view.threads);
            threads.map(|thread| thread.tid).any(|tid| Some(tid) == pid)
        };
        match pid {
            Some(GONE) => Claim::Mine,
            _ if is_in_tree => Claim::Mine,
            _ if is_thread() => Claim::Refused(
                "pidfd-thread",
                "pidfds of threads cannot be captured yet",
                "let the program close it first",
            ),
            _ => Claim::Refused(
                "pidfd-outside",
                "it is of a process that does not belong to the program",
                "let the program close it, or save a parent of both",
            ),
        }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let unclear =
            || Error::proc(cx.view.pid, format!("fdinfo/{}", fd.fd), "it does not tell of a process");
        record.pidfd = Some(Record { pid: pid(fd).ok_or_else(unclear)? });
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        match record.pidfd {
            Some(Record { pid }) if pid == GONE || cx.pids.contains(&pid) => Ok(()),
            _ => Err("it is of a process that does not belong to the program".into()),
        }
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let pid = match record.pidfd {
            Some(Record { pid }) if pid != GONE => pid,
            _ => cx.corpse(),
        };
        let flags = record.flags & (THREAD | o::NONBLOCK);
        Opened::Step(batch.step(format!("pidfd_open of {pid}"), nr::PIDFD_OPEN, [pid.into(), flags.into()]))
    }
}

/// `Pid: 4711`
fn pid(fd: &FdView) -> Option<i32> {
    std::str::from_utf8(fd.info.value(b"Pid")?).ok()?.trim().parse().ok()
}
