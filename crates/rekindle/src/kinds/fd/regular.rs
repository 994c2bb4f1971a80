//! Regular files by path: offset, flags, append.
//!
//! A program that writes its own image has that file open. The image may have got another name since; where the old one
//! leads nowhere, the restored descriptor leads to /dev/null.

use super::{Claim, Description, FdKind, Opened, Opening, open_file, reopen_flags};
use crate::error::Error;
use crate::kinds::mem::file::FileTable;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// See the module's story.
pub(super) struct Regular;

/// Whether the path of a descriptor leads to the file it has open.
pub(super) fn is_at_its_path(fd: &FdView) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(&fd.link));
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (fd.dev, fd.ino))
}

/// The link below /proc that leads to the very file.
pub(super) fn proc_link(fd: &FdView, view: &ProcessView) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", view.pid, fd.fd))
}

/// The file systems whose files are not kept by anything: their contents are the kernel's view of something.
const PSEUDO: [&[u8]; 3] = [b"/proc/", b"/sys/", b"/dev/mqueue/"];

impl FdKind for Regular {
    fn name(&self) -> &'static str {
        "regular"
    }

    fn claims(&self, fd: &FdView, _view: &ProcessView) -> Claim {
        if fd.file_type() != libc::S_IFREG || !fd.link.starts_with(b"/") || fd.link.starts_with(b"/memfd:") {
            return Claim::NotMine;
        }
        if PSEUDO.iter().any(|prefix| fd.link.starts_with(prefix)) {
            return Claim::Refused("pseudo-file", "files of the kernel's own cannot be captured yet", "");
        }
        if fd.nlink == 0 {
            return Claim::Refused("deleted-file", "deleted files cannot be captured yet", "");
        }
        if !is_at_its_path(fd) {
            return Claim::Refused(
                "replaced-file",
                "its path leads to another file by now",
                "put the file back",
            );
        }
        Claim::Mine
    }

    fn capture(
        &self,
        fd: &FdView,
        view: &ProcessView,
        files: &mut FileTable,
        record: &mut Description,
    ) -> Result<(), Error> {
        record.file = files.id(&fd.link, &proc_link(fd, view))?;
        Ok(())
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let fd = open_file(record, cx.files, reopen_flags(record.flags), batch);
        if record.flags & o::PATH == 0 {
            batch.step("lseek", nr::LSEEK, [fd.into(), record.pos.into(), libc::SEEK_SET.into()]);
        }
        Opened::Step(fd)
    }
}
