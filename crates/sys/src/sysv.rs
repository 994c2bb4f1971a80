//! System V IPC (sysvipc(7)): what no other crate has calls for.

use crate::{Errno, Result, check};

/// What every object has (`struct ipc64_perm`, include/uapi/asm-generic/ipcbuf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The key that it was made with.
    pub key: i32,
    /// Its owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// Whoever made it.
    pub cuid: u32,
    /// Their group.
    pub cgid: u32,
    /// What owner, group and others may do; of segments, also [`SHM_DEST`].
    pub mode: u32,
}

impl Permissions {
    fn of(found: libc::ipc_perm) -> Self {
        Self {
            key: found.__key,
            uid: found.uid,
            gid: found.gid,
            cuid: found.cuid,
            cgid: found.cgid,
            mode: u32::from(found.mode),
        }
    }

    /// Writes what `IPC_SET` sets: owner, group and permissions.
    fn put(&self, wanted: &mut libc::ipc_perm) {
        wanted.uid = self.uid;
        wanted.gid = self.gid;
        wanted.mode = (self.mode & 0o777) as libc::c_ushort;
    }

    /// The flags of `msgget` and its like that make a new object with these permissions.
    fn for_new(self) -> i32 {
        (self.mode & 0o777) as i32 | libc::IPC_CREAT | libc::IPC_EXCL
    }
}

/// A shared memory segment, as `shmctl(IPC_STAT)` tells (`struct shmid64_ds`, include/uapi/asm-generic/shmbuf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of shmctl(2), without their prefix")]
pub struct Segment {
    pub perm: Permissions,
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
    Ok(Segment {
        perm: Permissions::of(found.shm_perm),
        size: found.shm_segsz as u64,
        ctime: found.shm_ctime,
        cpid: found.shm_cpid,
        nattch: found.shm_nattch,
    })
}

/// Makes a segment; tells its id (shmget(2)). `flags` are 0, or `SHM_HUGETLB` with its size of pages. The caller is its
/// owner and creator.
pub fn make_segment(perm: &Permissions, size: u64, flags: i32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::shmget(perm.key, size as usize, flags | perm.for_new()) }.into()).map(|id| id as i32)
}

/// Sets owner, group and permissions of a segment (`shmctl(IPC_SET)`).
pub fn own_segment(id: i32, perm: &Permissions) -> Result<()> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut wanted: libc::shmid_ds = unsafe { std::mem::zeroed() };
    perm.put(&mut wanted.shm_perm);
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
    pub perm: Permissions,
    /// How many semaphores it has.
    pub count: u32,
}

/// What is known of a set of semaphores. `EINVAL` or `EIDRM`: there is none of this id.
pub fn semaphore_set(id: i32) -> Result<SemaphoreSet> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut found: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is live and of the type that IPC_STAT fills.
    check(unsafe { libc::semctl(id, 0, libc::IPC_STAT, &raw mut found) }.into())?;
    Ok(SemaphoreSet { perm: Permissions::of(found.sem_perm), count: found.sem_nsems as u32 })
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

/// Makes a set of semaphores; tells its id (semget(2)). The caller is its owner and creator.
pub fn make_semaphore_set(perm: &Permissions, count: u32) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::semget(perm.key, count as i32, perm.for_new()) }.into()).map(|id| id as i32)
}

/// Sets owner, group and permissions of a set of semaphores (`semctl(IPC_SET)`).
pub fn own_semaphore_set(id: i32, perm: &Permissions) -> Result<()> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut wanted: libc::semid_ds = unsafe { std::mem::zeroed() };
    perm.put(&mut wanted.sem_perm);
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

/// A message queue, as `msgctl(IPC_STAT)` tells (`struct msqid64_ds`, include/uapi/asm-generic/msgbuf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of msgctl(2), without their prefix")]
pub struct MessageQueue {
    pub perm: Permissions,
    /// Bytes in it.
    pub cbytes: u64,
    /// Messages in it.
    pub qnum: u64,
    /// How many bytes there may be in it.
    pub qbytes: u64,
    /// The process that sent last; 0: nobody.
    pub lspid: i32,
    /// The process that received last; 0: nobody.
    pub lrpid: i32,
}

/// What is known of a message queue. `EINVAL` or `EIDRM`: there is none of this id.
pub fn message_queue(id: i32) -> Result<MessageQueue> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut found: libc::msqid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is live and of the type that IPC_STAT fills.
    check(unsafe { libc::msgctl(id, libc::IPC_STAT, &raw mut found) }.into())?;
    Ok(MessageQueue {
        perm: Permissions::of(found.msg_perm),
        cbytes: found.__msg_cbytes,
        qnum: found.msg_qnum,
        qbytes: found.msg_qbytes,
        lspid: found.msg_lspid,
        lrpid: found.msg_lrpid,
    })
}

/// Which message of a queue to look at, and whether it stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A copy of the one at a place in the queue, from 0 on (`MSG_COPY`; needs CONFIG_CHECKPOINT_RESTORE, else `ENOSYS`).
    /// The queue stays as it is, its times and pids too.
    CopyOf(usize),
    /// The first one, which goes.
    First,
}

/// A message: its type and its bytes, of which there may be up to `size` (msgrcv(2)). `ENOMSG`: there is none; `E2BIG`:
/// it is longer.
pub fn message(id: i32, which: Which, size: usize) -> Result<(i64, Vec<u8>)> {
    const TYPE: usize = size_of::<i64>();
    let (place, flags) = match which {
        Which::CopyOf(place) => (place as i64, libc::MSG_COPY),
        Which::First => (0, 0),
    };
    let mut message = vec![0_u8; TYPE + size];
    // SAFETY: `message` has room for the type and `size` bytes behind it.
    let received =
        unsafe { libc::msgrcv(id, message.as_mut_ptr().cast(), size, place, flags | libc::IPC_NOWAIT) };
    let length = check(received as libc::c_long)? as usize;
    let kind = message.first_chunk().map_or(0, |bytes| i64::from_ne_bytes(*bytes));
    Ok((kind, message.get(TYPE..TYPE + length).unwrap_or_default().to_vec()))
}

/// Makes a message queue; tells its id (msgget(2)). The caller is its owner and creator.
pub fn make_message_queue(perm: &Permissions) -> Result<i32> {
    // SAFETY: numbers only.
    check(unsafe { libc::msgget(perm.key, perm.for_new()) }.into()).map(|id| id as i32)
}

/// Sets owner, group and permissions of a message queue, and how many bytes there may be in it: more than the system's
/// limit (msgmnb) needs CAP_SYS_RESOURCE (`msgctl(IPC_SET)`).
pub fn own_message_queue(id: i32, perm: &Permissions, qbytes: u64) -> Result<()> {
    // SAFETY: all fields are integers, for which zeros are fine.
    let mut wanted: libc::msqid_ds = unsafe { std::mem::zeroed() };
    perm.put(&mut wanted.msg_perm);
    wanted.msg_qbytes = qbytes;
    // SAFETY: `wanted` is live and of the type that IPC_SET reads.
    check(unsafe { libc::msgctl(id, libc::IPC_SET, &raw mut wanted) }.into()).map(drop)
}

/// Removes a message queue (`msgctl(IPC_RMID)`).
pub fn remove_message_queue(id: i32) -> Result<()> {
    // SAFETY: IPC_RMID reads nothing through the pointer.
    check(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }.into()).map(drop)
}
