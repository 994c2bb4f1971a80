//! What the objects of System V IPC (sysvipc(7)) have in common: they are the system's, are known by an id that must come back,
//! and belong for good to whoever made them.
//!
//! Used by segments ([`super::mem::segment`]), sets of semaphores ([`super::semaphores`]) and message queues
//! ([`super::message_queues`]).

use crate::error::Error;
use rekindle_sys::Errno;
use rekindle_sys::sysv::{self, Permissions};
use rustix::process::{dumpable_behavior, getegid, geteuid, set_dumpable_behavior};

/// A kind of object.
pub struct Kind {
    /// What one is called in messages.
    pub noun: &'static str,
    /// The file that takes the id which the next one gets (proc_sys_kernel(5); needs CAP_CHECKPOINT_RESTORE).
    pub next_id: &'static str,
    /// Whether there is one of an id.
    pub exists: fn(i32) -> bool,
    /// Removes one.
    pub remove: fn(i32) -> Result<(), Errno>,
}

const ATTEMPTS: usize = 16;

impl Kind {
    /// An error about one of them.
    pub fn failed(&self, doing: &str, id: i32, errno: Errno) -> Error {
        Error::call(format!("{doing} {} {id}", self.noun), errno)
    }

    /// Makes one under its id; `make` is the call that does, and tells the id that it got.
    pub fn make(
        &self,
        id: i32,
        perm: &Permissions,
        make: &(dyn Fn() -> Result<i32, Errno> + Sync),
    ) -> Result<(), Error> {
        let Self { noun, next_id, .. } = self;
        for _ in 0..ATTEMPTS {
            std::fs::write(next_id, id.to_string())
                .map_err(|error| Error::io(format!("asking for the id {id} through {next_id}"), &error))?;
            let made = as_creator(perm, make);
            let made = made.map_err(|errno| self.failed("making again the", id, errno))?;
            if made == id {
                return Ok(());
            }
            // Somebody else made one at the same time, and got the id.
            let _ = (self.remove)(made);
            if (self.exists)(id) {
                break;
            }
        }
        Err(Error::DoesNotFit(vec![format!("the {noun} {id} cannot get its id back; try again")]))
    }
}

/// Whoever makes an object is its creator for good: a thread that acts as the one it was.
fn as_creator(perm: &Permissions, make: &(dyn Fn() -> Result<i32, Errno> + Sync)) -> Result<i32, Errno> {
    if (perm.cuid, perm.cgid) == (geteuid().as_raw(), getegid().as_raw()) {
        return make();
    }
    // A change of user takes from all of us what being dumpable gives (PR_SET_DUMPABLE(2const)).
    let dumpable = dumpable_behavior()?;
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            sysv::become_user_in_this_thread(perm.cuid, perm.cgid)?;
            make()
        });
        making.join().unwrap_or(Err(Errno::CANCELED))
    });
    // What it was by a setting of the system's (2) cannot be set.
    let _ = set_dumpable_behavior(dumpable);
    made
}

/// The ids in a list of all objects of a kind in this IPC namespace (/proc/sysvipc, proc_sysvipc(5)).
pub fn ids(list: &str) -> Vec<i32> {
    let list = std::fs::read_to_string(list).unwrap_or_default();
    list.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}
