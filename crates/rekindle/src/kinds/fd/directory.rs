//! Directories by path, with the place in them that getdents(2) has reached; and deleted ones.

use super::fetch::fetch;
use super::regular::is_at_its_path;
use super::restore::Opening;
use super::{
    Capturing, Checking, Claim, Description, FdKind, Opened, Survey, capture_file, check_type,
    open_at_offset, reopen_flags,
};
use crate::error::Error;
use crate::kinds::gone_directory;
use crate::view::{FdView, ProcessView};
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use std::path::Path;

/// See the module's story.
pub(super) struct Directory;

impl FdKind for Directory {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFDIR {
            return Claim::NotMine;
        }
        if fd.link.starts_with(b"/proc/") {
            return Claim::Refused("pseudo-file", "directories of /proc cannot be captured yet", "");
        }
        if !is_at_its_path(fd) && gone(fd, cx.view).is_none() {
            return Claim::Refused("deleted-directory", "it has been deleted or moved", "put it back");
        }
        if is_watched(fd, cx.view) {
            return Claim::Refused(
                "dnotify",
                "signals may tell of changes in it (fcntl F_NOTIFY), and nothing tells which",
                "let the program close it, or use inotify",
            );
        }
        Claim::Mine
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        record.gone = gone(fd, cx.view);
        if record.gone.is_some() { Ok(()) } else { capture_file(fd, cx, record) }
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        record
            .gone
            .as_ref()
            .map_or_else(|| check_type(record, cx, libc::S_IFDIR), gone_directory::Record::check)
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(gone) = &record.gone else { return Opened::Step(open_at_offset(record, cx.files, batch)) };
        let path = gone.make(batch);
        let args = [libc::AT_FDCWD.into(), path.into(), reopen_flags(record.flags).into(), 0.into()];
        let fd = batch.step("opening a directory that had been deleted", nr::OPENAT, args);
        gone_directory::Record::delete(path, batch);
        Opened::Step(fd)
    }
}

/// Whether a directory has somebody who gets signals about it: F_NOTIFY leaves that behind, and nothing else that can be seen.
/// Directories have no other use for it.
fn is_watched(fd: &FdView, view: &ProcessView) -> bool {
    let owner = fetch(fd, view).and_then(rekindle_sys::fs::owner);
    owner.is_ok_and(|(_, id)| id != 0)
}

/// The directory, if it has been deleted.
fn gone(fd: &FdView, view: &ProcessView) -> Option<gone_directory::Record> {
    gone_directory::Record::read(&fd.link, Path::new(&format!("/proc/{}/fd/{}", view.pid, fd.fd)))
}
