//! System V IPC (sysvipc(7)): what no other crate has calls for.

use crate::{Errno, Result, check};

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

/// A set of semaphores, as `semctl(IPC_STAT)` tells (`struct semid64_ds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of semctl(2), without their prefix")]
pub struct SemaphoreSet {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    /// How many semaphores it has.
    pub count: u32,
}

/// What is known of a set of semaphores. `EINVAL` or `EIDRM`: there is none of this id.
pub fn semaphore_set(id: i32) -> Result<SemaphoreSet> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut found: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is live and of the type that IPC_STAT fills.
    check(unsafe { libc::semctl(id, 0, libc::IPC_STAT, &raw mut found) }.into())?;
    let perm = found.sem_perm;
    Ok(SemaphoreSet {
        key: perm.__key,
        uid: perm.uid,
        gid: perm.gid,
        cuid: perm.cuid,
        cgid: perm.cgid,
        mode: u32::from(perm.mode),
        count: found.sem_nsems as u32,
    })
}

/// The values of a set of `count` semaphores (`semctl(GETALL)`).
pub fn semaphore_values(id: i32, count: u32) -> Result<Vec<u16>> {
    // The kernel writes as many as there are: a set never changes its size, and another set has another id.
    if semaphore_set(id)?.count != count {
        return Err(Errno::INVAL);
    }
    let mut values = vec![0_u16; count as usize];
    // SAFETY: GETALL writes `count` 16-bit numbers, for which there is room.
    check(unsafe { libc::semctl(id, 0, libc::GETALL, values.as_mut_ptr()) }.into())?;
    Ok(values)
}

/// Sets the values of a set of as many semaphores (`semctl(SETALL)`). Whoever waits for them is woken up.
pub fn set_semaphore_values(id: i32, values: &[u16]) -> Result<()> {
    if semaphore_set(id)?.count as usize != values.len() {
        return Err(Errno::INVAL);
    }
    // SAFETY: SETALL reads as many 16-bit numbers as the set has semaphores, which are as many as there are values.
    check(unsafe { libc::semctl(id, 0, libc::SETALL, values.as_ptr()) }.into()).map(drop)
}

/// The process that did something to a semaphore last; 0: nobody (`semctl(GETPID)`).
pub fn semaphore_pid(id: i32, index: u32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::semctl(id, index as i32, libc::GETPID) }.into()).map(|pid| pid as i32)
}

/// Makes a set of semaphores; tells its id (semget(2)). `IPC_CREAT` and `IPC_EXCL` are added to the permissions.
pub fn make_semaphore_set(key: i32, count: u32, mode: u32) -> Result<i32> {
    let flags = (mode & 0o777) as i32 | libc::IPC_CREAT | libc::IPC_EXCL;
    // SAFETY: numbers only.
    check(unsafe { libc::semget(key, count as i32, flags) }.into()).map(|id| id as i32)
}

/// Sets owner, group and permissions of a set of semaphores (`semctl(IPC_SET)`).
pub fn own_semaphore_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut wanted: libc::semid_ds = unsafe { std::mem::zeroed() };
    wanted.sem_perm.uid = uid;
    wanted.sem_perm.gid = gid;
    wanted.sem_perm.mode = (mode & 0o777) as libc::c_ushort;
    // SAFETY: `wanted` is live and of the type that IPC_SET reads.
    check(unsafe { libc::semctl(id, 0, libc::IPC_SET, &raw mut wanted) }.into()).map(drop)
}

/// Removes a set of semaphores (`semctl(IPC_RMID)`).
pub fn remove_semaphore_set(id: i32) -> Result<()> {
    // SAFETY: IPC_RMID reads nothing more.
    check(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }.into()).map(drop)
}

/// Makes the calling thread one that has no list of semaphores to undo, whatever those of its process have in common
/// (unshare(2), `CLONE_SYSVSEM`).
pub fn share_no_semaphore_undo() -> Result<()> {
    // SAFETY: what the thread shares of memory and descriptors stays as it is.
    check(unsafe { libc::unshare(libc::CLONE_SYSVSEM) }.into()).map(drop)
}
