//! Timerfds (timerfd_create(2)): clock, setting, what is left, and the expirations that nobody has read yet.
//!
//! A relative timer goes on with the time that was left. One that was set to a moment of its clock is set to that moment
//! again: the program reads the same clock, and sees that it has gone on. Both are armed when all else is there.
//!
//! ```text
//! set ── runs ── expired, 1 tick ── read: more ticks, if periodic, and runs on
//!                  └ once        └ periodic: the kernel counts on only when somebody asks (fs/timerfd.c)
//! ```
//!
//! The last is why a periodic timer that has expired is asked for its time (timerfd_gettime(2)), as the program may do at
//! any time: the ticks and the phase are lost otherwise.

use super::fetch::fetch;
use super::restore::{Finishing, Opening};
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Survey, anonymous};
use crate::error::Error;
use crate::kinds::clocks::clock_ns;
use crate::view::{FdView, ProcessView};
use rekindle_procfs::fdinfo::{self, FdInfo};
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use rustix::fd::{AsFd, AsRawFd};
use rustix::time::timerfd_gettime;

/// See the module's story.
pub(super) struct Timerfd;

/// What is particular to a timerfd. Times in nanoseconds.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The clock (clock_gettime(2)).
    #[prost(int32, tag = "1")]
    pub clock: i32,
    /// The flags it was set with: `TFD_TIMER_ABSTIME`, `TFD_TIMER_CANCEL_ON_SET`.
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// When it expires next: from now, or, with `TFD_TIMER_ABSTIME`, the moment; 0 when it is not armed.
    #[prost(uint64, tag = "3")]
    pub next_ns: u64,
    /// The period; 0 for one that expires once.
    #[prost(uint64, tag = "4")]
    pub interval_ns: u64,
    /// Expirations that have not been read.
    #[prost(uint64, tag = "5")]
    pub ticks: u64,
}

const ABSTIME: u32 = 1;
const CANCEL_ON_SET: u32 = 2;
/// `CLOCK_REALTIME`, `_MONOTONIC`, `_BOOTTIME`, `_REALTIME_ALARM`, `_BOOTTIME_ALARM`
const CLOCKS: [i32; 5] = [0, 1, 7, 8, 9];
/// `TFD_IOC_SET_TICKS`, `_IOW('T', 0, __u64)`: fs/timerfd.c, with CONFIG_CHECKPOINT_RESTORE.
const SET_TICKS: u32 = 0x4008_5400;
const SECOND: u64 = 1_000_000_000;
/// The end of time, as the kernel counts it (`KTIME_MAX`).
const TIME_MAX: u64 = i64::MAX as u64;

impl FdKind for Timerfd {
    fn name(&self) -> &'static str {
        "timerfd"
    }

    fn claims(&self, fd: &FdView, _cx: &Survey<'_>) -> Claim {
        if !anonymous::is(fd, "timerfd") {
            return Claim::NotMine;
        }
        match Shown::of(&fd.info) {
            Some(shown) if shown.is_canceled() => Claim::Refused(
                "timerfd-canceled",
                "its clock was set, of which the program has not been told yet",
                "let the program read it",
            ),
            _ => Claim::Mine,
        }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        record.timerfd = Some(read(fd, cx.view)?);
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(timer) = record.timerfd else { return Err("it says nothing of the timer".into()) };
        let is_sane = CLOCKS.contains(&timer.clock)
            && timer.flags & !(ABSTIME | CANCEL_ON_SET) == 0
            && timer.next_ns.max(timer.interval_ns) <= TIME_MAX;
        if is_sane { Ok(()) } else { Err("its timer makes no sense".into()) }
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let clock = record.timerfd.unwrap_or_default().clock;
        let made = batch.step("timerfd_create", nr::TIMERFD_CREATE, [clock.into(), 0.into()]);
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }

    fn settle(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        let Some(timer) = record.timerfd else { return };
        let parts = [timer.interval_ns, timer.next_ns].map(|ns| [ns / SECOND, ns % SECOND]).concat();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        let setting = batch.data(&bytes);
        let args = [cx.number.into(), timer.flags.into(), setting.into(), 0.into()];
        batch.step("timerfd_settime", nr::TIMERFD_SETTIME, args);
        if timer.ticks != 0 {
            let ticks = batch.data(&timer.ticks.to_le_bytes());
            batch.step("TFD_IOC_SET_TICKS", nr::IOCTL, [cx.number.into(), SET_TICKS.into(), ticks.into()]);
        }
    }
}

/// What fdinfo tells of a timer.
struct Shown {
    clock: i32,
    ticks: u64,
    flags: u32,
    remaining_ns: u64,
    interval_ns: u64,
}

impl Shown {
    fn of(info: &FdInfo) -> Option<Self> {
        let number = |name: &[u8], radix| anonymous::parse(info.value(name)?, radix);
        Some(Self {
            clock: i32::try_from(number(b"clockid", 10)?).ok()?,
            ticks: number(b"ticks", 10)?,
            flags: u32::try_from(number(b"settime flags", 8)?).ok()?,
            remaining_ns: time(info.value(b"it_value")?)?,
            interval_ns: time(info.value(b"it_interval")?)?,
        })
    }

    /// Only a clock that was set makes a timer that expires once both readable and running.
    fn is_canceled(&self) -> bool {
        self.flags & CANCEL_ON_SET != 0 && self.ticks != 0 && self.interval_ns == 0 && self.remaining_ns != 0
    }
}

/// `(98, 999960859)`: seconds and nanoseconds.
fn time(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (seconds, nanoseconds) = text.split_once(", ")?;
    let (seconds, nanoseconds): (u64, u64) = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

fn read(fd: &FdView, view: &ProcessView) -> Result<Record, Error> {
    let failed = |errno| Error::call(format!("asking the timer at fd {} of {}", fd.fd, view.pid), errno);
    let unclear = || Error::proc(view.pid, format!("fdinfo/{}", fd.fd), "it does not tell of a timer");
    let timer = fetch(fd, view).map_err(failed)?;
    let own = || {
        let name = format!("fdinfo/{}", timer.as_raw_fd());
        let info = crate::view::parse(std::process::id() as i32, &name, fdinfo::parse)?;
        Shown::of(&info).ok_or_else(unclear)
    };
    let mut shown = own()?;
    let mut remaining_ns = shown.remaining_ns;
    if remaining_ns == 0 && shown.interval_ns != 0 {
        let left = timerfd_gettime(timer.as_fd()).map_err(failed)?.it_value;
        // Afterwards, for the ticks that were just counted.
        shown = own()?;
        // It may have expired again at once, but it is armed.
        remaining_ns = (left.tv_sec as u64 * SECOND + left.tv_nsec as u64).max(1);
    }
    let absolute = shown.flags & ABSTIME != 0 && remaining_ns != 0;
    // The clock is read last: late by the time in between, where it would be early the other way round.
    let now = if absolute { clock_ns(view.pid, shown.clock)? } else { 0 };
    Ok(Record {
        clock: shown.clock,
        flags: shown.flags,
        next_ns: remaining_ns.saturating_add(now).min(TIME_MAX),
        interval_ns: shown.interval_ns.min(TIME_MAX),
        ticks: shown.ticks,
    })
}
