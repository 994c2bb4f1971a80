//! Who gets signals about a description (fcntl(2): `F_SETOWN_EX`, `F_SETSIG`), and whether any come (`O_ASYNC`).
//!
//! Every kind of file can have them. They come when all descriptions are complete, as what has been done to them until then
//! is nothing to tell the program of, and when all threads are there, one of which may be the owner. The process is what it
//! was by then: whom it may send signals to depends on whoever sets the owner.

use super::restore::Finishing;
use super::{Asking, Description, stream};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::fs::{self, open_flags as o};
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// Its form in the image.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `F_OWNER_TID`, `F_OWNER_PID` or `F_OWNER_PGRP`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The thread, process or process group; 0: nobody.
    #[prost(int32, tag = "2")]
    pub id: i32,
    /// The signal; 0: SIGIO.
    #[prost(int32, tag = "3")]
    pub signal: i32,
}

const F_SETFL: i32 = 4;
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
/// Flags that F_SETFL can set.
const SETTABLE: u32 = o::APPEND | o::NONBLOCK | o::DIRECT | o::ASYNC | o::NOATIME;

/// Whether a description can have an owner that comes back: standard streams become the restorer's.
pub(super) fn is_kept(record: &Description) -> bool {
    record.flags & o::PATH == 0 && record.kind != stream::NAME
}

/// The owner of a description; `None` if it has none, and no signal of its own.
pub(super) fn capture(fd: &FdView, cx: &Asking<'_>) -> Result<Option<Record>, Error> {
    let failed =
        |errno| Error::call(format!("asking for the owner of fd {} of {}", fd.fd, cx.view.pid), errno);
    let file = cx.fetch(fd).map_err(failed)?;
    let (kind, id) = fs::owner(file).map_err(failed)?;
    let signal = fs::owner_signal(file).map_err(failed)?;
    Ok((id != 0 || signal != 0).then_some(Record { kind, id, signal }))
}

impl Record {
    pub(super) fn check(&self) -> Result<(), String> {
        let sane = (0..=2).contains(&self.kind) && (0..=64).contains(&self.signal);
        if sane { Ok(()) } else { Err("its owner makes no sense".into()) }
    }
}

/// The steps, in the holder of a description.
pub(super) fn restore(record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
    let number = cx.number;
    if let Some(owner) = &record.owner {
        if owner.signal != 0 {
            batch.step("F_SETSIG", nr::FCNTL, [number.into(), F_SETSIG.into(), owner.signal.into()]);
        }
        let bytes = [owner.kind.to_le_bytes(), owner.id.to_le_bytes()].concat();
        let data = batch.data(&bytes);
        let args = [number.into(), F_SETOWN_EX.into(), data.into()];
        // One that is no more gets no signals, before and after.
        batch.step_may_fail("F_SETOWN_EX", nr::FCNTL, args);
    }
    if record.flags & o::ASYNC != 0 && is_kept(record) {
        let flags = record.flags & SETTABLE;
        batch.step("O_ASYNC", nr::FCNTL, [number.into(), F_SETFL.into(), flags.into()]);
    }
}
