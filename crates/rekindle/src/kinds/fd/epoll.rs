//! Epolls (epoll(7)): what they watch, for what, and what they say then.
//!
//! The kernel keeps an entry for the pair of a description and the number it had when it was added; the number may be closed
//! by now, or lead elsewhere. So an entry is added again under that very number: what leads there is put aside for the
//! moment. The description behind an entry is found by kcmp(2) (`KCMP_EPOLL_TFD`), or, for a socket, by its inode, which
//! no other description has.
//!
//! Entries are added when all descriptions are open, and are looked at by the kernel then: what is ready is told, also if
//! an edge of it has been told before. An entry disarmed by `EPOLLONESHOT` is made by letting it tell something:
//!
//! ```text
//! ADD for input and output ── wait, 0 ms ──┬─ told: the kernel has disarmed it; the op below is none, and fails
//!                                          └─ not: MOD to nothing, which leaves errors and hang-ups armed
//! ```
//!
//! (A pipe with nothing in it is lent a byte for that.) An entry that leads to a standard stream is left out when the restorer's own stream cannot be watched.

use super::fetch::with_pidfd;
use super::restore::{Finishing, Opening};
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Relating, Survey, anonymous, pipe};
use crate::error::Error;
use crate::refusal::{Refusal, show};
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_procfs::fdinfo::{self, FdInfo, pairs};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::task::{Kcmp, kcmp, kcmp_epoll};
use rekindle_sys::{Errno, epoll as sys, nr};
use rekindle_tracee::{Arg, Batch, StepId};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// See the module's story.
pub(super) struct Epoll;

/// What is particular to an epoll.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// What it watches.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// `struct epoll_params`, where busy polling is set (Linux 6.9).
    #[prost(fixed64, tag = "2")]
    pub busy_poll: u64,
}

/// One entry.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Entry {
    /// The number it was added under.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// `EPOLL*`
    #[prost(fixed32, tag = "2")]
    pub events: u32,
    /// What it says when it tells.
    #[prost(fixed64, tag = "3")]
    pub data: u64,
    /// The description it watches.
    #[prost(uint32, tag = "4")]
    pub description: u32,
}

const CTL_ADD: i32 = 1;
const CTL_MOD: i32 = 3;
const ONESHOT: u32 = 1 << 30;
/// What stays of the events of an entry that `EPOLLONESHOT` has disarmed: `EPOLLEXCLUSIVE`, `_WAKEUP`, `_ONESHOT`, `_ET`.
const LASTING: u32 = 0xf << 28;
/// `EPOLLIN`, `EPOLLOUT`, `EPOLLRDHUP`: no sum of these, nor with errors and hang-ups, is `EPOLL_CTL_DEL` or `_MOD`.
const LIKELY: u32 = 0x2005;
/// `EPIOCSPARAMS`, `_IOW(0x8A, 0x01, struct epoll_params)` (include/uapi/linux/eventpoll.h)
const SET_PARAMS: u32 = 0x4008_8a01;

impl Entry {
    fn is_disarmed(&self) -> bool {
        self.events & ONESHOT != 0 && self.events & !LASTING == 0
    }
}

