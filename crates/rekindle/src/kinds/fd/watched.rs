//! From the inode that fdinfo tells of something watched to a name that leads to it.

use super::anonymous;
use crate::view::{ProcessView, TreeView};
use rekindle_procfs::fdinfo::pairs;
use rekindle_procfs::mountinfo;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many names are looked at for files without a handle.
const NAMES_MAX: usize = 50_000;

/// Something watched.
pub(super) struct File {
    /// The number of the watch.
    pub(super) wd: i32,
    /// `IN_*`
    pub(super) mask: u32,
    ino: u64,
    /// The kernel's own form of a device number (include/linux/kdev_t.h).
    device: (u32, u32),
    handle_type: i32,
    handle: Vec<u8>,
}

impl File {
    /// `wd:1 ino:99200f sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:0f20...`
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let field = |name: &[u8]| pairs(line).find(|(found, _)| *found == name).map(|(_, value)| value);
        let number = |name: &[u8]| anonymous::parse(field(name)?, 16);
        let device = u32::try_from(number(b"sdev")?).ok()?;
        Some(Self {
            wd: i32::try_from(number(b"wd")?).ok()?,
            mask: u32::try_from(number(b"mask")?).ok()?,
            ino: number(b"ino")?,
            device: (device >> 20, device & 0xf_ffff),
            // Not all file systems have handles.
            handle_type: number(b"fhandle-type").and_then(|ty| i32::try_from(ty).ok()).unwrap_or_default(),
            handle: field(b"f_handle").and_then(bytes).unwrap_or_default(),
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.ino(), found.dev()) == (self.ino, libc::makedev(self.device.0, self.device.1))
    }
}

/// `0f2099`
fn bytes(hex: &[u8]) -> Option<Vec<u8>> {
    hex.chunks(2).map(|pair| anonymous::parse(pair, 16).map(|byte| byte as u8)).collect()
}

/// A search for names, for the watches of one descriptor.
pub(super) struct Search<'a> {
    view: &'a ProcessView,
    tree: &'a TreeView,
    /// A descriptor on each mount of the devices asked for.
    mounts: HashMap<(u32, u32), Vec<OwnedFd>>,
}

impl<'a> Search<'a> {
    /// One that has not begun.
    pub(super) fn of(view: &'a ProcessView, tree: &'a TreeView) -> Self {
        Self { view, tree, mounts: HashMap::new() }
    }

    /// A name that leads to the file now.
    pub(super) fn find(&mut self, file: &File) -> Option<Vec<u8>> {
        let view = self.view;
        let mounts = self.mounts.entry(file.device).or_insert_with(|| mounts_of(view, file.device));
        let by_handle = mounts.iter().find_map(|mount| {
            let found = rekindle_sys::fs::open_by_handle(mount, file.handle_type, &file.handle).ok()?;
            name_of(&found)
        });
        by_handle.or_else(|| self.by_walk(file))
    }

    /// Looks where the caller says, at what the program has open, and below.
    fn by_walk(&self, file: &File) -> Option<Vec<u8>> {
        let mut left = NAMES_MAX;
        let mut directories: VecDeque<PathBuf> = VecDeque::new();
        for name in &self.tree.wishes.search_below {
            if name.symlink_metadata().is_ok_and(|found| file.is(&found)) {
                return Some(name.as_os_str().as_bytes().to_vec());
            }
            directories.push_back(name.clone());
        }
        for view in &self.tree.processes {
            let links = ["cwd", "root", "exe"].into_iter().filter_map(|name| view.link(name).ok());
            for link in links.chain(view.fds.iter().map(|fd| fd.link.clone())) {
                let path = Path::new(OsStr::from_bytes(&link));
                for name in path.ancestors().filter(|name| name.is_absolute()) {
                    if name.symlink_metadata().is_ok_and(|found| file.is(&found)) {
                        return Some(name.as_os_str().as_bytes().to_vec());
                    }
                }
                directories.extend(path.is_dir().then(|| path.to_owned()));
            }
        }
        while let Some(directory) = directories.pop_front() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                left = left.checked_sub(1)?;
                let Ok(found) = entry.metadata() else { continue };
                if file.is(&found) {
                    return Some(entry.path().into_os_string().into_vec());
                }
                directories.extend(found.is_dir().then(|| entry.path()));
            }
        }
        None
    }
}

fn mounts_of(view: &ProcessView, device: (u32, u32)) -> Vec<OwnedFd> {
    let mounts =
        view.file("mountinfo").ok().and_then(|text| mountinfo::parse(&text).ok()).unwrap_or_default();
    let of_device = mounts.iter().filter(|mount| (mount.dev.major, mount.dev.minor) == device);
    // A mount point may be a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let open = |mount: &mountinfo::Mount| open(mount.mount_point.as_slice(), flags, Mode::empty()).ok();
    of_device.filter_map(open).collect()
}

/// The name that leads to an open file, if one does: it may have been deleted, or lie outside of the mount.
fn name_of(found: &OwnedFd) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let name = std::fs::read_link(&link).ok()?;
    let (by_name, by_descriptor) = (name.symlink_metadata().ok()?, rustix::fs::fstat(found).ok()?);
    let is_it = (by_name.dev(), by_name.ino()) == (by_descriptor.st_dev, by_descriptor.st_ino);
    is_it.then(|| name.into_os_string().into_vec())
}
