//! Names of sockets: where in the file system a path leads to its socket, and how a socket gets one again.
//!
//! A socket keeps its path as the program gave it, wherever that leads by now. One that is found by its path must be
//! bound where it was; so must one whose file was renamed in its directory, or has links there (servers give a socket its
//! name in one step when it is ready): it is bound to its path, and its file gets its other names then. All others
//! (whose path was deleted or replaced, and those that were accepted and have the name of the listening socket) get their
//! name in a file system of their own, that nobody else sees and that goes with them: the root directory of the process is
//! changed to it, and back.

use super::record::{NAMES_MAX, Place, Record};
use crate::refusal::show;
use crate::view::{ProcessView, TreeView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch, Data, StepId};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const FSCONFIG_CMD_CREATE: i32 = 6;

/// Where a name leads to the socket with this file, as seen by a process of the tree. (The inode of the file is not used
/// again while the socket is bound to it.)
pub(super) fn find(
    name: &[u8],
    file: Option<(u32, u32)>,
    view: &ProcessView,
    tree: &TreeView,
) -> Option<Place> {
    let file = file?;
    let is_absolute = name.starts_with(b"/");
    std::iter::once(view).chain(&tree.processes).find_map(|view| {
        let base = view.link(if is_absolute { "root" } else { "cwd" }).ok()?;
        let place = Place {
            root: if is_absolute { base.clone() } else { Vec::new() },
            directory: if is_absolute { Vec::new() } else { base },
            ..Place::default()
        };
        let path = full_path(name, &place);
        let (names, found) = match socket_at(&path, file) {
            Some(found) if found.nlink() == 1 => (Vec::new(), found),
            _ => names_of(path.parent()?, file)?,
        };
        Some(Place { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777, names, ..place })
    })
}

/// What is at a path, if it is the file of the socket.
fn socket_at(path: &Path, file: (u32, u32)) -> Option<Metadata> {
    let found = path.symlink_metadata().ok()?;
    let is_it = found.mode() & libc::S_IFMT == libc::S_IFSOCK && is_file_of(path, &found, file);
    is_it.then_some(found)
}

/// By which names the file of a socket is found in a directory.
fn names_of(directory: &Path, file: (u32, u32)) -> Option<(Vec<Vec<u8>>, Metadata)> {
    let (mut names, mut found) = (Vec::new(), None);
    for entry in directory.read_dir().ok()?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            continue;
        }
        if let Some(metadata) = socket_at(&entry.path(), file).filter(|_| names.len() < NAMES_MAX) {
            names.push(entry.file_name().into_encoded_bytes());
            found = Some(metadata);
        }
    }
    names.sort_unstable();
    Some((names, found?))
}

/// Whether a file that was found is the one that the kernel says a socket is bound to: inode (its lower 32 bits) and
/// device.
pub(super) fn is_file_of(path: &Path, found: &Metadata, (inode, device): (u32, u32)) -> bool {
    // Layered file systems and those with volumes show other devices than they have.
    const SHOW_OTHERS: [i64; 2] = [0x794c_7630, 0x9123_683e]; // OVERLAYFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC
    let is_device = found.dev() == libc::makedev(device >> 20, device & 0xf_ffff);
    let shows_others = || {
        let directory = path.parent().unwrap_or(path);
        rustix::fs::statfs(directory).is_ok_and(|about| SHOW_OTHERS.contains(&about.f_type))
    };
    found.ino() as u32 == inode && (is_device || shows_others())
}

/// The path of a name as we see it.
pub(super) fn full_path(name: &[u8], place: &Place) -> PathBuf {
    let base = if place.directory.is_empty() { &place.root } else { &place.directory };
    let base = base.strip_suffix(b"/").unwrap_or(base);
    let slash: &[u8] = if name.starts_with(b"/") { b"" } else { b"/" };
    Path::new(OsStr::from_bytes(&[base, slash, name].concat())).to_owned()
}

/// All paths that lead to the file of a socket.
pub(super) fn full_paths(name: &[u8], place: &Place) -> Vec<PathBuf> {
    let path = full_path(name, place);
    if place.names.is_empty() {
        return vec![path];
    }
    place.names.iter().map(|name| path.with_file_name(OsStr::from_bytes(name))).collect()
}

/// `struct sockaddr_un`, and its length.
pub(super) fn address(name: &[u8], batch: &mut Batch) -> (Data, usize) {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    // A path of full length has no zero at its end.
    let end: &[u8] =
        if name.first().is_some_and(|first| *first != 0) && name.len() < 108 { &[0] } else { &[] };
    let bytes = [&family[..], name, end].concat();
    (batch.data(&bytes), bytes.len())
}

/// bind(2)
pub(super) fn bind(socket: Arg, name: &[u8], batch: &mut Batch) {
    let (address, len) = address(name, batch);
    batch.step(format!("binding a socket to {}", show(name)), nr::BIND, [socket, address.into(), len.into()]);
}

