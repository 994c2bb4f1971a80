//! Settings of a task that have a prctl(2) of their own: the signal it gets when its parent dies, timer slack, what memory
//! errors do to it, whether it may read the time stamp counter and execute CPUID, what it lets the processor speculate on.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StepId, StoppedTask};

/// See the module's story.
pub struct Personal;

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;

const PR_MCE_KILL: i32 = 33;
const PR_MCE_KILL_GET: i32 = 34;
const PR_MCE_KILL_SET: i32 = 1;

const PR_GET_TSC: i32 = 25;
const PR_SET_TSC: i32 = 26;
const PR_GET_SPECULATION_CTRL: i32 = 52;
const PR_SET_SPECULATION_CTRL: i32 = 53;
/// `PR_SPEC_STORE_BYPASS`, `PR_SPEC_INDIRECT_BRANCH`, `PR_SPEC_L1D_FLUSH`
const SPECULATIONS: u32 = 3;
/// `PR_SPEC_PRCTL`: the task may choose.
const SPEC_PRCTL: u32 = 1;
const PR_SET_IO_FLUSHER: i32 = 57;
/// `PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE` (include/linux/sched.h): what `PR_SET_IO_FLUSHER` sets. To ask by prctl(2) needs
/// `CAP_SYS_RESOURCE`.
const PF_IO_FLUSHER: u32 = 0x0008_0000 | 0x0010_0000;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `PR_GET_PDEATHSIG`; 0: none.
    #[prost(int32, tag = "1")]
    pub pdeathsig: i32,
    /// `PR_GET_TIMERSLACK`, in nanoseconds.
    #[prost(uint64, tag = "2")]
    pub timerslack_ns: u64,
    /// `PR_MCE_KILL_GET`: what a memory error does to it. 0 late, 1 early, 2 the default.
    #[prost(uint32, optional, tag = "3")]
    pub mce_kill: Option<u32>,
    /// `PR_GET_TSC`: 1 it may be read, 2 reading it is a `SIGSEGV`.
    #[prost(uint32, optional, tag = "4")]
    pub tsc: Option<u32>,
    /// `PR_GET_SPECULATION_CTRL` of each kind of speculation, by number; 0 where it has no choice.
    #[prost(uint32, repeated, tag = "5")]
    pub speculation: Vec<u32>,
    /// CPUID is a `SIGSEGV` (`ARCH_SET_CPUID`).
    #[prost(bool, tag = "6")]
    pub cpuid_faults: bool,
    /// `PR_SET_IO_FLUSHER`
    #[prost(bool, tag = "7")]
    pub io_flusher: bool,
}

/// The steps that ask.
pub struct Question {
    pdeathsig: Data,
    slack: StepId,
    mce_kill: StepId,
    tsc: (Data, StepId),
    speculation: [StepId; SPECULATIONS as usize],
    cpuid: StepId,
}

impl TaskKind for Personal {
    type Record = Record;
    type Question = Question;

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let name = format!("task/{}/stat", task.tid());
        let stat = crate::view::parse(view.pid, &name, rekindle_procfs::stat::parse)?;
        Ok(Record { io_flusher: stat.flags & PF_IO_FLUSHER == PF_IO_FLUSHER, ..Record::default() })
    }

    fn ask(batch: &mut Batch) -> Self::Question {
        let pdeathsig = batch.room(4);
        batch.step("PR_GET_PDEATHSIG", nr::PRCTL, [PR_GET_PDEATHSIG.into(), pdeathsig.into()]);
        // A slack above i64::MAX reads as an error; nobody has one.
        let slack = batch.step_may_fail("PR_GET_TIMERSLACK", nr::PRCTL, [PR_GET_TIMERSLACK.into()]);
        // EINVAL in a kernel without memory-failure handling.
        let mce_kill = batch.step_may_fail("PR_MCE_KILL_GET", nr::PRCTL, [PR_MCE_KILL_GET.into()]);
        let tsc = batch.room(4);
        let tsc = (tsc, batch.step_may_fail("PR_GET_TSC", nr::PRCTL, [PR_GET_TSC.into(), tsc.into()]));
        let speculation = std::array::from_fn(|kind| {
            let args = [PR_GET_SPECULATION_CTRL.into(), kind.into()];
            batch.step_may_fail("PR_GET_SPECULATION_CTRL", nr::PRCTL, args)
        });
        let cpuid = batch.step_may_fail("ARCH_GET_CPUID", nr::ARCH_PRCTL, [ARCH_GET_CPUID.into()]);
        Question { pdeathsig, slack, mce_kill, tsc, speculation, cpuid }
    }

    fn answer(record: &mut Record, question: &Question, answers: &Answers) -> Result<(), Error> {
        let Question { pdeathsig, slack, mce_kill, tsc: (tsc, asked), speculation, cpuid } = question;
        record.pdeathsig = answers.u32(*pdeathsig) as i32;
        record.timerslack_ns = answers.result(*slack).unwrap_or(0);
        record.mce_kill = answers.result(*mce_kill).ok().map(|value| value as u32);
        record.tsc = answers.result(*asked).ok().map(|_| answers.u32(*tsc));
        let may_choose = |value: u32| if value & SPEC_PRCTL != 0 { value & !SPEC_PRCTL } else { 0 };
        let state = |step: &StepId| answers.result(*step).map_or(0, |value| may_choose(value as u32));
        record.speculation = speculation.iter().map(state).collect();
        record.cpuid_faults = answers.result(*cpuid) == Ok(0);
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase == Phase::Task && record.timerslack_ns != 0 {
            let args = [PR_SET_TIMERSLACK.into(), record.timerslack_ns.into()];
            batch.step_may_fail("PR_SET_TIMERSLACK", nr::PRCTL, args);
        }
        if let Some(mce_kill) = record.mce_kill.filter(|_| phase == Phase::Task) {
            let args = [PR_MCE_KILL.into(), PR_MCE_KILL_SET.into(), mce_kill.into()];
            batch.step_may_fail("PR_MCE_KILL", nr::PRCTL, args);
        }
        if phase == Phase::Task {
            restore_before_rights(record, batch);
        }
        if phase == Phase::Settled && record.pdeathsig != 0 {
            let args = [PR_SET_PDEATHSIG.into(), record.pdeathsig.into()];
            batch.step("PR_SET_PDEATHSIG", nr::PRCTL, args);
        }
    }
}

/// Where speculation cannot be chosen here, the machine has decided; the others are what the program relies on.
fn restore_before_rights(record: &Record, batch: &mut Batch) {
    for (kind, state) in record.speculation.iter().enumerate().filter(|(_, state)| **state != 0) {
        let args = [PR_SET_SPECULATION_CTRL.into(), kind.into(), (*state).into()];
        batch.step_may_fail("PR_SET_SPECULATION_CTRL", nr::PRCTL, args);
    }
    if let Some(tsc) = record.tsc {
        batch.step("PR_SET_TSC", nr::PRCTL, [PR_SET_TSC.into(), tsc.into()]);
    }
    if record.cpuid_faults {
        batch.step("ARCH_SET_CPUID", nr::ARCH_PRCTL, [ARCH_SET_CPUID.into(), 0.into()]);
    }
    if record.io_flusher {
        let args = [PR_SET_IO_FLUSHER.into(), 1.into()];
        batch.step("PR_SET_IO_FLUSHER (needs CAP_SYS_RESOURCE)", nr::PRCTL, args);
    }
}
