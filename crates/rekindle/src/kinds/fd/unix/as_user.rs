//! Steps done as another user: who connects, and who listens, is what the other end is told (`SO_PEERCRED`).
//!
//! Only the effective ids change, so that there is a way back. The process comes to its own credentials later, and its
//! being dumpable with them.

use super::record::Credentials;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch};
use rustix::process::{getegid, geteuid, getgroups};

/// Runs steps with the effective ids and the groups of somebody; `None` for whoever we are.
pub(super) fn run(who: Option<&Credentials>, batch: &mut Batch, with: impl FnOnce(&mut Batch)) {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let groups: Vec<u32> = getgroups().unwrap_or_default().iter().map(|group| group.as_raw()).collect();
    let Some(who) = who.filter(|who| (who.uid, who.gid, &who.groups) != (uid, gid, &groups)) else {
        return with(batch);
    };
    let changes_groups = who.groups != groups;
    if changes_groups {
        set_groups(&who.groups, batch);
    }
    batch.step("setresgid", nr::SETRESGID, ids(who.gid));
    batch.step("setresuid", nr::SETRESUID, ids(who.uid));
    with(batch);
    batch.step("setresuid", nr::SETRESUID, ids(uid));
    batch.step("setresgid", nr::SETRESGID, ids(gid));
    if changes_groups {
        set_groups(&groups, batch);
    }
}

/// Real and saved ids stay.
fn ids(effective: u32) -> [Arg; 3] {
    [(-1_i32).into(), effective.into(), (-1_i32).into()]
}

fn set_groups(groups: &[u32], batch: &mut Batch) {
    let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
    let data = batch.data(&bytes);
    batch.step("setgroups", nr::SETGROUPS, [groups.len().into(), data.into()]);
}
