//! seccomp(2): which system calls a task may still make. Strict mode, or a stack of filters, the latest of which is asked
//! first. Linux keeps them for each task.
//!
//! A filter may forbid what we need ourselves. While we hold a task it does not apply (`PTRACE_O_SUSPEND_SECCOMP`), neither at a
//! checkpoint nor at a restore, so that filters can come back while the restorer's privileges are still there: one that
//! was installed without no_new_privs needs `CAP_SYS_ADMIN`. They apply from the instant on that the task is let go.
//!
//! Filters that all tasks of a process have in common are installed in all of them at once (`SECCOMP_FILTER_FLAG_TSYNC`), as
//! a task can only hand a new one to those whose stack begins with all of its own.
//!
//! If we die while a thread is borrowed, the filter judges the calls by which it finds back (`hijack.rs`).

use super::super::{Phase, TaskKind};
use super::Task;
use crate::error::Error;
use crate::features;
use crate::refusal::Refusals;
use crate::view::ProcessView;
use rekindle_sys::ptrace::{self, SECCOMP_INSTRUCTIONS_MAX, SOCK_FILTER_LEN};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub(super) struct Seccomp;

/// `SECCOMP_MODE_*`
const STRICT: u32 = 1;
const FILTER: u32 = 2;
/// `SECCOMP_SET_MODE_*`
const SET_MODE_STRICT: u32 = 0;
const SET_MODE_FILTER: u32 = 1;
/// `SECCOMP_FILTER_FLAG_*`
const FLAG_TSYNC: u64 = 1;
const FLAG_LOG: u64 = 1 << 1;
/// What speculation it forbids is restored as a setting of its own.
const FLAG_SPEC_ALLOW: u64 = 1 << 2;
/// `SECCOMP_RET_USER_NOTIF`, and the part of a return value that tells the action.
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_ACTION: u32 = 0xffff_0000;
/// More than the kernel lets a task have: 32768 instructions, where each filter counts for four more.
const FILTERS_MAX: usize = 8192;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// 0 none, 1 strict, 2 filters.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// The filters, the first installed first.
    #[prost(message, repeated, tag = "2")]
    pub filters: Vec<Filter>,
    /// How many of them, from the first, the leader hands to all tasks of its process.
    #[prost(uint32, tag = "3")]
    pub handed_out: u32,
    /// How many, likewise, a task has been handed by its leader.
    #[prost(uint32, tag = "4")]
    pub received: u32,
}

/// A filter.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Filter {
    /// Its instructions: `struct sock_filter`s.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub instructions: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_LOG`, if it has that.
    #[prost(uint64, tag = "2")]
    pub flags: u64,
}

impl Filter {
    fn read(tid: i32, index: usize) -> Result<Self, Error> {
        let failed = |errno| Error::call(format!("reading seccomp filter {index} of task {tid}"), errno);
        let instructions = ptrace::seccomp_filter(tid, index).map_err(failed)?;
        // Before Linux 4.16 it has none that could be asked for.
        let flags = match ptrace::seccomp_filter_flags(tid, index) {
            Err(Errno::IO | Errno::INVAL) => 0,
            flags => flags.map_err(failed)?,
        };
        Ok(Self { instructions, flags })
    }

    /// Whether somebody with a listener may decide about calls.
    fn asks_a_listener(&self) -> bool {
        /// `BPF_RET | BPF_K`, `BPF_LD | BPF_IMM` (for a later `BPF_RET | BPF_A`)
        const TELLS_A_CONSTANT: [u16; 2] = [0x06, 0x00];
        self.instructions.chunks_exact(SOCK_FILTER_LEN).any(|bytes| {
            let code = u16::from_le_bytes([bytes[0], bytes[1]]);
            let constant = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            TELLS_A_CONSTANT.contains(&code) && constant & RET_ACTION == RET_USER_NOTIF
        })
    }

    fn is_sane(&self) -> bool {
        let len = self.instructions.len();
        len > 0
            && len.is_multiple_of(SOCK_FILTER_LEN)
            && len / SOCK_FILTER_LEN <= SECCOMP_INSTRUCTIONS_MAX
            && self.flags & !FLAG_LOG == 0
    }

    fn install(&self, extra: u64, batch: &mut Batch) {
        let instructions = batch.data(&self.instructions);
        // `struct sock_fprog`
        let mut program = [0; 16];
        program[..2].copy_from_slice(&((self.instructions.len() / SOCK_FILTER_LEN) as u16).to_le_bytes());
        let program = batch.data(&program);
        batch.point_at(program, 8, instructions);
        let flags = self.flags | FLAG_SPEC_ALLOW | extra;
        batch.step(
            "installing a seccomp filter",
            nr::SECCOMP,
            [SET_MODE_FILTER.into(), flags.into(), program.into()],
        );
    }
}

