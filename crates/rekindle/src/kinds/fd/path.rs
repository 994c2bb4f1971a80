//! Descriptors of a place in the file system alone (`O_PATH`, open(2)): of a file of any type, also of a symbolic link.

use super::restore::Opening;
use super::{
    Capturing, Checking, Claim, Description, FdKind, Opened, Survey, capture_file, open_file, reopen_flags,
};
use crate::error::Error;
use crate::kinds::mem::file::path_of;
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Place;

impl FdKind for Place {
    fn name(&self) -> &'static str {
        "path"
    }

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        let is_file = fd.file_type() != libc::S_IFDIR && fd.nlink != 0 && fd.link.starts_with(b"/");
        if fd.info.flags & o::PATH == 0 || !is_file || fd.link.starts_with(b"/proc/") {
            return Claim::NotMine;
        }
        match path_of(&fd.link, fd.dev, fd.ino) {
            Some(_) => Claim::Mine,
            None => {
                Claim::Refused("replaced-file", "its path leads to another file by now", "put the file back")
            }
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        capture_file(fd, cx, record)
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        let is_sane = record.flags & o::PATH != 0 && cx.files.has(record.file);
        if is_sane { Ok(()) } else { Err("it leads nowhere".into()) }
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        Opened::Step(open_file(record, cx.files, reopen_flags(record.flags), batch))
    }
}
