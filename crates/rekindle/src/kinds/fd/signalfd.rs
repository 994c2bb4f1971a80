//! Signalfds (signalfd(2)): which signals they take. The signals themselves are pending in processes and threads.

use super::restore::Opening;
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Survey, anonymous};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Signalfd;

/// What is particular to a signalfd.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The signals: bit 0 is signal 1.
    #[prost(uint64, tag = "1")]
    pub mask: u64,
}

impl FdKind for Signalfd {
    fn name(&self) -> &'static str {
        "signalfd"
    }

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        if anonymous::is(fd, "signalfd") { Claim::Mine } else { Claim::NotMine }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        record.signalfd = Some(Record { mask: anonymous::number(fd, cx.view, "sigmask", 16)? });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        if record.signalfd.is_some() { Ok(()) } else { Err("it does not say which signals it takes".into()) }
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let mask = batch.data(&record.signalfd.unwrap_or_default().mask.to_le_bytes());
        let made = batch.step("signalfd4", nr::SIGNALFD4, [(-1).into(), mask.into(), 8.into(), 0.into()]);
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }
}
