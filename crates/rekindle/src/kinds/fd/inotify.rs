//! Inotify instances (inotify(7)): what they watch, under the numbers that the program knows.
//!
//! The kernel knows what is watched by its inode; the name is found again by the file handle that fdinfo shows
//! (open_by_handle_at(2)), or, on file systems without, below the directories that the program has open. The numbers are
//! given in order, and the next one can be chosen (`INOTIFY_IOC_SETNEXTWD`).
//!
//! Events that the program has not read cannot be looked at without taking them. The restored program is told instead that
//! some were lost (`IN_Q_OVERFLOW`), after which it has to look for itself. The kernel says so when its queue is full, thus
//! the queue is filled, and emptied but for that:
//!
//! ```text
//! watch /dev/null ── open, close, open, close... ── watch no more ── read all but the last
//! ```
//!
//! Watches are set last, so that nothing that a restore does is told.

use super::restore::{Finishing, Opening};
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Survey, anonymous, watched};
use crate::error::Error;
use crate::refusal::{Refusal, show};
use crate::view::FdView;
use rekindle_sys::nr;
use rekindle_tracee::{Batch, StepId};
use rustix::io::ioctl_fionread;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// See the module's story.
pub(super) struct Inotify;

/// What is particular to an inotify instance.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// What it watches.
    #[prost(message, repeated, tag = "1")]
    pub watches: Vec<Watch>,
    /// It holds events that have not been read.
    #[prost(bool, tag = "2")]
    pub unread: bool,
}

/// One watch.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Watch {
    /// Its number ("watch descriptor").
    #[prost(int32, tag = "1")]
    pub wd: i32,
    /// `IN_*`
    #[prost(uint32, tag = "2")]
    pub mask: u32,
    /// The file or directory.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(serialize_with = "crate::json::path")]
    pub path: Vec<u8>,
}

/// Up to how many watches are all looked for before the freeze.
const FEW: usize = 1000;
const CODE: &str = "inotify-watch";
const WHY: &str = "it watches a file or directory that was deleted, or that cannot be found by name again";
const REMEDY: &str = "let the program watch it no more";

/// `INOTIFY_IOC_SETNEXTWD`, `_IOW('I', 0, __s32)`: include/uapi/linux/inotify.h, Linux 4.18, with CONFIG_CHECKPOINT_RESTORE.
const SET_NEXT_WD: u32 = 0x4004_4900;
const IN_CLOSE_NOWRITE: u32 = 0x10;
const IN_OPEN: u32 = 0x20;
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
/// Fails if it is watched already, instead of giving the number that it has (Linux 4.19).
const IN_MASK_CREATE: u32 = 0x1000_0000;
/// What a watch can have: events, `IN_EXCL_UNLINK`, `IN_ONESHOT`.
const MASK: u32 = 0x8400_0fff;
/// Length of `struct inotify_event` without a name.
const EVENT_LEN: usize = 16;
/// A queue longer than this is not filled.
const QUEUE_MAX: usize = 1 << 18;

