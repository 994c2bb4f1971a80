//! Character devices without state of their own: null, zero, full, random, urandom.

use super::regular::proc_link;
use super::{Claim, Description, FdKind, Opened, Opening, open_file, reopen_flags};
use crate::error::Error;
use crate::kinds::mem::file::FileTable;
use crate::view::{FdView, ProcessView};
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Device;

/// The `mem` devices (Documentation/admin-guide/devices.txt), major 1.
const STATELESS: [u32; 5] = [3, 5, 7, 8, 9];

/// Whether a device has no state of its own, so that opening it again is all there is to do.
pub(super) fn is_stateless(rdev: u64) -> bool {
    libc::major(rdev) == 1 && STATELESS.contains(&libc::minor(rdev))
}

impl FdKind for Device {
    fn name(&self) -> &'static str {
        "device"
    }

    fn claims(&self, fd: &FdView, _view: &ProcessView) -> Claim {
        let is_it = fd.file_type() == libc::S_IFCHR && is_stateless(fd.rdev) && fd.link.starts_with(b"/");
        if is_it { Claim::Mine } else { Claim::NotMine }
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
        Opened::Step(open_file(record, cx.files, reopen_flags(record.flags), batch))
    }
}