impl FdKind for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !anonymous::is(fd, "eventpoll") {
            return Claim::NotMine;
        }
        if has_lost_target(fd, cx) { Claim::Refused(CODE, WHY, REMEDY) } else { Claim::Mine }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let failed =
            |errno| Error::call(format!("asking the epoll at fd {} of {}", fd.fd, cx.view.pid), errno);
        let epoll = cx.fetch(fd).map_err(failed)?;
        let busy_poll = match sys::params(epoll) {
            Err(Errno::NOTTY | Errno::INVAL) => 0, // before Linux 6.9, or without a network
            params => params.map_err(failed)?,
        };
        record.epoll = Some(Record { entries: Vec::new(), busy_poll });
        Ok(())
    }

    fn relate(&self, fd: &FdView, cx: &Relating<'_>, record: &mut Description) -> Result<(), Error> {
        let mut search = Search { pid: cx.view.pid, epoll: fd.fd, tree: cx.tree, sorted: None };
        let mut entries = Vec::new();
        let targets = targets(&fd.info, cx.view, fd.fd)?;
        let watched = still_watched(&targets, cx.view, fd.fd);
        for target in targets {
            let lost = || refused(fd, cx.view, target.fd);
            let (pid, number) = match watched.contains(&target.fd) {
                true => (cx.view.pid, target.fd),
                false => search.find(&target, cx.view)?.ok_or_else(lost)?,
            };
            let description = *cx.ids.get(&(pid, number)).ok_or_else(lost)?;
            entries.push(Entry { fd: target.fd, events: target.events, data: target.data, description });
        }
        if let Some(epoll) = &mut record.epoll {
            epoll.entries = entries;
        }
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        let Some(epoll) = &record.epoll else { return Err("it does not say what it watches".into()) };
        let is_sane = |entry: &Entry| entry.fd >= 0 && cx.descriptions.contains_key(&entry.description);
        match epoll.entries.iter().find(|entry| !is_sane(entry)) {
            Some(entry) => Err(format!("it watches fd {}, which makes no sense", entry.fd)),
            None => Ok(()),
        }
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let made = batch.step("epoll_create1", nr::EPOLL_CREATE1, [0.into()]);
        let busy_poll = record.epoll.as_ref().map_or(0, |epoll| epoll.busy_poll);
        if busy_poll != 0 {
            let params = batch.data(&busy_poll.to_le_bytes());
            batch.step("EPIOCSPARAMS", nr::IOCTL, [made.into(), SET_PARAMS.into(), params.into()]);
        }
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }

    fn finish(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        let Some(epoll) = &record.epoll else { return };
        let streams: HashSet<u32> =
            cx.descriptions.iter().filter(|other| other.kind == "stream").map(|stream| stream.id).collect();
        // The disarmed ones first: waiting for them must not take what others tell.
        let (disarmed, armed): (Vec<&Entry>, Vec<&Entry>) =
            epoll.entries.iter().partition(|entry| entry.is_disarmed());
        let empty_pipes = empty_pipes(cx.descriptions);
        for entry in disarmed {
            let is_empty_pipe = empty_pipes.contains(&entry.description);
            cx.with_at(entry.description, entry.fd, batch, |batch| {
                let lent = is_empty_pipe.then(|| lend_a_byte(entry.fd, batch));
                add_disarmed(cx.number, entry, batch);
                if let Some(writer) = lent {
                    take_back_the_byte(entry.fd, writer, batch);
                }
            });
        }
        for entry in armed {
            let may_fail = streams.contains(&entry.description);
            cx.with_at(entry.description, entry.fd, batch, |batch| {
                let event = event(entry.events, entry.data, batch);
                let args = [cx.number.into(), CTL_ADD.into(), entry.fd.into(), event];
                if may_fail {
                    batch.step_may_fail("watching a stream", nr::EPOLL_CTL, args);
                } else {
                    batch.step(label(entry), nr::EPOLL_CTL, args);
                }
            });
        }
    }
}

const CODE: &str = "epoll-target";
const WHY: &str = "it watches a file that the program has closed, and that stays open elsewhere (in another process, or on \
                   its way through a socket)";
const REMEDY: &str = "let whoever has that file close it";

fn refused(fd: &FdView, view: &ProcessView, number: i32) -> Error {
    let subject = format!("fd {} ({}), entry {number}", fd.fd, show(&fd.link));
    Error::Refused(vec![Refusal {
        code: CODE,
        pid: view.pid,
        subject,
        why: WHY.into(),
        remedy: REMEDY.into(),
    }])
}

fn label(entry: &Entry) -> String {
    format!("watching fd {}", entry.fd)
}

/// `struct epoll_event`, which is packed on x86_64.
fn event(events: u32, data: u64, batch: &mut Batch) -> Arg {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&events.to_le_bytes());
    bytes[4..].copy_from_slice(&data.to_le_bytes());
    batch.data(&bytes).into()
}

