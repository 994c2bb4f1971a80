//! Who a task acts as: user and group ids, groups, capabilities, securebits, no_new_privs (credentials(7),
//! capabilities(7)). Linux keeps them for each task, so each task sets its own.
//!
//! A restorer that has exactly the saved credentials changes nothing, and so needs no privilege.

use super::super::{Phase, TaskKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_procfs::status::Status;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StepId, StoppedTask};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// See the module's story.
pub(super) struct Credentials;

const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_CAP_AMBIENT: i32 = 47;
const PR_CAP_AMBIENT_RAISE: i32 = 2;
/// capabilities(7)
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
/// `SECBIT_NO_SETUID_FIXUP`: capabilities stay as they are when user ids change.
const NO_SETUID_FIXUP: u32 = 1 << 2;
/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Real, effective, saved, filesystem user id.
    #[prost(uint32, repeated, tag = "1")]
    pub uid: Vec<u32>,
    /// The group ids, likewise.
    #[prost(uint32, repeated, tag = "2")]
    pub gid: Vec<u32>,
    /// Supplementary groups.
    #[prost(uint32, repeated, tag = "3")]
    pub groups: Vec<u32>,
    /// Inheritable capabilities.
    #[prost(fixed64, tag = "4")]
    pub inheritable: u64,
    /// Permitted capabilities.
    #[prost(fixed64, tag = "5")]
    pub permitted: u64,
    /// Effective capabilities.
    #[prost(fixed64, tag = "6")]
    pub effective: u64,
    /// The bounding set.
    #[prost(fixed64, tag = "7")]
    pub bounding: u64,
    /// Ambient capabilities.
    #[prost(fixed64, tag = "8")]
    pub ambient: u64,
    /// `PR_GET_SECUREBITS`
    #[prost(uint32, tag = "9")]
    pub securebits: u32,
    /// `PR_GET_NO_NEW_PRIVS`
    #[prost(bool, tag = "10")]
    pub no_new_privs: bool,
}

impl Record {
    fn of(status: &Status) -> Self {
        Self {
            uid: status.uid.to_vec(),
            gid: status.gid.to_vec(),
            groups: status.groups.clone(),
            inheritable: status.caps.inh,
            permitted: status.caps.prm,
            effective: status.caps.eff,
            bounding: status.caps.bnd,
            ambient: status.caps.amb,
            securebits: 0,
            no_new_privs: status.no_new_privs.unwrap_or(false),
        }
    }

    /// Those of this process.
    fn own() -> Option<&'static Self> {
        static OWN: OnceLock<Option<Record>> = OnceLock::new();
        OWN.get_or_init(|| {
            let status = std::fs::read("/proc/self/status").ok()?;
            let mut record = Self::of(&rekindle_procfs::status::parse(&status).ok()?);
            record.securebits = rustix::thread::capabilities_secure_bits().ok()?.bits();
            record.groups = GROUPS.get().cloned().unwrap_or(record.groups);
            Some(record)
        })
        .as_ref()
    }

    fn ids(&self) -> (&[u32], &[u32], u32) {
        (&self.uid, &self.gid, self.securebits)
    }

    fn capabilities(&self) -> [u64; 4] {
        [self.inheritable, self.permitted, self.effective, self.ambient]
    }
}

/// The groups of this process before it entered a user namespace in which they have no numbers.
static GROUPS: OnceLock<Vec<u32>> = OnceLock::new();

/// Notes the groups of this process, which is about to enter a user namespace that knows none of them.
pub fn remember_groups() -> Result<(), Error> {
    let own = std::process::id().cast_signed();
    let status = crate::view::parse(own, "status", rekindle_procfs::status::parse)?;
    let _ = GROUPS.set(status.groups); // the first time counts
    Ok(())
}

/// Why the tasks of an image cannot have these credentials again: a sentence for each reason.
pub fn obstacles<'r>(records: impl Iterator<Item = &'r Record>) -> BTreeSet<String> {
    let Some(own) = Record::own() else { return BTreeSet::new() };
    let may = |capability: u32| own.effective >> capability & 1 == 1;
    let is_enclosed = GROUPS.get().is_some();
    let mut reasons = BTreeSet::new();
    for record in records.filter(|record| *record != own) {
        let is_ours = |ids: &[u32], ours: &[u32]| ids.iter().all(|id| ours[..3].contains(id));
        let (user, group) =
            (record.uid.first().copied().unwrap_or(0), record.gid.first().copied().unwrap_or(0));
        if !is_ours(&record.uid, &own.uid) && (is_enclosed || !may(CAP_SETUID)) {
            reasons.insert(format!("it runs as user {user}; restore it as that user, or as root"));
        }
        if !is_ours(&record.gid, &own.gid) && (is_enclosed || !may(CAP_SETGID)) {
            reasons.insert(format!("it runs with group {group}; restore it with that group, or as root"));
        }
        if record.groups != own.groups && (is_enclosed || !may(CAP_SETGID)) {
            let groups = (&record.groups, &own.groups);
            reasons.insert(format!(
                "it is in the groups {:?}, and you are in {:?}; restore it as root",
                groups.0, groups.1
            ));
        }
        let is_more = record.permitted | record.inheritable != 0 && is_enclosed;
        if is_more || record.permitted & !own.permitted != 0 {
            reasons.insert("it has capabilities that you cannot give it; restore it as root".to_owned());
        }
        if record.bounding & !own.bounding != 0 {
            reasons.insert(format!(
                "it may get capabilities that you may not (its bounding set is {:x}, yours {:x})",
                record.bounding, own.bounding
            ));
        }
        if own.no_new_privs && !record.no_new_privs {
            reasons.insert("you have no_new_privs set (PR_SET_NO_NEW_PRIVS), and it has not; restore it from a shell without".to_owned());
        }
    }
    reasons
}

