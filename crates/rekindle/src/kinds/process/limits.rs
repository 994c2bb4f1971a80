//! Resource limits (getrlimit(2)). Read from /proc/PID/limits, as prlimit(2) on another user's process needs
//! `CAP_SYS_RESOURCE`; set by the process itself.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::features;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// Resource 1 of getrlimit(2).
const RLIMIT_FSIZE: usize = 1;
const RLIMIT_NOFILE: usize = 7;
/// The memory that is shared with a process while it executes our steps.
const NEEDED_FILE_SIZE: u64 = 1 << 20;

/// See the module's story.
pub(super) struct Limits;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Soft limits, by number of the resource; `u64::MAX` is unlimited.
    #[prost(uint64, repeated, tag = "1")]
    pub soft: Vec<u64>,
    /// Hard limits, likewise.
    #[prost(uint64, repeated, tag = "2")]
    pub hard: Vec<u64>,
}

impl ProcessKind for Limits {
    type Record = Record;
    type Question = ();

    fn survey(view: &ProcessView, refusals: &mut Refusals) {
        let numbers = view.limits.by_number[RLIMIT_NOFILE].soft.to_raw();
        let taken = view.fds.iter().filter(|fd| u64::from(fd.fd.unsigned_abs()) < numbers).count() as u64;
        if taken >= numbers
            && let Err(why) = features::map_files()
        {
            refusals.add(
                "descriptor-limit",
                "the process",
                format!(
                    "it has no descriptor free for the memory by which it is asked (its limit is {numbers}), and without \
                     CAP_CHECKPOINT_RESTORE that needs one for a moment ({why})"
                ),
                "run rekindle as root, or raise that limit with prlimit(1)",
            );
        }
        let file_size = view.limits.by_number[RLIMIT_FSIZE].soft.to_raw();
        if file_size < NEEDED_FILE_SIZE
            && let Err(why) = features::map_files()
        {
            refusals.add(
                "file-size-limit",
                "the process",
                format!(
                    "it may have no file of {NEEDED_FILE_SIZE} bytes (its limit is {file_size}), as the memory is by which \
                     it is asked, and without CAP_CHECKPOINT_RESTORE there is no other ({why})"
                ),
                "run rekindle as root, or raise that limit with prlimit(1)",
            );
        }
    }

    fn outside(view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        let pairs = &view.limits.by_number;
        Ok(Record {
            soft: pairs.iter().map(|pair| pair.soft.to_raw()).collect(),
            hard: pairs.iter().map(|pair| pair.hard.to_raw()).collect(),
        })
    }

    fn ask(_record: &Record, _batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Rights {
            return;
        }
        for (resource, (soft, hard)) in record.soft.iter().zip(&record.hard).enumerate() {
            let limit = batch.data(&[soft.to_le_bytes(), hard.to_le_bytes()].concat());
            let label = format!(
                "setting resource limit {resource} to {soft}/{hard} (raising one needs CAP_SYS_RESOURCE)"
            );
            batch.step(label, nr::PRLIMIT64, [0.into(), resource.into(), limit.into(), 0.into()]);
        }
    }
}
