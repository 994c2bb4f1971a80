//! System V IPC (sysvipc(7)): what no other crate has calls for.

use crate::{Result, check};

/// A shared memory segment, as `shmctl(IPC_STAT)` tells (`struct shmid64_ds`, include/uapi/asm-generic/shmbuf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of shmctl(2), without their prefix")]
pub struct Segment {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permissions, and [`SHM_DEST`].
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Time of the last change by shmctl(2), or of its making; seconds since 1970.
    pub ctime: i64,
    /// Who made it.
    pub cpid: i32,
    /// How many attachments there are.
    pub nattch: u64,
}

/// It goes when nobody is attached any more (shmctl(2)).
pub const SHM_DEST: u32 = 0o1000;

/// What is known of a segment. `EINVAL` or `EIDRM`: there is none of this id.
pub fn segment(id: i32) -> Result<Segment> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut found: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is live and of the type that IPC_STAT fills.
    check(unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut found) }.into())?;
    let perm = found.shm_perm;
    Ok(Segment {
        key: perm.__key,
        uid: perm.uid,
        gid: perm.gid,
        cuid: perm.cuid,
        cgid: perm.cgid,
        mode: u32::from(perm.mode),
        size: found.shm_segsz as u64,
        ctime: found.shm_ctime,
        cpid: found.shm_cpid,
        nattch: found.shm_nattch,
    })
}

/// Makes a segment; tells its id (shmget(2)). `flags` are permissions and `SHM_HUGETLB` with its size of pages;
/// `IPC_CREAT` and `IPC_EXCL` are added.
pub fn make_segment(key: i32, size: u64, flags: i32) -> Result<i32> {
    let flags = flags | libc::IPC_CREAT | libc::IPC_EXCL;
    // SAFETY: numbers only.
    check(unsafe { libc::shmget(key, size as usize, flags) }.into()).map(|id| id as i32)
}

/// Sets owner, group and permissions of a segment (`shmctl(IPC_SET)`).
pub fn own_segment(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut wanted: libc::shmid_ds = unsafe { std::mem::zeroed() };
    wanted.shm_perm.uid = uid;
    wanted.shm_perm.gid = gid;
    wanted.shm_perm.mode = (mode & 0o777) as libc::c_ushort;
    // SAFETY: `wanted` is live and of the type that IPC_SET reads.
    check(unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut wanted) }.into()).map(drop)
}

/// Removes a segment, at once or when nobody is attached any more (`shmctl(IPC_RMID)`).
pub fn remove_segment(id: i32) -> Result<()> {
    // SAFETY: IPC_RMID reads nothing through the pointer.
    check(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }.into()).map(drop)
}

/// The id of the segment with a key, whatever its size. `ENOENT`: there is none.
pub fn find_segment(key: i32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::shmget(key, 0, 0) }.into()).map(|id| id as i32)
}

/// Makes the calling thread, and no other, act as this user and group from now on: whatever it makes is theirs. The raw
/// calls concern one thread, unlike those of the C library (setresuid(2), "C library/kernel differences").
pub fn become_user_in_this_thread(uid: u32, gid: u32) -> Result<()> {
    const KEEP: i64 = -1;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, KEEP, i64::from(gid), KEEP) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, KEEP, i64::from(uid), KEEP) }).map(drop)
}
