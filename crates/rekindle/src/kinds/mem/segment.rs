//! System V shared memory (shmget(2), sysvipc(7)): segments that processes of the tree are attached to.
//!
//! A segment is the system's, not the program's: it survives the end of all who are attached, and comes back in one of two
//! ways. If the very segment is still there, the restored processes attach to it, and it gets the contents that it had. If
//! its id is free, it is made again under its id, with its key, owner and permissions.
//!
//! One that has been removed (`IPC_RMID`) lives until nobody is attached: it is made again and removed again at the end.

use crate::error::Error;
use crate::kinds::ipc;
use crate::refusal::show;
use rekindle_sys::sysv::{self, Permissions, Segment};
use rekindle_sys::{Errno, errno_text};

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its id.
    #[prost(int32, tag = "1")]
    pub shmid: i32,
    /// The key that it was made with.
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
    /// Size in bytes, as it was asked for.
    #[prost(uint64, tag = "8")]
    pub size: u64,
    /// Seconds since 1970: when it was made, or last changed by shmctl(2).
    #[prost(sint64, tag = "9")]
    pub ctime: i64,
    /// It had been removed.
    #[prost(bool, tag = "10")]
    pub removed: bool,
    /// The process that made it.
    #[prost(int32, tag = "11")]
    pub cpid: i32,
}

/// Whether a name in /proc/PID/maps is that of a segment.
pub fn is_named_so(name: &[u8]) -> bool {
    key_of(name).is_some()
}

/// The key in a name: `/SYSV0052e2c1 (deleted)`.
fn key_of(name: &[u8]) -> Option<i32> {
    let digits = name.strip_prefix(b"/SYSV")?.strip_suffix(b" (deleted)")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(u32::cast_signed)
}

/// Says why a segment cannot be captured, if so. The inode number of its mappings is its id (ipc/shm.c, `newseg`); `attached` is
/// how many mappings the tree has of it.
pub fn refusal(inode: u64, attached: u64) -> Option<String> {
    let id = i32::try_from(inode).unwrap_or(-1);
    match sysv::segment(id) {
        Ok(found) if found.nattch > attached => Some(format!(
            "segment {id} is also attached by processes outside of the tree ({} of {} attachments)",
            found.nattch - attached,
            found.nattch
        )),
        Ok(_) => None,
        Err(errno) => Some(format!("segment {id} cannot be looked at: {}", errno_text(errno))),
    }
}

impl Record {
    /// Looks at a segment; `None` if the name is not that of one.
    pub(super) fn read(name: &[u8], inode: u64) -> Result<Option<Self>, Error> {
        let Some(key) = key_of(name) else { return Ok(None) };
        let shmid = i32::try_from(inode).unwrap_or(-1);
        let found = sysv::segment(shmid)
            .map_err(|errno| Error::call(format!("looking at {} (shmctl)", show(name)), errno))?;
        let perm = found.perm;
        Ok(Some(Self {
            shmid,
            key,
            mode: perm.mode & 0o777,
            uid: perm.uid,
            gid: perm.gid,
            cuid: perm.cuid,
            cgid: perm.cgid,
            size: found.size,
            ctime: found.ctime,
            removed: perm.mode & sysv::SHM_DEST != 0,
            cpid: found.cpid,
        }))
    }

    /// The bytes that can be in it; its file may be said to have fewer.
    pub(super) fn size_of(&self, of_file: u64) -> u64 {
        self.size.max(of_file)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let sane = self.shmid >= 0 && self.size > 0 && self.mode <= 0o777;
        if sane { Ok(()) } else { Err("it is a System V segment that cannot be".into()) }
    }

    /// Whether the segment is still there. `Err` says that its place is taken by another, or that others use it.
    pub fn find(&self) -> Result<bool, String> {
        let id = self.shmid;
        let found = match sysv::segment(id) {
            Ok(found) => found,
            Err(Errno::INVAL | Errno::IDRM) => return self.key_is_free().map(|()| false),
            Err(errno) => {
                return Err(format!("System V segment {id} cannot be looked at: {}", errno_text(errno)));
            }
        };
        if !self.is(&found) {
            return Err(format!(
                "System V segment {id}, which the program was attached to, is another one by now (made by process {}); \
                 remove that with `ipcrm -m {id}`",
                found.cpid
            ));
        }
        if found.nattch > 0 {
            return Err(format!(
                "System V segment {id}, which the program was attached to, is in use by {} others, whose contents would \
                 be overwritten; end them first",
                found.nattch
            ));
        }
        Ok(true)
    }

    fn is(&self, found: &Segment) -> bool {
        // One that is removed loses its key; a restore that was killed may have left it with the key.
        let perm = found.perm;
        let has_key = perm.key == self.key || (self.removed && perm.key == libc::IPC_PRIVATE);
        has_key && (found.size, perm.cuid, perm.cgid) == (self.size, self.cuid, self.cgid)
    }

    fn key_is_free(&self) -> Result<(), String> {
        if self.key == libc::IPC_PRIVATE || self.removed {
            return Ok(());
        }
        match sysv::find_segment(self.key) {
            Ok(id) => Err(format!(
                "the key {:#x} of a System V segment that the program was attached to is taken by segment {id}; remove that \
                 with `ipcrm -m {id}`",
                self.key
            )),
            Err(_) => Ok(()),
        }
    }

    /// Makes it again, under its id.
    pub fn make(&self, huge_page: u64) -> Result<(), Error> {
        let flags = match huge_page {
            0 => 0,
            size => libc::SHM_HUGETLB | ((size.trailing_zeros() << 26) as i32),
        };
        // The key of one that was removed shows in its name alone, and may have been taken since.
        let key_is_taken =
            self.removed && self.key != libc::IPC_PRIVATE && sysv::find_segment(self.key).is_ok();
        let key = if key_is_taken { libc::IPC_PRIVATE } else { self.key };
        let perm = Permissions { key, ..self.permissions() };
        KIND.make(self.shmid, &perm, &|| sysv::make_segment(&perm, self.size, flags))?;
        let owned = sysv::own_segment(self.shmid, &perm);
        owned.map_err(|errno| KIND.failed("setting the owner of", self.shmid, errno))
    }

    fn permissions(&self) -> Permissions {
        let Self { key, mode, uid, gid, cuid, cgid, .. } = *self;
        Permissions { key, uid, gid, cuid, cgid, mode }
    }
}

/// Segments among the objects of System V IPC.
const KIND: ipc::Kind = ipc::Kind {
    noun: "System V segment",
    next_id: "/proc/sys/kernel/shm_next_id",
    exists: |id| sysv::segment(id).is_ok(),
    remove: sysv::remove_segment,
};