impl FdKind for Inotify {
    fn name(&self) -> &'static str {
        "inotify"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !anonymous::is(fd, "inotify") {
            return Claim::NotMine;
        }
        let mut search = watched::Search::of(cx.view, cx.tree);
        let lines: Vec<&[u8]> = fd.info.values(b"inotify").collect();
        let mut files = lines.into_iter().take(FEW).filter_map(watched::File::of);
        match files.all(|file| search.find(&file).is_some()) {
            true => Claim::Mine,
            false => Claim::Refused(CODE, WHY, REMEDY),
        }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let (pid, number) = (cx.view.pid, fd.fd);
        let failed =
            |errno| Error::call(format!("asking the inotify instance at fd {number} of {pid}"), errno);
        let unread = ioctl_fionread(cx.fetch(fd).map_err(failed)?).map_err(failed)? != 0;
        let mut search = watched::Search::of(cx.view, cx.tree);
        let mut watches = Vec::new();
        for line in fd.info.values(b"inotify") {
            let unclear = || Error::proc(pid, format!("fdinfo/{number}"), format!("`{}`", show(line)));
            let file = watched::File::of(line).ok_or_else(unclear)?;
            let path = search.find(&file).ok_or_else(|| {
                let subject = format!("fd {number} ({}), watch {}", show(&fd.link), file.wd);
                let (why, remedy) = (WHY.to_owned(), REMEDY.to_owned());
                Error::Refused(vec![Refusal { code: CODE, pid, subject, why, remedy }])
            })?;
            watches.push(Watch { wd: file.wd, mask: file.mask, path });
        }
        watches.sort_by_key(|watch| watch.wd);
        record.inotify = Some(Record { watches, unread });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(inotify) = &record.inotify else { return Err("it does not say what it watches".into()) };
        let mut numbers = BTreeSet::new();
        for watch in &inotify.watches {
            let is_path = watch.path.starts_with(b"/") && !watch.path.contains(&0);
            if watch.wd < 1 || !numbers.insert(watch.wd) || !is_path || watch.mask & !MASK != 0 {
                return Err(format!("its watch {} makes no sense", watch.wd));
            }
        }
        Ok(())
    }

    fn fits(&self, record: &Description) -> Result<(), String> {
        let Some(inotify) = &record.inotify else { return Ok(()) };
        let gone = |watch: &&Watch| Path::new(OsStr::from_bytes(&watch.path)).symlink_metadata().is_err();
        if let Some(watch) = inotify.watches.iter().find(gone) {
            let path = show(&watch.path);
            return Err(format!(
                "{path}, which the program watches, does not exist; put it back where it was"
            ));
        }
        if inotify.unread && queue_len() > QUEUE_MAX {
            let most = format!("more than {QUEUE_MAX}");
            return Err(format!("fs.inotify.max_queued_events is {most}: set it lower for the restore"));
        }
        Ok(())
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let made = batch.step("inotify_init1", nr::INOTIFY_INIT1, [0.into()]);
        if record.inotify.as_ref().is_some_and(|inotify| inotify.unread) {
            overflow(made, queue_len().min(QUEUE_MAX), batch);
        }
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }

    fn settle(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        for watch in record.inotify.iter().flat_map(|inotify| &inotify.watches) {
            let next = [cx.number.into(), SET_NEXT_WD.into(), watch.wd.into()];
            batch.step("INOTIFY_IOC_SETNEXTWD", nr::IOCTL, next);
            let path = batch.c_string(&watch.path);
            let mask = watch.mask | IN_DONT_FOLLOW | IN_MASK_CREATE;
            let label = format!("watching {}", show(&watch.path));
            batch.step(label, nr::INOTIFY_ADD_WATCH, [cx.number.into(), path.into(), mask.into()]);
        }
    }
}

/// How many events an instance holds before it says that some were lost.
fn queue_len() -> usize {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    text.trim().parse().unwrap_or(16384)
}

/// Makes an instance say that events were lost. What others do to /dev/null meanwhile is lost too, and does no harm: of
/// events that follow each other, the kernel joins none of ours, which alternate.
fn overflow(made: StepId, queue_len: usize, batch: &mut Batch) {
    let path = batch.c_string(b"/dev/null");
    let mask = IN_OPEN | IN_CLOSE_NOWRITE;
    let watch =
        batch.step("watching /dev/null", nr::INOTIFY_ADD_WATCH, [made.into(), path.into(), mask.into()]);
    for _ in 0..=queue_len.div_ceil(2) {
        let args = [libc::AT_FDCWD.into(), path.into(), 0.into(), 0.into()];
        let opened = batch.step("opening /dev/null", nr::OPENAT, args);
        batch.step("close", nr::CLOSE, [opened.into()]);
    }
    batch.step("inotify_rm_watch", nr::INOTIFY_RM_WATCH, [made.into(), watch.into()]);
    let at_a_time = 1024;
    let events = batch.room(at_a_time * EVENT_LEN);
    let mut left = queue_len;
    while left > 0 {
        let now = left.min(at_a_time);
        batch.step("reading events", nr::READ, [made.into(), events.into(), (now * EVENT_LEN).into()]);
        left -= now;
    }
}
