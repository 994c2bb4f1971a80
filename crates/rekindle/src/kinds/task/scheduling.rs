//! How a task is scheduled: policy, nice, priority, affinity, I/O priority. Read and set from outside.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::task::{self, SchedAttr};
use rekindle_tracee::{Answers, Batch, StoppedTask};
use rustix::process::Pid;
use zerocopy::{FromBytes, IntoBytes};

/// See the module's story.
pub(super) struct Scheduling;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `struct sched_attr`
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub attr: Vec<u8>,
    /// The processors it may run on: the kernel's bit mask.
    #[prost(bytes = "vec", tag = "2")]
    pub affinity: Vec<u8>,
    /// ioprio_get(2)
    #[prost(int32, tag = "3")]
    pub ioprio: i32,
    /// The nice value (getpriority(2)).
    #[prost(sint32, tag = "4")]
    pub nice: i32,
    /// The policy, for readers.
    #[prost(uint32, tag = "5")]
    pub policy: u32,
}

/// `SCHED_FLAG_UTIL_CLAMP_MIN | SCHED_FLAG_UTIL_CLAMP_MAX`: what the kernel sets in the flags it gives, but refuses
/// where it is built without.
const UTIL_CLAMP: u64 = 0x60;

impl TaskKind for Scheduling {
    type Record = Record;
    type Question = ();

    fn outside(_view: &ProcessView, stopped: &StoppedTask) -> Result<Record, Error> {
        let tid = stopped.tid();
        let failed = |what: &'static str| move |errno| Error::call(format!("{what} of task {tid}"), errno);
        let attr = task::sched_getattr(tid).map_err(failed("sched_getattr"))?;
        Ok(Record {
            attr: attr.as_bytes().to_vec(),
            affinity: task::sched_getaffinity(tid).map_err(failed("sched_getaffinity"))?,
            ioprio: task::ioprio_get(tid).map_err(failed("ioprio_get"))?,
            nice: nice(tid)?,
            policy: attr.sched_policy,
        })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _tid: i32, _phase: Phase, _batch: &mut Batch) {}

    fn restore_outside(record: &Record, _pid: i32, tid: i32) -> Result<(), Error> {
        let failed = |what: &'static str| move |errno| Error::call(format!("{what} of task {tid}"), errno);
        let saved = SchedAttr::read_from_bytes(&record.attr)
            .map_err(|_| Error::Nonsense("a task's scheduling attributes have the wrong length".into()))?;
        // Of its own: a real-time task keeps its nice value, but sched_setattr does not set it.
        if nice(tid)? != record.nice {
            rustix::process::setpriority_process(Pid::from_raw(tid), record.nice)
                .map_err(failed("setpriority"))?;
        }
        let now = task::sched_getattr(tid).map_err(failed("sched_getattr"))?;
        if saved != now {
            let saved = SchedAttr { sched_flags: saved.sched_flags & !UTIL_CLAMP, ..saved };
            task::sched_setattr(tid, &saved).map_err(failed("sched_setattr"))?;
        }
        if task::sched_getaffinity(tid).map_err(failed("sched_getaffinity"))? != record.affinity {
            restore_affinity(tid, &record.affinity);
        }
        if task::ioprio_get(tid).map_err(failed("ioprio_get"))? != record.ioprio {
            task::ioprio_set(tid, record.ioprio).map_err(failed("ioprio_set"))?;
        }
        Ok(())
    }
}

fn nice(tid: i32) -> Result<i32, Error> {
    rustix::process::getpriority_process(Pid::from_raw(tid))
        .map_err(|errno| Error::call(format!("getpriority of task {tid}"), errno))
}

/// A machine with other processors than the program was bound to lets it run anywhere, and says so.
fn restore_affinity(tid: i32, mask: &[u8]) {
    if let Err(errno) = task::sched_setaffinity(tid, mask) {
        let errno = rekindle_sys::errno_text(errno);
        tracing::warn!("task {tid} may run on any processor: those it was bound to are not here ({errno})");
    }
}
