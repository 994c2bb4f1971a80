//! Locks on files: flock(2), and those of fcntl(2): of a process, of a description, and leases.
//!
//! They are taken again when all descriptors are there. A lock that a process has goes as soon as the process closes any
//! descriptor of the file, so that those come when nothing is left to be closed. A task that waits for a lock waits for it
//! anew: its call begins again.

use super::Description;
use super::restore::Finishing;
use crate::refusal::{Refusals, show};
use crate::view::FdView;
use rekindle_procfs::fdinfo::{Lock, LockAccess, LockKind};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// Whose a lock is, and so how it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration, serde::Serialize)]
#[repr(i32)]
pub enum Kind {
    /// The description's, on the whole file: flock(2).
    Flock = 0,
    /// A process's: `F_SETLK`.
    Posix = 1,
    /// The description's: `F_OFD_SETLK`.
    Ofd = 2,
    /// A lease: `F_SETLEASE`.
    Lease = 3,
}

/// The form of a lock in the image.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Whose it is.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Whether nobody else may have one.
    #[prost(bool, tag = "2")]
    pub exclusive: bool,
    /// The first byte.
    #[prost(uint64, tag = "3")]
    pub start: u64,
    /// How many bytes; 0: all from there on.
    #[prost(uint64, tag = "4")]
    pub length: u64,
    /// The process, if it is one's.
    #[prost(int32, tag = "5")]
    pub pid: i32,
}

const LOCK_SH: i32 = 1;
const LOCK_EX: i32 = 2;
const LOCK_NB: i32 = 4;
const F_SETLK: i32 = 6;
const F_OFD_SETLK: i32 = 37;
const F_SETLEASE: i32 = 1024;
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;

/// Says which locks of a descriptor cannot be captured.
pub(super) fn survey(fd: &FdView, subject: impl Fn() -> String, refusals: &mut Refusals) {
    for lock in &fd.info.locks {
        if kind_of(lock).is_none() {
            let why = format!("a lock of a kind that cannot be captured ({:?})", lock.kind);
            refusals.add("file-lock", subject(), why, "let the program release it");
        } else if lock.kind == LockKind::Lease && lock.mode != b"ACTIVE" {
            let why = format!("somebody waits for its lease to end ({})", show(&lock.mode));
            refusals.add("lease-breaking", subject(), why, "try again when the program has let it go");
        } else if lock.kind == LockKind::Lease && fd.nlink == 0 {
            let why = "leases of deleted files cannot be captured: to read one would break them";
            refusals.add("lease-deleted", subject(), why, "let the program release it");
        }
    }
}

fn kind_of(lock: &Lock) -> Option<Kind> {
    match (&lock.kind, &lock.access) {
        (_, LockAccess::Unlock | LockAccess::Other(_)) => None,
        (LockKind::Flock, _) => Some(Kind::Flock),
        (LockKind::Posix, _) => Some(Kind::Posix),
        (LockKind::Ofd, _) => Some(Kind::Ofd),
        (LockKind::Lease, _) => Some(Kind::Lease),
        (LockKind::Delegation | LockKind::Other(_), _) => None,
    }
}

fn record_of(lock: &Lock, pid: i32) -> Option<Record> {
    let kind = kind_of(lock)?;
    // 0 stands for "to the end": so does a lock up to the last byte that there can be.
    let length = lock.end.map_or(0, |end| end.wrapping_sub(lock.start).wrapping_add(1));
    let exclusive = lock.access == LockAccess::Write;
    let pid = if kind == Kind::Posix { pid } else { 0 };
    Some(Record { kind: kind as i32, exclusive, start: lock.start, length, pid })
}

/// The locks that belong to a description, told by any descriptor of it.
pub(super) fn of_description(fd: &FdView) -> Vec<Record> {
    let locks = fd.info.locks.iter().filter(|lock| lock.kind != LockKind::Posix);
    locks.filter_map(|lock| record_of(lock, 0)).collect()
}

/// The locks of a process that can be taken through one of its descriptors. Each descriptor of the file tells all of them.
pub(super) fn of_process(fd: &FdView, pid: i32) -> impl Iterator<Item = Record> {
    let mode = fd.info.flags & o::ACCMODE;
    let locks = fd.info.locks.iter().filter(|lock| lock.kind == LockKind::Posix);
    let fits = move |record: &Record| if record.exclusive { mode != 0 } else { mode != 1 };
    locks.filter_map(move |lock| record_of(lock, pid)).filter(fits)
}

impl Record {
    pub(super) fn check(&self) -> Result<(), String> {
        let fits = self.start.checked_add(self.length).is_some_and(|end| i64::try_from(end).is_ok());
        let is_known = Kind::try_from(self.kind).is_ok();
        let has_owner = (self.pid != 0) == (self.kind() == Kind::Posix);
        if fits && is_known && has_owner { Ok(()) } else { Err("a lock of it makes no sense".into()) }
    }

    fn take(&self, number: i32, link: &[u8], batch: &mut Batch) {
        let file = show(link);
        let label = |what: &str| format!("{what} {file} (does somebody else have it locked by now?)");
        let kind = if self.exclusive { F_WRLCK } else { F_RDLCK };
        match self.kind() {
            Kind::Flock => {
                let how = if self.exclusive { LOCK_EX } else { LOCK_SH } | LOCK_NB;
                batch.step(label("flock on"), nr::FLOCK, [number.into(), how.into()]);
            }
            Kind::Lease => {
                let args = [number.into(), F_SETLEASE.into(), i32::from(kind).into()];
                batch.step(label("a lease on"), nr::FCNTL, args);
            }
            Kind::Posix | Kind::Ofd => {
                // struct flock: l_type, l_whence (SEEK_SET), l_start, l_len, l_pid
                let mut bytes = [0; 32];
                bytes[..2].copy_from_slice(&kind.to_le_bytes());
                bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
                bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
                let command = if self.kind() == Kind::Posix { F_SETLK } else { F_OFD_SETLK };
                let data = batch.data(&bytes);
                batch.step(label("locking"), nr::FCNTL, [number.into(), command.into(), data.into()]);
            }
        }
    }
}

/// The steps, in the holder of a description, that take its locks.
pub(super) fn restore(record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
    for lock in record.locks.iter().filter(|lock| lock.kind() != Kind::Posix) {
        lock.take(cx.number, &record.link, batch);
    }
}

/// The steps, in a process, that take its own locks on the file of a description, which it has at a number.
pub(super) fn restore_of_process(record: &Description, pid: i32, number: i32, batch: &mut Batch) {
    for lock in record.locks.iter().filter(|lock| lock.kind() == Kind::Posix && lock.pid == pid) {
        lock.take(number, &record.link, batch);
    }
}