/// Binds a socket where its name leads to it. `with` adds steps that are to see the name there.
pub(super) fn bind_in_place(
    socket: Arg,
    record: &Record,
    place: &Place,
    batch: &mut Batch,
    with: impl FnOnce(&mut Batch),
) {
    let (_, last) = split(&record.name);
    let was_renamed = !place.names.is_empty() && !place.names.iter().any(|name| name == last);
    let way = Way::enter_place(place, batch);
    // What is left there is of the program as it was, or of nobody: this was looked at before.
    let is_left = full_path(&record.name, place).symlink_metadata().is_ok();
    let path = batch.c_string(&record.name);
    let aside = batch.c_string(&[&record.name, ".aside".as_bytes()].concat());
    let (here, uid, gid) = (Arg::from(libc::AT_FDCWD), place.uid.into(), place.gid.into());
    if was_renamed {
        // Its path leads to something else by now, or to nothing.
        batch.step_may_fail("renameat", nr::RENAMEAT, [here, path.into(), here, aside.into()]);
    } else if is_left {
        batch.step_may_fail("unlink", nr::UNLINKAT, [here, path.into(), 0.into()]);
    }
    bind(socket, &record.name, batch);
    batch.step(
        "chown of a socket",
        nr::FCHOWNAT,
        [here, path.into(), uid, gid, libc::AT_SYMLINK_NOFOLLOW.into()],
    );
    batch.step("chmod of a socket", nr::FCHMODAT, [here, path.into(), place.mode.into()]);
    with(batch);
    link(record, place, batch);
    if was_renamed {
        batch.step("unlink", nr::UNLINKAT, [here, path.into(), 0.into()]);
        batch.step_may_fail("renameat", nr::RENAMEAT, [here, aside.into(), here, path.into()]);
    }
    way.leave(batch);
}

/// Gives the file of a socket its other names.
fn link(record: &Record, place: &Place, batch: &mut Batch) {
    let (directory, last) = split(&record.name);
    let here = Arg::from(libc::AT_FDCWD);
    let path = batch.c_string(&record.name);
    for name in place.names.iter().filter(|name| *name != last) {
        let other = batch.c_string(&[directory, name].concat());
        batch.step_may_fail("unlink", nr::UNLINKAT, [here, other.into(), 0.into()]);
        batch.step("linking a socket's file", nr::LINKAT, [here, path.into(), here, other.into(), 0.into()]);
    }
}

/// The directory that a path names, up to its last slash, and the name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1))
}

/// A way to another root or working directory, and back.
pub(super) enum Way {
    /// Nothing had to be changed.
    Here,
    /// The working directory was: where from.
    Directory(StepId),
    /// The root was: where from, and the mount it was changed to, if that is ours.
    Root(StepId, Option<StepId>),
}

impl Way {
    /// Into a file system of its own, with the directories that these names need.
    pub(super) fn enter_private(names: &[&[u8]], batch: &mut Batch) -> Self {
        if !names.iter().any(|name| name.first().is_some_and(|first| *first != 0)) {
            return Self::Here;
        }
        let before = open_directory(b"/", batch);
        let kind = batch.c_string(b"tmpfs");
        let file_system = batch.step("fsopen", nr::FSOPEN, [kind.into(), 1.into()]);
        batch.step("fsconfig", nr::FSCONFIG, [file_system.into(), FSCONFIG_CMD_CREATE.into()]);
        let mount = batch.step("fsmount", nr::FSMOUNT, [file_system.into(), 1.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [file_system.into()]);
        batch.step("fchdir", nr::FCHDIR, [mount.into()]);
        let here = batch.c_string(b".");
        batch.step("chroot", nr::CHROOT, [here.into()]);
        for name in names.iter().filter(|name| name.first().is_some_and(|first| *first != 0)) {
            for (at, _) in name.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0) {
                let directory = batch.c_string(&name[..at]);
                let args = [libc::AT_FDCWD.into(), directory.into(), 0o777.into()];
                batch.step_may_fail("mkdir", nr::MKDIRAT, args);
            }
        }
        Self::Root(before, Some(mount))
    }

    fn enter_place(place: &Place, batch: &mut Batch) -> Self {
        if !place.directory.is_empty() {
            let before = open_directory(b".", batch);
            let directory = batch.c_string(&place.directory);
            batch.step("chdir", nr::CHDIR, [directory.into()]);
            Self::Directory(before)
        } else if place.root != b"/" {
            let before = open_directory(b"/", batch);
            let root = batch.c_string(&place.root);
            batch.step("chroot", nr::CHROOT, [root.into()]);
            Self::Root(before, None)
        } else {
            Self::Here
        }
    }

    /// Back.
    pub(super) fn leave(self, batch: &mut Batch) {
        let (Self::Directory(before) | Self::Root(before, _)) = self else { return };
        batch.step("fchdir", nr::FCHDIR, [before.into()]);
        if let Self::Root(_, mount) = self {
            let here = batch.c_string(b".");
            batch.step("chroot", nr::CHROOT, [here.into()]);
            if let Some(mount) = mount {
                batch.step("close", nr::CLOSE, [mount.into()]);
            }
        }
        batch.step("close", nr::CLOSE, [before.into()]);
    }
}

fn open_directory(path: &[u8], batch: &mut Batch) -> StepId {
    let path = batch.c_string(path);
    let flags = o::PATH | o::DIRECTORY | o::CLOEXEC;
    batch.step(
        "opening a directory",
        nr::OPENAT,
        [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()],
    )
}
