//! Eventfds (eventfd(2)): the counter, and whether it is taken one by one.

use super::restore::Opening;
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Survey, anonymous};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// See the module's story.
pub(super) struct Eventfd;

/// What is particular to an eventfd.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The counter.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Whether a read takes 1, not all (`EFD_SEMAPHORE`).
    #[prost(bool, tag = "2")]
    pub semaphore: bool,
}

/// The most that a write can bring the counter to; the kernel's own signals can bring it one further (eventfd(2)).
const COUNT_MAX: u64 = u64::MAX - 1;
const EFD_SEMAPHORE: i32 = 1;

impl FdKind for Eventfd {
    fn name(&self) -> &'static str {
        "eventfd"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !anonymous::is(fd, "eventfd") {
            return Claim::NotMine;
        }
        match anonymous::number(fd, cx.view, COUNT, 16) {
            Ok(count) if count > COUNT_MAX => Claim::Refused(
                "eventfd-overflow",
                "its counter has overflown, which no write can bring about again",
                "let the program read it",
            ),
            _ => Claim::Mine,
        }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let count = anonymous::number(fd, cx.view, COUNT, 16)?;
        let semaphore = anonymous::number(fd, cx.view, "eventfd-semaphore", 10)? != 0;
        record.eventfd = Some(Record { count, semaphore });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        // A counter beyond it would be waited for until the end of time.
        let fits = record.eventfd.is_some_and(|eventfd| eventfd.count <= COUNT_MAX);
        if fits { Ok(()) } else { Err("its counter makes no sense".into()) }
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Record { count, semaphore } = record.eventfd.unwrap_or_default();
        let flags = if semaphore { EFD_SEMAPHORE } else { 0 };
        let made = batch.step("eventfd2", nr::EVENTFD2, [0.into(), flags.into()]);
        if count != 0 {
            let value = batch.data(&count.to_le_bytes());
            batch.step("setting the counter of an eventfd", nr::WRITE, [made.into(), value.into(), 8.into()]);
        }
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }
}

const COUNT: &str = "eventfd-count";