impl Record {
    /// Whether it is what a checkpoint writes.
    pub fn is_sane(&self) -> bool {
        let fits = match self.mode {
            FILTER => (1..=FILTERS_MAX).contains(&self.filters.len()),
            _ => self.mode <= STRICT && self.filters.is_empty(),
        };
        fits && self.common() <= self.filters.len() && self.filters.iter().all(Filter::is_sane)
    }

    fn common(&self) -> usize {
        self.handed_out.max(self.received) as usize
    }

    /// Whether a task is under it at all.
    pub fn is_on(&self) -> bool {
        self.mode != 0
    }
}

/// Whether we can keep seccomp from judging a task that we hold, as a sentence if not.
pub fn can_be_suspended() -> Result<(), String> {
    match features::suspend_seccomp() {
        Ok(_) => Ok(()),
        Err(why) => Err(format!(
            "system calls under seccomp cannot be made for it without CAP_SYS_ADMIN, or under a filter of our own ({why})"
        )),
    }
}

/// Notes in the records of a process's tasks which filters all of them have in common.
pub fn find_common(tasks: &mut [Task]) {
    let Some((leader, others)) = tasks.split_first_mut() else { return };
    // What is handed to others comes with the no_new_privs of whoever hands it to them.
    let agree = others.iter().all(|task| {
        task.credentials.no_new_privs == leader.credentials.no_new_privs && task.seccomp.mode == FILTER
    });
    let ours = &leader.seccomp.filters;
    let alike = |task: &Task| ours.iter().zip(&task.seccomp.filters).take_while(|(a, b)| a == b).count();
    let common = others.iter().map(alike).min().unwrap_or(0);
    let common = if agree { common as u32 } else { 0 };
    leader.seccomp.handed_out = common;
    for task in others {
        task.seccomp.received = common;
    }
}

impl TaskKind for Seccomp {
    type Record = Record;
    type Question = ();

    fn survey(view: &ProcessView, refusals: &mut Refusals) {
        let is_on = |status: &rekindle_procfs::status::Status| status.seccomp.unwrap_or(0) != 0;
        let Some(thread) = view.threads.iter().find(|thread| is_on(&thread.status)) else { return };
        if let Err(why) = can_be_suspended() {
            refusals.add("seccomp", format!("thread {}", thread.tid), why, "run rekindle as root");
        }
    }

    fn survey_stopped(task: &StoppedTask, refusals: &mut Refusals) {
        // What cannot be read is told when it is captured.
        let filters = (0..FILTERS_MAX).map_while(|index| Filter::read(task.tid(), index).ok());
        if filters.into_iter().any(|filter| filter.asks_a_listener()) {
            refusals.add(
                "seccomp-listener",
                format!("thread {}", task.tid()),
                "a seccomp filter asks another process about its system calls (SECCOMP_RET_USER_NOTIF), which cannot be \
                 captured yet",
                "",
            );
        }
    }

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let status = view.thread(task.tid()).map(|thread| &thread.status);
        let mode = status.and_then(|status| status.seccomp).unwrap_or(0);
        let mut filters = Vec::new();
        // From the latest to the first; before Linux 5.9 nobody tells how many there are.
        let indices = if mode == FILTER { 0..FILTERS_MAX } else { 0..0 };
        for index in indices {
            match Filter::read(task.tid(), index) {
                Ok(filter) => filters.push(filter),
                Err(Error::Call { errno: Errno::NOENT, .. }) => break,
                Err(error) => return Err(error),
            }
        }
        filters.reverse();
        Ok(Record { mode, filters, ..Record::default() })
    }

    fn ask(_batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        let (common, own) = record.filters.split_at(record.filters.len().min(record.common()));
        match phase {
            Phase::CommonFilters if record.received > 0 => {}
            Phase::CommonFilters => common.iter().for_each(|filter| filter.install(FLAG_TSYNC, batch)),
            Phase::Filters if record.mode == STRICT => {
                batch.step("seccomp strict mode", nr::SECCOMP, [SET_MODE_STRICT.into()]);
            }
            Phase::Filters => own.iter().for_each(|filter| filter.install(0, batch)),
            Phase::Space
            | Phase::Attributes
            | Phase::Task
            | Phase::Hidden
            | Phase::Rights
            | Phase::Settled
            | Phase::Pending => {}
        }
    }
}
