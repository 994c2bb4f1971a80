//! Directories by path, with the place in them that getdents(2) has reached.

use super::regular::{is_at_its_path, proc_link};
use super::{Claim, Description, FdKind, Opened, Opening, open_file, reopen_flags};
use crate::error::Error;
use crate::kinds::mem::file::FileTable;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Directory;

impl FdKind for Directory {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn claims(&self, fd: &FdView, _view: &ProcessView) -> Claim {
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
