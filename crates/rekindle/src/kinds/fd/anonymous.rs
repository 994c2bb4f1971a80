//! What descriptors with nothing but the kernel behind them have in common (`anon_inode:` in their links): they tell their
//! state in fdinfo (proc_pid_fdinfo(5)), and are made anew by a call of their own.

use super::Description;
use crate::error::Error;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::{Batch, StepId};

/// The status flags that calls like eventfd(2) do not all take, but F_SETFL does (fcntl(2)).
const SETTABLE: u32 = o::APPEND | o::NONBLOCK | o::NOATIME;
const F_SETFL: i32 = 4;

/// Whether a descriptor is of a kind: `anon_inode:[eventfd]`, or, for the oldest, `anon_inode:inotify`.
pub(super) fn is(fd: &FdView, name: &str) -> bool {
    let Some(found) = fd.link.strip_prefix(b"anon_inode:") else { return false };
    let bare = found.strip_prefix(b"[").and_then(|found| found.strip_suffix(b"]")).unwrap_or(found);
    bare == name.as_bytes()
}

/// A line of fdinfo that holds one number.
pub(super) fn number(fd: &FdView, view: &ProcessView, name: &str, radix: u32) -> Result<u64, Error> {
    let value = fd.info.value(name.as_bytes()).and_then(|value| parse(value, radix));
    value.ok_or_else(|| {
        Error::proc(view.pid, format!("fdinfo/{}", fd.fd), format!("no number in line {name}"))
    })
}

/// A number as fdinfo writes it.
pub(super) fn parse(text: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?.trim(), radix).ok()
}

/// Gives a new description the status flags it had.
pub(super) fn set_flags(made: StepId, record: &Description, batch: &mut Batch) {
    if record.flags & SETTABLE != 0 {
        let flags = record.flags & SETTABLE;
        batch.step("F_SETFL", nr::FCNTL, [made.into(), F_SETFL.into(), flags.into()]);
    }
}
