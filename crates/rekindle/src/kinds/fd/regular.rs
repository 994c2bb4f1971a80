//! Regular files by path: offset, flags, append.
//!
//! A program that writes its own image has that file open. The image may have got another name since; where the old one
//! leads nowhere, the restored descriptor leads to /dev/null.

use super::restore::Opening;
use super::{
    Capturing, Checking, Claim, Description, FdKind, Opened, Survey, capture_file, check_type, open_at_offset,
};
use crate::error::Error;
use crate::kinds::mem::file::path_of;
use crate::view::FdView;
use rekindle_tracee::Batch;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// See the module's story.
pub(super) struct Regular;

/// Whether the path of a descriptor leads to the file it has open.
pub(super) fn is_at_its_path(fd: &FdView) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(&fd.link));
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (fd.dev, fd.ino))
}

/// The file systems whose files are not kept by anything: their contents are the kernel's view of something.
const PSEUDO: [&[u8]; 2] = [b"/proc/", b"/sys/"];

impl FdKind for Regular {
    fn name(&self) -> &'static str {
        "regular"
    }

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFREG || !fd.link.starts_with(b"/") || fd.link.starts_with(b"/memfd:") {
            return Claim::NotMine;
        }
        if PSEUDO.iter().any(|prefix| fd.link.starts_with(prefix)) {
            return Claim::Refused("pseudo-file", "files of the kernel's own cannot be captured yet", "");
        }
        if fd.nlink == 0 {
            return Claim::Refused("deleted-file", "deleted files cannot be captured yet", "");
        }
        if path_of(&fd.link, fd.dev, fd.ino).is_none() {
            if fd.link.ends_with(b" (deleted)") {
                return Claim::Refused(
                    "deleted-file",
                    "the name that it was opened by has been deleted, and its other names are nowhere near it",
                    "link it into the directory where it was",
                );
            }
            return Claim::Refused(
                "replaced-file",
                "its path leads to another file by now",
                "put the file back",
            );
        }
        Claim::Mine
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        capture_file(fd, cx, record)
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        check_type(record, cx, libc::S_IFREG)
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        Opened::Step(open_at_offset(record, cx.files, batch))
    }
}
