//! Directories by path, with the place in them that getdents(2) has reached.

use super::regular::is_at_its_path;
use super::restore::Opening;
use super::{
    Capturing, Checking, Claim, Description, FdKind, Opened, Survey, capture_file, check_type, open_at_offset,
};
use crate::error::Error;
use crate::view::FdView;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Directory;

impl FdKind for Directory {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFDIR {
            return Claim::NotMine;
        }
        if fd.link.starts_with(b"/proc/") {
            return Claim::Refused("pseudo-file", "directories of /proc cannot be captured yet", "");
        }
        if !is_at_its_path(fd) {
            return Claim::Refused("deleted-directory", "it has been deleted or moved", "put it back");
        }
        Claim::Mine
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        capture_file(fd, cx, record)
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        check_type(record, cx, libc::S_IFDIR)
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        Opened::Step(open_at_offset(record, cx.files, batch))
    }
}
