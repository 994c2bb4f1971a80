//! System V semaphores (semop(2), sysvipc(7)) that processes of the tree have used.
//!
//! Nothing in a process tells which sets it uses; a semaphore tells which process did something to it last. Sets are the
//! system's, and survive the program. A restore finds the very set again and gives it the values that it had, unless somebody
//! else has used it since; one that is gone (as after a reboot) is made again under its id.
//!
//! What the end of a process would take back of its own doing (`SEM_UNDO`) cannot be read, and happens when it is killed: a
//! program that may have used that is refused. A task that waits for a semaphore waits for it anew.

use crate::error::Error;
use crate::kinds::ipc;
use crate::refusal::{Refusal, Refusals};
use crate::view::TreeView;
use rekindle_sys::sysv::{self, Permissions};
use rekindle_sys::task::{Kcmp, kcmp};
use rekindle_sys::{Errno, errno_text};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The form of a set in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its id.
    #[prost(int32, tag = "1")]
    pub semid: i32,
    /// Its key.
    #[prost(int32, tag = "2")]
    pub key: i32,
    /// Permissions.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// The owner's group.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// Whoever made it.
    #[prost(uint32, tag = "6")]
    pub cuid: u32,
    /// Their group.
    #[prost(uint32, tag = "7")]
    pub cgid: u32,
    /// The values.
    #[prost(uint32, repeated, tag = "8")]
    pub values: Vec<u32>,
}

/// The list of all sets of this IPC namespace (proc_sysvipc(5)).
const LIST: &str = "/proc/sysvipc/sem";
/// Sets among the objects of System V IPC.
const KIND: ipc::Kind = ipc::Kind {
    noun: "set of System V semaphores",
    next_id: "/proc/sys/kernel/sem_next_id",
    exists: |id| sysv::semaphore_set(id).is_ok(),
    remove: sysv::remove_semaphore_set,
};
/// The highest value, and the most semaphores of a set, that there can be (semget(2), semop(2)).
const VALUE_MAX: u32 = 32767;
const COUNT_MAX: usize = 32000;

/// The ids of the sets that processes were the last to do something to.
fn used_by(pids: &BTreeSet<i32>) -> Vec<i32> {
    let is_used = |id: &i32| {
        let count = sysv::semaphore_set(*id).map_or(0, |set| set.count);
        (0..count).any(|index| sysv::semaphore_pid(*id, index).is_ok_and(|pid| pids.contains(&pid)))
    };
    ipc::ids(LIST).into_iter().filter(is_used).collect()
}

/// Refuses a tree whose end may change the semaphores that it uses.
pub fn survey(tree: &TreeView, list: &mut Vec<Refusal>) {
    let used = used_by(&tree.pids());
    let Some(first) = used.first() else { return };
    let pids: Vec<i32> = tree.processes.iter().map(|view| view.pid).collect();
    for pid in with_undo(&pids) {
        let mut refusals = Refusals::of(pid);
        refusals.add(
            "sem-undo",
            format!("System V semaphores (set {first})"),
            "it may have used SEM_UNDO (or has had threads, which looks alike): its end would change them",
            "",
        );
        list.extend(refusals.into_list());
    }
}

/// The processes that have a list of what to undo. So has every one that has had threads (kernel/fork.c).
fn with_undo(pids: &[i32]) -> Vec<i32> {
    // A thread without one is what they differ from.
    let compare = || {
        if sysv::share_no_semaphore_undo().is_err() {
            return pids.to_vec();
        }
        let none = rekindle_sys::task::gettid();
        let has_one = |pid: &&i32| kcmp(**pid, none, Kcmp::Sysvsem, 0, 0) != Ok(Ordering::Equal);
        pids.iter().filter(has_one).copied().collect()
    };
    std::thread::scope(|scope| scope.spawn(compare).join()).unwrap_or_else(|_| pids.to_vec())
}

/// The sets that a tree has used.
pub fn capture(tree: &TreeView) -> Result<Vec<Record>, Error> {
    used_by(&tree.pids()).into_iter().map(read).collect()
}

fn read(id: i32) -> Result<Record, Error> {
    let failed = |errno| Error::call(format!("looking at the System V semaphores {id}"), errno);
    let set = sysv::semaphore_set(id).map_err(failed)?;
    let values = sysv::semaphore_values(id, set.count).map_err(failed)?;
    let perm = set.perm;
    Ok(Record {
        semid: id,
        key: perm.key,
        mode: perm.mode & 0o777,
        uid: perm.uid,
        gid: perm.gid,
        cuid: perm.cuid,
        cgid: perm.cgid,
        values: values.into_iter().map(u32::from).collect(),
    })
}

impl Record {
    /// Refuses what no checkpoint writes.
    pub fn check(&self) -> Result<(), String> {
        let fits = !self.values.is_empty() && self.values.len() <= COUNT_MAX;
        let sane =
            self.semid >= 0 && self.mode <= 0o777 && self.values.iter().all(|value| *value <= VALUE_MAX);
        if fits && sane { Ok(()) } else { Err(format!("semaphores {} make no sense", self.semid)) }
    }

    /// Whether the set is still there. `Err` says that its place is taken by another.
    pub fn find(&self) -> Result<bool, String> {
        let id = self.semid;
        match sysv::semaphore_set(id) {
            Ok(found) if found.perm.key == self.key && found.count as usize == self.values.len() => Ok(true),
            Ok(_) => Err(format!(
                "the System V semaphores {id}, which the program has used, are others by now; remove them with `ipcrm -s {id}`"
            )),
            Err(Errno::INVAL | Errno::IDRM) => Ok(false),
            Err(errno) => {
                Err(format!("the System V semaphores {id} cannot be looked at: {}", errno_text(errno)))
            }
        }
    }

    /// Makes it again, under its id.
    pub fn make(&self) -> Result<(), Error> {
        let (id, perm, count) = (self.semid, self.permissions(), self.values.len() as u32);
        KIND.make(id, &perm, &|| sysv::make_semaphore_set(&perm, count))?;
        let owned = sysv::own_semaphore_set(id, &perm);
        owned.map_err(|errno| KIND.failed("setting the owner of", id, errno))
    }

    fn permissions(&self) -> Permissions {
        let Self { key, mode, uid, gid, cuid, cgid, .. } = *self;
        Permissions { key, uid, gid, cuid, cgid, mode }
    }

    /// Gives it the values that it had, unless others have used it since; `pids` are those of the program.
    pub fn settle(&self, pids: &BTreeSet<i32>) -> Result<(), Error> {
        let id = self.semid;
        let failed = |errno| Error::call(format!("setting the System V semaphores {id}"), errno);
        let now = sysv::semaphore_values(id, self.values.len() as u32).map_err(failed)?;
        let wanted: Vec<u16> = self.values.iter().map(|value| *value as u16).collect();
        if now == wanted {
            return Ok(());
        }
        for index in 0..self.values.len() as u32 {
            let pid = sysv::semaphore_pid(id, index).map_err(failed)?;
            if pid != 0 && !pids.contains(&pid) {
                tracing::warn!(
                    "process {pid} has used the System V semaphores {id} since the checkpoint: their values stay as they are"
                );
                return Ok(());
            }
        }
        sysv::set_semaphore_values(id, &wanted).map_err(failed)
    }
}
