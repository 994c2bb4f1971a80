//! memfds (memfd_create(2)): files in memory with a name for readers, and seals.
//!
//! Seals come back when contents are in. Those against writing that is going on come before mappings are made, others after
//! them: a seal against writing is refused while somebody could write, and one against writing in future makes mappings
//! that could write impossible.

use crate::error::Error;
use rekindle_sys::Errno;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstatfs};
use std::ffi::CString;
use std::fs::File;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The name it was made with.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub name: Vec<u8>,
    /// `F_SEAL_*` (fcntl(2)).
    #[prost(uint32, tag = "2")]
    pub seals: u32,
}

/// What a link in /proc says before the name.
const PREFIX: &[u8] = b"/memfd:";
/// The longest name (memfd_create(2)).
const NAME_MAX: usize = 249;
/// Seals that this version knows (include/uapi/linux/fcntl.h): SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE, EXEC.
const KNOWN_SEALS: u32 = 0x3f;
/// include/uapi/linux/magic.h
const TMPFS_MAGIC: i64 = 0x0102_1994;
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// Whether a link in /proc looks like that of a memfd.
pub fn is_named_so(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

fn failed(errno: Errno) -> Error {
    Error::call("looking at a memfd", errno)
}

/// The size of a file's pages if they are huge; 0 if not.
pub(super) fn huge_page(file: &File) -> Result<u64, Error> {
    let system = fstatfs(file).map_err(failed)?;
    Ok(if system.f_type == HUGETLBFS_MAGIC { system.f_bsize as u64 } else { 0 })
}

impl Record {
    /// Looks at a file; `None` if it is no memfd. `name` is what a link in /proc says of it.
    pub(super) fn read(file: &File, name: &[u8]) -> Result<Option<Self>, Error> {
        let Some(name) = name.strip_prefix(PREFIX) else { return Ok(None) };
        let system = fstatfs(file).map_err(failed)?.f_type;
        if ![TMPFS_MAGIC, HUGETLBFS_MAGIC].contains(&system) {
            return Ok(None);
        }
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec();
        let seals = fcntl_get_seals(file).map_err(failed)?.bits();
        Ok(Some(Self { name, seals }))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let sane = self.name.len() <= NAME_MAX && !self.name.contains(&0) && self.seals & !KNOWN_SEALS == 0;
        if sane { Ok(()) } else { Err("it is a memfd that cannot be".into()) }
    }

    /// Makes it, empty.
    pub fn make(&self, huge_page: u64, mode: u32) -> Result<File, Error> {
        let name =
            CString::new(self.name.clone()).map_err(|_| Error::Nonsense("a name with a zero".into()))?;
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if huge_page != 0 {
            // MFD_HUGE_SHIFT is that of mmap(2)
            let size = MemfdFlags::from_bits_retain(huge_page.trailing_zeros() << 26);
            flags |= MemfdFlags::HUGETLB | size;
        }
        // Where vm.memfd_noexec forbids what can be executed, one that could not be is made all the same.
        let sealed = self.seals().contains(SealFlags::EXEC) && mode & 0o111 == 0;
        flags |= if sealed { MemfdFlags::NOEXEC_SEAL } else { MemfdFlags::EXEC };
        let label = || format!("making the memfd {}", crate::refusal::show(&self.name));
        let file = rustix::fs::memfd_create(name, flags).map_err(|errno| Error::call(label(), errno))?;
        Ok(File::from(file))
    }

    /// Its seals.
    pub fn seals(&self) -> SealFlags {
        SealFlags::from_bits_retain(self.seals)
    }

    /// Seals it; its contents are in.
    pub fn seal(&self, file: &File) -> Result<(), Error> {
        if self.seals().is_empty() {
            return Ok(());
        }
        fcntl_add_seals(file, self.seals()).map_err(|errno| {
            Error::call(format!("sealing the memfd {}", crate::refusal::show(&self.name)), errno)
        })
    }
}
