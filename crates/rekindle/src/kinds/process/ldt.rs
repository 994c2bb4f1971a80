//! The local descriptor table (modify_ldt(2)): segments of 32-bit and 16-bit code inside a 64-bit program.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::arch::UserDesc;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StepId, StoppedTask};
use zerocopy::IntoBytes;

/// See the module's story.
pub(super) struct Ldt;

/// Length of the largest table: 8192 entries of 8 bytes.
const TABLE_LEN: usize = 65536;
/// `modify_ldt` function: read.
const READ: i32 = 0;
/// `modify_ldt` function: write an entry, in the newer form.
const WRITE: i32 = 0x11;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The table as the processor has it, 8 bytes an entry, up to the last one in use.
    #[prost(bytes = "vec", tag = "1")]
    pub table: Vec<u8>,
}

impl ProcessKind for Ldt {
    type Record = Record;
    type Question = (StepId, Data);

    fn outside(_view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record::default())
    }

    fn ask(_record: &Record, batch: &mut Batch) -> Self::Question {
        let table = batch.room(TABLE_LEN);
        // ENOSYS where the kernel has no LDT.
        let args = [READ.into(), table.into(), TABLE_LEN.into()];
        (batch.step_may_fail("modify_ldt", nr::MODIFY_LDT, args), table)
    }

    fn answer(record: &mut Record, (step, table): &Self::Question, answers: &Answers) -> Result<(), Error> {
        // The call returns a 32-bit number, sign and all (arch/x86/kernel/ldt.c).
        let len = answers.result(*step).unwrap_or(0) as u32 as i32;
        let bytes = answers.bytes(*table).get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
        let used = bytes.chunks_exact(8).rposition(|entry| entry != [0; 8]).map_or(0, |last| (last + 1) * 8);
        record.table = bytes[..used].to_vec();
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Attributes {
            return;
        }
        for (number, entry) in (0..).zip(record.table.chunks_exact(8)) {
            let descriptor = entry.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if descriptor != 0 {
                let desc = batch.data(user_desc(number, descriptor).as_bytes());
                batch.step(
                    "modify_ldt",
                    nr::MODIFY_LDT,
                    [WRITE.into(), desc.into(), size_of::<UserDesc>().into()],
                );
            }
        }
    }
}

/// A segment descriptor (Intel SDM 3A, 3.4.5) as `modify_ldt` takes it.
fn user_desc(entry_number: u32, d: u64) -> UserDesc {
    let bit = |n: u32| ((d >> n) & 1) as u32;
    let kind = ((d >> 40) & 0xf) as u32;
    let seg_32bit = bit(54);
    let contents = (kind >> 2) & 3;
    let read_exec_only = u32::from(kind & 2 == 0);
    let limit_in_pages = bit(55);
    let seg_not_present = 1 - bit(47);
    let useable = bit(52);
    let lm = bit(53);
    UserDesc {
        entry_number,
        base_addr: (((d >> 16) & 0xff_ffff) | ((d >> 32) & 0xff00_0000)) as u32,
        limit: ((d & 0xffff) | ((d >> 32) & 0xf_0000)) as u32,
        flags: seg_32bit
            | contents << 1
            | read_exec_only << 3
            | limit_in_pages << 4
            | seg_not_present << 5
            | useable << 6
            | lm << 7,
    }
}