impl TaskKind for Credentials {
    type Record = Record;
    type Question = StepId;

    fn outside(view: &ProcessView, task: &StoppedTask) -> Result<Record, Error> {
        let thread = view.thread(task.tid());
        let gone = || Error::proc(view.pid, format!("task/{}/status", task.tid()), "it was not there");
        Ok(Record::of(&thread.ok_or_else(gone)?.status))
    }

    fn ask(batch: &mut Batch) -> StepId {
        batch.step("PR_GET_SECUREBITS", nr::PRCTL, [PR_GET_SECUREBITS.into()])
    }

    fn answer(record: &mut Record, securebits: &StepId, answers: &Answers) -> Result<(), Error> {
        record.securebits = answers.result(*securebits).unwrap_or(0) as u32;
        Ok(())
    }

    fn restore(record: &Record, _tid: i32, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Rights || Record::own() == Some(record) {
            return;
        }
        let own = Record::own();
        let own_bounding = own.map_or(u64::MAX, |own| own.bounding);
        for capability in bits(own_bounding & !record.bounding) {
            batch.step("PR_CAPBSET_DROP", nr::PRCTL, [PR_CAPBSET_DROP.into(), capability.into()]);
        }
        // What is right already needs no privilege.
        if own.is_none_or(|own| own.groups != record.groups) {
            let bytes: Vec<u8> = record.groups.iter().flat_map(|group| group.to_le_bytes()).collect();
            let groups = batch.data(&bytes);
            batch.step("setgroups", nr::SETGROUPS, [record.groups.len().into(), groups.into()]);
        }
        if own.is_none_or(|own| own.ids() != record.ids()) {
            restore_ids(record, batch);
        }
        if own.is_none_or(|own| own.capabilities() != record.capabilities()) {
            restore_capabilities(record, batch);
        }
        if record.no_new_privs {
            let args = [PR_SET_NO_NEW_PRIVS.into(), 1.into(), 0.into(), 0.into(), 0.into()];
            batch.step("PR_SET_NO_NEW_PRIVS", nr::PRCTL, args);
        }
    }
}

fn restore_ids(record: &Record, batch: &mut Batch) {
    let keep = [PR_SET_SECUREBITS.into(), NO_SETUID_FIXUP.into()];
    batch.step("PR_SET_SECUREBITS", nr::PRCTL, keep);
    if let [real, effective, saved, fs] = record.gid[..] {
        batch.step("setresgid", nr::SETRESGID, [real.into(), effective.into(), saved.into()]);
        batch.step("setfsgid", nr::SETFSGID, [fs.into()]);
    }
    if let [real, effective, saved, fs] = record.uid[..] {
        batch.step("setresuid", nr::SETRESUID, [real.into(), effective.into(), saved.into()]);
        batch.step("setfsuid", nr::SETFSUID, [fs.into()]);
    }
    batch.step("PR_SET_SECUREBITS", nr::PRCTL, [PR_SET_SECUREBITS.into(), record.securebits.into()]);
}

fn restore_capabilities(record: &Record, batch: &mut Batch) {
    let header = batch.data(&[CAPABILITY_VERSION, 0].map(u32::to_le_bytes).concat());
    let (e, p, i) = (record.effective, record.permitted, record.inheritable);
    // Two structures: the low halves, then the high halves.
    let halves = [e, p, i, e >> 32, p >> 32, i >> 32].map(|set| (set as u32).to_le_bytes()).concat();
    let sets = batch.data(&halves);
    batch.step("capset", nr::CAPSET, [header.into(), sets.into()]);
    for capability in bits(record.ambient) {
        let args =
            [PR_CAP_AMBIENT.into(), PR_CAP_AMBIENT_RAISE.into(), capability.into(), 0.into(), 0.into()];
        batch.step("PR_CAP_AMBIENT_RAISE", nr::PRCTL, args);
    }
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| set & (1 << bit) != 0)
}
