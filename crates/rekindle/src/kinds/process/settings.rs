//! Settings of the process and its address space that have a call of their own: personality(2), prctl(2),
//! /proc/PID/coredump_filter, /proc/PID/oom_score_adj.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Arg, Batch, Data, StepId, StoppedTask};

/// See the module's story.
pub(super) struct Settings;

const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_THP_DISABLE: i32 = 41;
const PR_GET_THP_DISABLE: i32 = 42;
const PR_SET_MDWE: i32 = 65;
const PR_GET_MDWE: i32 = 66;
const PR_SET_MEMORY_MERGE: i32 = 67;
const PR_GET_MEMORY_MERGE: i32 = 68;
/// `personality(2)`: only asks.
const ASK_PERSONALITY: u32 = 0xffff_ffff;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// personality(2)
    #[prost(uint32, tag = "1")]
    pub personality: u32,
    /// `PR_GET_DUMPABLE`
    #[prost(uint32, tag = "2")]
    pub dumpable: u32,
    /// `PR_GET_CHILD_SUBREAPER`
    #[prost(bool, tag = "3")]
    pub child_subreaper: bool,
    /// `PR_GET_THP_DISABLE`
    #[prost(uint32, tag = "4")]
    pub thp_disable: u32,
    /// `PR_GET_MDWE`
    #[prost(uint32, tag = "5")]
    pub mdwe: u32,
    /// `PR_GET_MEMORY_MERGE`
    #[prost(bool, tag = "6")]
    pub memory_merge: bool,
    /// /proc/PID/coredump_filter, hexadecimal
    #[prost(string, tag = "7")]
    pub coredump_filter: String,
    /// /proc/PID/oom_score_adj
    #[prost(sint32, tag = "8")]
    pub oom_score_adj: i32,
}

/// The steps that ask.
pub(super) struct Question {
    personality: StepId,
    dumpable: StepId,
    child_subreaper: Data,
    thp_disable: StepId,
    mdwe: StepId,
    memory_merge: StepId,
}

fn prctl(batch: &mut Batch, label: &'static str, option: i32, argument: impl Into<Arg>) -> StepId {
    let zero = Arg::Value(0);
    batch.step_may_fail(label, nr::PRCTL, [option.into(), argument.into(), zero, zero, zero])
}

fn outside_file(view: &ProcessView, name: &str) -> String {
    // Absent in kernels built without it.
    view.file(name).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default()
}

impl ProcessKind for Settings {
    type Record = Record;
    type Question = Question;

    fn outside(view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        Ok(Record {
            coredump_filter: outside_file(view, "coredump_filter"),
            oom_score_adj: outside_file(view, "oom_score_adj").parse().unwrap_or(0),
            ..Record::default()
        })
    }

    fn ask(_record: &Record, batch: &mut Batch) -> Question {
        let child_subreaper = batch.room(4);
        Question {
            personality: batch.step("personality", nr::PERSONALITY, [ASK_PERSONALITY.into()]),
            dumpable: prctl(batch, "PR_GET_DUMPABLE", PR_GET_DUMPABLE, 0),
            child_subreaper: {
                prctl(batch, "PR_GET_CHILD_SUBREAPER", PR_GET_CHILD_SUBREAPER, child_subreaper);
                child_subreaper
            },
            thp_disable: prctl(batch, "PR_GET_THP_DISABLE", PR_GET_THP_DISABLE, 0),
            mdwe: prctl(batch, "PR_GET_MDWE", PR_GET_MDWE, 0),
            memory_merge: prctl(batch, "PR_GET_MEMORY_MERGE", PR_GET_MEMORY_MERGE, 0),
        }
    }

    fn answer(record: &mut Record, question: &Question, answers: &Answers) -> Result<(), Error> {
        // A prctl that this kernel does not know has nothing set.
        let value = |step| answers.result(step).unwrap_or(0) as u32;
        record.personality = value(question.personality);
        record.dumpable = value(question.dumpable);
        record.child_subreaper = answers.u32(question.child_subreaper) != 0;
        record.thp_disable = value(question.thp_disable);
        record.mdwe = value(question.mdwe);
        record.memory_merge = value(question.memory_merge) != 0;
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        let mut set = |label: &'static str, option: i32, value: u32| {
            let zero = Arg::Value(0);
            batch.step(label, nr::PRCTL, [option.into(), value.into(), zero, zero, zero]);
        };
        match phase {
            Phase::Space => {
                // READ_IMPLIES_EXEC would change every mapping.
                batch.step("personality", nr::PERSONALITY, [0.into()]);
            }
            Phase::Attributes => {
                if record.child_subreaper {
                    set("PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, 1);
                }
                // The flags beyond "disabled" (Linux 6.18) are the value without its lowest bit.
                let (on, flags) = (u32::from(record.thp_disable != 0), record.thp_disable & !1);
                let args = [PR_SET_THP_DISABLE.into(), on.into(), flags.into(), 0.into(), 0.into()];
                batch.step("PR_SET_THP_DISABLE", nr::PRCTL, args);
                if record.memory_merge {
                    batch.step(
                        "PR_SET_MEMORY_MERGE",
                        nr::PRCTL,
                        [PR_SET_MEMORY_MERGE.into(), 1.into(), 0.into(), 0.into(), 0.into()],
                    );
                }
                batch.step("personality", nr::PERSONALITY, [record.personality.into()]);
            }
            // The kernel hides it itself when user ids change, but not when fs.suid_dumpable is 1, nor when only capabilities do.
            Phase::Hidden => set("PR_SET_DUMPABLE", PR_SET_DUMPABLE, 0),
            Phase::Settled => {
                // 2 cannot be asked for: it is what the kernel sets itself on a change of credentials.
                if record.dumpable <= 1 {
                    set("PR_SET_DUMPABLE", PR_SET_DUMPABLE, record.dumpable);
                }
                if record.mdwe != 0 {
                    set("PR_SET_MDWE", PR_SET_MDWE, record.mdwe);
                }
            }
            Phase::Task | Phase::CommonFilters | Phase::Filters | Phase::Rights | Phase::Pending => {}
        }
    }

    fn restore_outside(record: &Record, pid: i32) -> Result<(), Error> {
        write_if_other(pid, "coredump_filter", &record.coredump_filter, |hex| format!("0x{hex}"))?;
        write_if_other(pid, "oom_score_adj", &record.oom_score_adj.to_string(), str::to_owned)
    }
}

/// Writes a file of /proc/PID unless it holds the value already (then no right to write it is needed).
fn write_if_other(pid: i32, name: &str, value: &str, form: impl Fn(&str) -> String) -> Result<(), Error> {
    let path = format!("/proc/{pid}/{name}");
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    if value.is_empty() || now.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, form(value)).map_err(|error| Error::proc(pid, name, error))
}
