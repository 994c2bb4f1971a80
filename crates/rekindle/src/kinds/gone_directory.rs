//! Directories that have been deleted while somebody is in them, or has them open: nothing is in them, and nothing can be made
//! in them.
//!
//! Such a directory is made again under a name that nothing has, where the old one was or in the nearest directory above that
//! is there, and is deleted again when it is entered or opened. Each use of one makes its own.

use crate::kinds::mem::deleted::directory_of;
use crate::refusal::show;
use rekindle_sys::nr;
use rekindle_tracee::{Batch, Data};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The directory to make it in.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub directory: Vec<u8>,
    /// Permissions.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "4")]
    pub gid: u32,
}

/// Numbers of names that this process has made.
static NEXT: AtomicU32 = AtomicU32::new(0);
const AT_REMOVEDIR: i32 = 0x200;

impl Record {
    /// Looks at the directory that a link below /proc leads to, which says `name`. `None`: it has not been deleted, or nothing
    /// leads to its file system.
    pub fn read(name: &[u8], link: &Path) -> Option<Self> {
        let meta = std::fs::metadata(link).ok().filter(|meta| meta.is_dir() && meta.nlink() == 0)?;
        let directory = directory_of(name, link)?.as_os_str().as_bytes().to_vec();
        Some(Self { directory, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid() })
    }

    /// Refuses what no checkpoint writes.
    pub fn check(&self) -> Result<(), String> {
        let sane = self.directory.starts_with(b"/") && !self.directory.contains(&0) && self.mode <= 0o7777;
        if sane { Ok(()) } else { Err("it is a directory that was deleted from nowhere".into()) }
    }

    /// The steps that make it; tells its path.
    pub fn make(&self, batch: &mut Batch) -> Data {
        let wanted = Path::new(OsStr::from_bytes(&self.directory));
        let found = wanted.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = found.join(format!(".rekindle-{}-{number}", std::process::id()));
        let name = batch.c_string(path.as_os_str().as_bytes());
        let cwd = libc::AT_FDCWD;
        let label = format!("making a directory in {}", show(found.as_os_str().as_bytes()));
        batch.step(label, nr::MKDIRAT, [cwd.into(), name.into(), 0o700.into()]);
        let args = [cwd.into(), name.into(), self.uid.into(), self.gid.into(), 0.into()];
        batch.step("owner of a directory", nr::FCHOWNAT, args);
        batch.step("mode of a directory", nr::FCHMODAT, [cwd.into(), name.into(), self.mode.into()]);
        name
    }

    /// The step that deletes it again.
    pub fn delete(path: Data, batch: &mut Batch) {
        let args = [libc::AT_FDCWD.into(), path.into(), AT_REMOVEDIR.into()];
        batch.step("deleting a directory again", nr::UNLINKAT, args);
    }
}