/// See the drawing above.
fn add_disarmed(epoll: i32, entry: &Entry, batch: &mut Batch) {
    let added = event(entry.events | LIKELY, entry.data, batch);
    batch.step(label(entry), nr::EPOLL_CTL, [epoll.into(), CTL_ADD.into(), entry.fd.into(), added]);
    // Holds the op for the step after it, unless what is told takes its place.
    let told = batch.data(&[CTL_MOD as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    batch.step(
        "epoll_pwait",
        nr::EPOLL_PWAIT,
        [epoll.into(), told.into(), 1.into(), 0.into(), 0.into(), 8.into()],
    );
    let disarmed = event(entry.events, entry.data, batch);
    let args = [epoll.into(), Arg::Loaded(told, 0), entry.fd.into(), disarmed];
    batch.step_may_fail("disarming an entry", nr::EPOLL_CTL, args);
}

/// The ends to read from of pipes that hold nothing: they tell nothing either.
fn empty_pipes(descriptions: &[Description]) -> HashSet<u32> {
    let pipes = || descriptions.iter().filter_map(|d| d.pipe.as_ref().map(|pipe| (d, pipe)));
    let place = |pipe: &pipe::Record| (pipe.device, pipe.inode);
    // What is in a pipe is in the record of one of its ends.
    let filled: HashSet<_> =
        pipes().filter(|(_, pipe)| !pipe.contents.is_empty()).map(|(_, pipe)| place(pipe)).collect();
    let reads = |description: &Description| description.flags & o::ACCMODE == 0;
    pipes().filter(|(d, pipe)| reads(d) && !filled.contains(&place(pipe))).map(|(d, _)| d.id).collect()
}

/// Makes an empty pipe tell something. Gives a descriptor of its other end.
fn lend_a_byte(number: i32, batch: &mut Batch) -> StepId {
    let path = batch.c_string(format!("/proc/self/fd/{number}").as_bytes());
    let flags = 1 | o::NONBLOCK;
    let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
    let writer = batch.step("opening the other end of a pipe", nr::OPENAT, args);
    let byte = batch.data(b"x");
    batch.step("lending a pipe a byte", nr::WRITE, [writer.into(), byte.into(), 1.into()]);
    writer
}

fn take_back_the_byte(number: i32, writer: StepId, batch: &mut Batch) {
    let byte = batch.room(1);
    batch.step("taking the byte back", nr::READ, [number.into(), byte.into(), 1.into()]);
    batch.step("close", nr::CLOSE, [writer.into()]);
}

/// An entry as fdinfo tells it.
struct Target {
    fd: i32,
    events: u32,
    data: u64,
    ino: u64,
    dev: u64,
    /// How many entries of the same number come before it.
    nth: u32,
}

/// `tfd:       23 events: 80000019 data:     7f2a00000017  pos:0 ino:2e87 sdev:f`
fn targets(info: &FdInfo, view: &ProcessView, epoll: i32) -> Result<Vec<Target>, Error> {
    let mut seen: HashMap<i32, u32> = HashMap::new();
    let mut targets = Vec::new();
    for line in info.values(b"tfd") {
        let unclear = || Error::proc(view.pid, format!("fdinfo/{epoll}"), format!("`{}`", show(line)));
        let mut target = target(line).ok_or_else(unclear)?;
        let count = seen.entry(target.fd).or_default();
        target.nth = *count;
        *count += 1;
        targets.push(target);
    }
    Ok(targets)
}

fn target(line: &[u8]) -> Option<Target> {
    let number = line.split(|byte| *byte == b' ').next()?;
    let field = |name: &[u8]| {
        let (_, value) = pairs(line).find(|(found, _)| *found == name)?;
        anonymous::parse(value, 16)
    };
    // The kernel's own form of a device number (include/linux/kdev_t.h).
    let sdev = u32::try_from(field(b"sdev")?).ok()?;
    Some(Target {
        fd: i32::try_from(anonymous::parse(number, 10)?).ok()?,
        events: u32::try_from(field(b"events")?).ok()?,
        data: field(b"data")?,
        ino: field(b"ino")?,
        dev: libc::makedev(sdev >> 20, sdev & 0xf_ffff),
        nth: 0,
    })
}

/// Whether a descriptor may well be what an entry watches.
fn resembles(fd: &FdView, target: &Target) -> bool {
    (fd.ino, fd.dev) == (target.ino, target.dev)
}

fn at(view: &ProcessView, number: i32) -> Option<&FdView> {
    view.fds.binary_search_by_key(&number, |fd| fd.fd).ok().and_then(|index| view.fds.get(index))
}

/// Up to how many entries are all compared with kcmp(2) before the freeze: the kernel looks for each from the first one on.
const FEW: usize = 1000;

/// Whether an epoll watches something that no descriptor of the tree leads to. Those of a running program come and go while
/// they are looked at: an entry counts only if it is still there afterwards, and not what its number leads to by then.
fn has_lost_target(fd: &FdView, cx: &Survey<'_>) -> bool {
    let mut search = Search { pid: cx.view.pid, epoll: fd.fd, tree: cx.tree, sorted: None };
    let mut lost = |info: &FdInfo| -> Vec<Target> {
        let targets = targets(info, cx.view, fd.fd).unwrap_or_default();
        let are_few = targets.len() <= FEW;
        let resembles = |target: &Target| at(cx.view, target.fd).is_some_and(|fd| resembles(fd, target));
        let compared = targets.into_iter().filter(|target| are_few || !resembles(target));
        compared.filter(|target| matches!(search.find(target, cx.view), Ok(None))).collect()
    };
    let before = lost(&fd.info);
    if before.is_empty() {
        return false;
    }
    let name = format!("fdinfo/{}", fd.fd);
    let Ok(now) = crate::view::parse(cx.view.pid, &name, fdinfo::parse) else { return false };
    let place = |target: &Target| (target.fd, target.ino, target.dev);
    lost(&now).iter().any(|target| {
        let has = |view: &ProcessView| leads_to(view.pid, target.fd, (cx.view.pid, fd.fd), target);
        before.iter().any(|old| place(old) == place(target)) && !cx.tree.processes.iter().any(has)
    })
}

/// From how many entries on they are not all compared with kcmp(2), as that takes a time that grows with their square.
const MANY: usize = 64;

/// The numbers, of an epoll with many entries, that lead to what was added under them. (Of a socket its inode tells.)
fn still_watched(targets: &[Target], own: &ProcessView, epoll: i32) -> HashSet<i32> {
    let mut count: HashMap<i32, u32> = HashMap::new();
    for target in targets {
        *count.entry(target.fd).or_default() += 1;
    }
    let may_be = |target: &&Target| {
        let fd = at(own, target.fd).filter(|fd| resembles(fd, target));
        count.get(&target.fd) == Some(&1) && fd.is_some_and(|fd| fd.file_type() != libc::S_IFSOCK)
    };
    let numbers: Vec<i32> = targets.iter().filter(may_be).map(|target| target.fd).collect();
    if numbers.len() < MANY {
        return HashSet::new();
    }
    // What this kernel cannot tell is looked for one by one.
    let found = with_pidfd(own, |process| sys::are_watched(process, epoll, &numbers)).unwrap_or_default();
    numbers.into_iter().zip(found).filter(|(_, watched)| *watched).map(|(number, _)| number).collect()
}

fn leads_to(pid: i32, number: i32, (epoll_pid, epoll): (i32, i32), target: &Target) -> bool {
    kcmp_epoll(pid, number, epoll_pid, epoll, target.fd, target.nth) == Ok(Ordering::Equal)
}

/// The search for the descriptions that an epoll watches.
struct Search<'a> {
    /// A process that has the epoll, and its number there.
    pid: i32,
    epoll: i32,
    tree: &'a TreeView,
    /// All that are no sockets, in kcmp(2)'s order; made when first needed.
    sorted: Option<Vec<(i32, i32)>>,
}

impl Search<'_> {
    /// Process and number of a descriptor that leads to what an entry watches.
    fn find(&mut self, target: &Target, own: &ProcessView) -> Result<Option<(i32, i32)>, Error> {
        let others = self.tree.processes.iter().filter(|view| view.pid != own.pid);
        for view in std::iter::once(own).chain(others) {
            if let Some(fd) = at(view, target.fd)
                && self.is_it(view, fd, target)?
            {
                return Ok(Some((view.pid, fd.fd)));
            }
        }
        let all = || self.tree.processes.iter().flat_map(|view| view.fds.iter().map(move |fd| (view, fd)));
        let is_socket = |fd: &FdView| fd.file_type() == libc::S_IFSOCK;
        if let Some((view, fd)) = all().find(|(_, fd)| is_socket(fd) && resembles(fd, target)) {
            return Ok(Some((view.pid, fd.fd)));
        }
        if self.sorted.is_none() {
            let mut sorted: Vec<_> =
                all().filter(|(_, fd)| !is_socket(fd)).map(|(view, fd)| (view.pid, fd.fd)).collect();
            sorted.sort_by(|a, b| {
                kcmp(a.0, b.0, Kcmp::File, a.1 as u64, b.1 as u64).unwrap_or(Ordering::Equal)
            });
            self.sorted = Some(sorted);
        }
        let sorted = self.sorted.as_deref().unwrap_or_default();
        let order = |&(pid, fd): &(i32, i32)| {
            kcmp_epoll(pid, fd, self.pid, self.epoll, target.fd, target.nth).unwrap_or(Ordering::Less)
        };
        Ok(sorted.binary_search_by(order).ok().map(|index| sorted[index]))
    }

    fn is_it(&self, view: &ProcessView, fd: &FdView, target: &Target) -> Result<bool, Error> {
        if fd.file_type() == libc::S_IFSOCK {
            return Ok(resembles(fd, target));
        }
        let order = kcmp_epoll(view.pid, fd.fd, self.pid, self.epoll, target.fd, target.nth);
        order.map(Ordering::is_eq).map_err(|errno| Error::call("kcmp (KCMP_EPOLL_TFD)", errno))
    }
}
