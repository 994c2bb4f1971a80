//! The three TLS entries of the GDT (set_thread_area(2)), used by 32-bit code. FS and GS base of 64-bit code are
//! among the registers.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::arch::UserDesc;
use rekindle_sys::ptrace;
use rekindle_tracee::{Answers, Batch, StoppedTask};
use zerocopy::{FromBytes, IntoBytes};

/// See the module's story.
pub(super) struct Segments;

/// `GDT_ENTRY_TLS_MIN` to `GDT_ENTRY_TLS_MAX` (arch/x86/include/asm/segment.h).
const ENTRIES: std::ops::RangeInclusive<u32> = 12..=14;
/// The flags of an entry that is not there: read-exec-only, not present (include/asm/desc.h, `LDT_empty`).
const EMPTY_FLAGS: u32 = 0b10_1000;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `struct user_desc` of each entry in use.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub entries: Vec<Vec<u8>>,
}

impl TaskKind for Segments {
    type Record = Record;
    type Question = ();

    fn outside(_view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let mut entries = Vec::new();
        for index in ENTRIES {
            // EIO where 32-bit code is not supported at all.
            let Ok(desc) = ptrace::get_thread_area(task.tid(), index) else { continue };
            if !(desc.base_addr == 0 && desc.limit == 0 && (desc.flags == EMPTY_FLAGS || desc.flags == 0)) {
                entries.push(desc.as_bytes().to_vec());
            }
        }
        Ok(Record { entries })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _tid: i32, _phase: Phase, _batch: &mut Batch) {}

    /// By ptrace: 64-bit code has no call for it.
    fn restore_stopped(record: &Record, task: &StoppedTask) -> Result<(), Error> {
        for desc in record.entries.iter().filter_map(|entry| UserDesc::read_from_bytes(entry).ok()) {
            ptrace::set_thread_area(task.tid(), &desc).map_err(|errno| {
                Error::call(format!("setting a TLS segment of task {}", task.tid()), errno)
            })?;
        }
        Ok(())
    }
}
