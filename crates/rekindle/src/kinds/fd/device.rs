//! Character devices without state of their own: null, zero, full, random, urandom; and block devices.

use super::restore::Opening;
use super::{
    Capturing, Checking, Claim, Description, FdKind, Opened, Survey, capture_file, check_type, open_file,
    reopen_flags,
};
use crate::error::Error;
use crate::kinds::mem::file::path_of;
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
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

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        let is_it = fd.file_type() == libc::S_IFCHR && is_stateless(fd.rdev) && fd.link.starts_with(b"/");
        if is_it && path_of(&fd.link, fd.dev, fd.ino).is_none() {
            return Claim::Refused("deleted-device", "its device file has been deleted", "make it again");
        }
        if is_it || is_block_device(fd) { Claim::Mine } else { Claim::NotMine }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        capture_file(fd, cx, record)
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        if check_type(record, cx, libc::S_IFBLK).is_ok() {
            return Ok(());
        }
        check_type(record, cx, libc::S_IFCHR)?;
        let is_it = cx.files.get(record.file).is_some_and(|file| is_stateless(file.rdev));
        if is_it { Ok(()) } else { Err("it is a device with a state of its own".into()) }
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let fd = open_file(record, cx.files, reopen_flags(record.flags), batch);
        if record.pos != 0 && record.flags & o::PATH == 0 {
            batch.step_may_fail("lseek", nr::LSEEK, [fd.into(), record.pos.into(), libc::SEEK_SET.into()]);
        }
        Opened::Step(fd)
    }
}

fn is_block_device(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFBLK && path_of(&fd.link, fd.dev, fd.ino).is_some()
}
