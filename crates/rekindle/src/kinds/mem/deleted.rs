//! Files that have been deleted (link count 0) and live on as somebody has them open or mapped; also those that never had a
//! name (`O_TMPFILE`).
//!
//! Such a file comes back without a name in the directory it was in, or the nearest above it that is there, so that it is on
//! the same file system. Where the file system cannot make a file without a name, it is made with one that is taken away at
//! once; where nothing can be written, it becomes memory, and that is said.

use crate::error::Error;
use crate::refusal::show;
use rekindle_sys::Errno;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, statx};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The directory to make it in.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub directory: Vec<u8>,
    /// The path that it had.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::path")]
    pub path: Vec<u8>,
    /// It never had a name, and may yet get one (`linkat`, open(2) on `O_TMPFILE`).
    #[prost(bool, tag = "3")]
    pub nameless: bool,
}

const SUFFIX: &[u8] = b" (deleted)";

/// Whether a link in /proc looks like that of a deleted file.
pub fn is_named_so(name: &[u8]) -> bool {
    name.starts_with(b"/") && name.ends_with(SUFFIX) && !super::shared::is_anonymous(name)
}

/// The directory to make a deleted file in again: that of its path, or the nearest above which is there and on the same
/// mount. `None`: it is a file of the kernel's own, or nothing leads to its file system. `very_file` is a path that leads to
/// the very file, such as a link below /proc/PID.
pub fn directory_of(name: &[u8], very_file: &Path) -> Option<PathBuf> {
    let path = name.strip_suffix(SUFFIX)?;
    let mount = mount_of(very_file)?;
    let ancestors = Path::new(OsStr::from_bytes(path)).ancestors().skip(1);
    let found = ancestors.into_iter().find(|dir| dir.is_dir())?;
    (mount_of(found)? == mount).then(|| found.to_owned())
}

fn mount_of(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

impl Record {
    pub(super) fn read(file: &File, name: &[u8]) -> Result<Self, Error> {
        use std::os::fd::AsRawFd;
        let very_file = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let directory = directory_of(name, &very_file)
            .ok_or_else(|| Error::call(format!("finding a directory for {}", show(name)), Errno::NOENT))?;
        let path = name.strip_suffix(SUFFIX).unwrap_or(name);
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let nameless = base.strip_prefix(b"#").is_some_and(|number| number.iter().all(u8::is_ascii_digit));
        Ok(Self { directory: directory.as_os_str().as_bytes().to_vec(), path: path.to_vec(), nameless })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let is_path = |path: &[u8]| path.starts_with(b"/") && !path.contains(&0);
        let sane = is_path(&self.directory) && is_path(&self.path);
        if sane { Ok(()) } else { Err("it was deleted from nowhere".into()) }
    }

    /// Makes it, empty.
    pub fn make(&self) -> Result<File, Error> {
        let directory = Path::new(OsStr::from_bytes(&self.directory));
        let found = directory.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        let made = self.make_without_name(found).or_else(|_| make_with_passing_name(found));
        match made {
            Ok(file) => Ok(file),
            Err(errno) => self.make_in_memory(found, errno),
        }
    }

    fn make_without_name(&self, directory: &Path) -> Result<File, Errno> {
        let mut flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::LARGEFILE;
        if !self.nameless {
            flags |= OFlags::EXCL; // it cannot be given a name again
        }
        rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    fn make_in_memory(&self, directory: &Path, why: Errno) -> Result<File, Error> {
        tracing::warn!(
            "{}, which had been deleted, comes back as memory: {} cannot be written to ({})",
            show(&self.path),
            directory.display(),
            rekindle_sys::errno_text(why)
        );
        let name = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = name[..name.len().min(200)].to_vec();
        super::memfd::Record { name, seals: 0 }.make(0, 0o777)
    }
}

/// Makes a file under a name that nothing has, and takes the name away again.
fn make_with_passing_name(directory: &Path) -> Result<File, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for attempt in 0..64_u32 {
        let path = directory.join(format!(".rekindle-{}-{attempt}", std::process::id()));
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                rustix::fs::unlink(&path)?;
                return Ok(File::from(file));
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}
