//! The controlling terminal (credentials(7)), and which process group is in its foreground.
//!
//! A process has it from its parent, which has it from the leader of the session. So the leader takes it as soon as it has
//! made the session, before it has children (`restore/nest`), and the foreground is set when there are groups. One that
//! the program had from outside is the restorer's now.

use super::super::{Phase, ProcessKind};
use crate::error::Error;
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_sys::tty::request::{TIOCNOTTY, TIOCSCTTY, TIOCSPGRP};
use rekindle_tracee::{Answers, Batch, StoppedTask};

/// See the module's story.
pub(super) struct ControllingTerminal;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The device; 0 for none. Absent in images from before it was captured.
    #[prost(uint64, optional, tag = "1")]
    pub device: Option<u64>,
    /// The process group in the foreground.
    #[prost(int32, optional, tag = "2")]
    pub foreground: Option<i32>,
}

impl ProcessKind for ControllingTerminal {
    type Record = Record;
    type Question = ();

    fn outside(view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        let device = device(view);
        let foreground = device.and(Some(view.stat.tpgid)).filter(|group| *group > 0);
        Ok(Record { device: Some(device.unwrap_or(0)), foreground })
    }

    fn ask(_record: &Record, _batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(_record: &Record, _phase: Phase, _batch: &mut Batch) {}
}

/// The device as stat(2) has it, of one that there is: /proc/PID/stat has it in the same form (proc_pid_stat(5)).
pub fn device(view: &ProcessView) -> Option<u64> {
    let device = u64::from(view.stat.tty_nr.cast_unsigned());
    (device != 0).then_some(device)
}

/// The step by which the leader of a session takes the terminal that a descriptor leads to.
pub fn take(fd: i32, batch: &mut Batch) {
    batch.step("taking a controlling terminal", nr::IOCTL, [fd.into(), TIOCSCTTY.into(), 0.into()]);
}

/// The step by which it puts a group in the foreground.
pub fn set_foreground(fd: i32, group: i32, batch: &mut Batch) {
    let group_at = batch.data(&group.to_le_bytes());
    let label = format!("putting process group {group} in the foreground");
    batch.step(label, nr::IOCTL, [fd.into(), TIOCSPGRP.into(), group_at.into()]);
}

/// The steps by which a process gives up the one that it was born with, if it was.
pub fn give_up(batch: &mut Batch) {
    let path = batch.c_string(b"/dev/tty");
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
    let terminal = batch.step_may_fail("opening /dev/tty", nr::OPENAT, args);
    batch.step_may_fail("TIOCNOTTY", nr::IOCTL, [terminal.into(), TIOCNOTTY.into()]);
    batch.step_may_fail("close", nr::CLOSE, [terminal.into()]);
}
