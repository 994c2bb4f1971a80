//! Pipes (pipe(7)) and FIFOs (fifo(7)): size, packet mode, what is in them; ends in any process of the tree, closed, or opened
//! several times.
//!
//! A pipe is known by its inode. Its ends are descriptions of their own, which come into being together:
//!
//! ```text
//! pipe2 ── its two ends: the first description for reading, the first for writing (or nobody's: closed again)
//!       ── all others of the same pipe: opened through /proc/self/fd, as the program may have done
//! FIFO  ── its name opened for both, which never waits; then each description by name; what is in it; the first closed
//! ```
//!
//! What is in it is copied by tee(2), which leaves it there. In packet mode each read of the copy gives one packet.

use super::fetch::fetch;
use super::restore::Opening;
use super::stream::is_pipe;
use super::{Asking, Capturing, Checking, Claim, Description, FdKind, Opened, Survey};
use crate::error::Error;
use crate::refusal::show;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch, Data};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// See the module's story.
pub(super) struct Pipe;

/// What is particular to a pipe, in the record of each of its ends.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its inode number: the same in all its ends.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// How many bytes it holds at most (`F_GETPIPE_SZ`).
    #[prost(uint32, tag = "2")]
    pub size: u32,
    /// What is in it; in the record of one end that reads.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(serialize_with = "crate::json::size")]
    pub contents: Vec<u8>,
    /// The lengths of the packets that the contents are, in packet mode.
    #[prost(uint32, repeated, tag = "4")]
    pub packets: Vec<u32>,
    /// The name of a FIFO.
    #[prost(bytes = "vec", tag = "5")]
    #[serde(serialize_with = "crate::json::path")]
    pub fifo: Vec<u8>,
    /// The FIFO has been deleted.
    #[prost(bool, tag = "6")]
    pub deleted: bool,
    /// Device of the file system that a FIFO is on; 0 for a pipe.
    #[prost(uint64, tag = "7")]
    pub device: u64,
    /// Nobody has had the FIFO open for writing since this end was opened: it does not tell of an end (`POLLHUP`) yet.
    #[prost(bool, tag = "8")]
    pub unwritten: bool,
}

const F_SETFL: i32 = 4;
const F_SETPIPE_SZ: i32 = 1031;
/// What open(2) sets and pipe2(2) does not, in the kernel's value of it.
const O_LARGEFILE: u32 = 0o100_000;
const DELETED: &[u8] = b" (deleted)";

fn is_fifo(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFIFO && fd.link.starts_with(b"/")
}

fn reads(flags: u32) -> bool {
    flags & o::ACCMODE != 1
}

impl FdKind for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !(is_pipe(fd) || is_fifo(fd)) || fd.info.flags & o::PATH != 0 {
            return Claim::NotMine;
        }
        if is_fifo(fd) && fd.nlink > 0 && !leads_to(fd) {
            return Claim::Refused(
                "replaced-file",
                "its path leads to another file by now",
                "put the FIFO back",
            );
        }
        let is_unwritten = || fetch(fd, cx.view).is_ok_and(|end| is_unwritten(&end, fd));
        if cx.tree.has_both_ends(fd) || other_end_is_closed(fd, cx.view) || is_unwritten() {
            return Claim::Mine;
        }
        Claim::Refused(
            "outer-pipe",
            "a process outside of the tree has the other end of this pipe",
            "checkpoint a process further up, which has both as descendants, or let the program close it first",
        )
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let view = cx.view;
        let failed =
            |errno| Error::call(format!("looking into the pipe at fd {} of {}", fd.fd, view.pid), errno);
        let end = cx.fetch(fd).map_err(failed)?;
        let size = fcntl_getpipe_size(end).map_err(failed)?;
        let mut pipe = Record { inode: fd.ino, size: size as u32, ..Record::default() };
        if is_fifo(fd) {
            pipe.deleted = fd.nlink == 0;
            let name = if pipe.deleted { fd.link.strip_suffix(DELETED) } else { None };
            pipe.fifo = name.unwrap_or(&fd.link).to_vec();
            pipe.device = fd.dev;
            pipe.unwritten = is_unwritten(end, fd);
        }
        if reads(fd.info.flags) {
            let packets = peek(end, size).map_err(failed)?;
            if packets.len() > 1 || fd.info.flags & o::DIRECT != 0 {
                pipe.packets = packets.iter().map(|packet| packet.len() as u32).collect();
            }
            pipe.contents = packets.concat();
        }
        record.pipe = Some(pipe);
        Ok(())
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        // Of several that read, one tells.
        if let Some(pipe) = &mut record.pipe
            && reads(fd.info.flags)
            && !cx.pipes_read.insert((fd.dev, fd.ino))
        {
            pipe.contents = Vec::new();
            pipe.packets = Vec::new();
        }
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(pipe) = &record.pipe else { return Err("it says nothing of its pipe".into()) };
        let sum: u64 = pipe.packets.iter().map(|packet| u64::from(*packet)).sum();
        if pipe.contents.len() > pipe.size as usize
            || (!pipe.packets.is_empty() && sum != pipe.contents.len() as u64)
            || pipe.packets.contains(&0)
        {
            return Err("it holds more than fits".into());
        }
        if pipe.unwritten && (pipe.fifo.is_empty() || record.flags & o::ACCMODE != 0) {
            return Err("it waits for a writer as only a FIFO does".into());
        }
        let path_is_sane = pipe.fifo.is_empty() || (pipe.fifo.starts_with(b"/") && !pipe.fifo.contains(&0));
        if path_is_sane { Ok(()) } else { Err("the name of its FIFO makes no sense".into()) }
    }

    fn comes_later(&self, record: &Description, cx: &Opening<'_>) -> bool {
        record.pipe.as_ref().is_some_and(|pipe| !Family::of(record, pipe, cx).has_primary(record.id))
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(pipe) = &record.pipe else { return Opened::Number(-1) };
        let family = Family::of(record, pipe, cx);
        if !family.has_primary(record.id) {
            return open_again(record, cx.number_of(family.first), batch);
        }
        match family.primaries {
            _ if !pipe.fifo.is_empty() => family.open_fifo(pipe, batch),
            [None, None] => family.open_without_ends(record, cx.spare(), batch),
            _ => family.open_pipe(batch),
        }
    }

    fn finish(&self, record: &Description, cx: &super::restore::Finishing<'_>, batch: &mut Batch) {
        let flags = record.flags & !o::ACCMODE;
        batch.step("F_SETFL", nr::FCNTL, [cx.number.into(), F_SETFL.into(), flags.into()]);
    }
}

/// The descriptions of one pipe.
struct Family<'a> {
    /// Those that come into being with it: for reading (of a FIFO: or for both), and for writing.
    primaries: [Option<&'a Description>; 2],
    /// One that is there before those that come later.
    first: u32,
    /// The one that knows what is in it.
    source: Option<&'a Record>,
}

impl<'a> Family<'a> {
    fn of(record: &'a Description, pipe: &Record, cx: &'a Opening<'_>) -> Self {
        let is_of_it = |d: &&Description| {
            d.pipe.as_ref().is_some_and(|of| (of.inode, of.device) == (pipe.inode, pipe.device))
        };
        let of_it = || cx.family(record).iter().copied().filter(is_of_it);
        // Those that were opened, and not made by pipe2, show it by a flag.
        let is_made = |d: &&Description| !pipe.fifo.is_empty() || d.flags & O_LARGEFILE == 0;
        let end = |mode: u32| of_it().filter(is_made).find(|d| d.flags & o::ACCMODE == mode);
        let is_only_for_both = !pipe.fifo.is_empty() && end(0).is_none() && end(1).is_none();
        let primaries = [if is_only_for_both { end(2) } else { end(0) }, end(1)];
        let first = primaries.into_iter().flatten().chain(of_it()).next().map_or(0, |d| d.id);
        let source = of_it().filter_map(|d| d.pipe.as_ref()).find(|pipe| !pipe.contents.is_empty());
        Self { primaries, first, source: source.or(of_it().find_map(|d| d.pipe.as_ref())) }
    }

    fn ids(&self) -> [u32; 2] {
        self.primaries.map(|end| end.map_or(0, |end| end.id))
    }

    fn has_primary(&self, id: u32) -> bool {
        id == self.first || self.ids().contains(&id)
    }

    /// Packets are told apart as they are written; each end gets its own flags in the end.
    fn direct(&self) -> u32 {
        if self.source.is_some_and(|pipe| !pipe.packets.is_empty()) { o::DIRECT } else { 0 }
    }

    fn open_pipe(&self, batch: &mut Batch) -> Opened {
        let ends = self.pipe2(batch);
        Opened::Pair(ends, self.ids())
    }

    fn pipe2(&self, batch: &mut Batch) -> Data {
        let ends = batch.room(8);
        batch.step("pipe2", nr::PIPE2, [ends.into(), self.direct().into()]);
        self.fill(Arg::Loaded(ends, 4), batch);
        ends
    }

    /// Nobody has an end that pipe2 makes.
    fn open_without_ends(&self, record: &Description, spare: [i32; 2], batch: &mut Batch) -> Opened {
        let ends = self.pipe2(batch);
        let [at, _] = spare;
        batch.step("dup3", nr::DUP3, [Arg::Loaded(ends, 4), at.into(), 0.into()]);
        let opened = open_again(record, at, batch);
        for end in [Arg::Loaded(ends, 0), Arg::Loaded(ends, 4), at.into()] {
            batch.step("close", nr::CLOSE, [end]);
        }
        opened
    }

    /// The two are opened by name, as two results that are laid where those of `pipe2` would be.
    fn open_fifo(&self, pipe: &Record, batch: &mut Batch) -> Opened {
        let path = batch.c_string(&pipe.fifo);
        let cwd = Arg::from(libc::AT_FDCWD);
        let open = |flags: u32, batch: &mut Batch| {
            let label = format!("opening {}", show(&pipe.fifo));
            batch.step(label, nr::OPENAT, [cwd, path.into(), (flags | o::CLOEXEC).into(), 0.into()])
        };
        if pipe.deleted {
            let mode = libc::S_IFIFO | 0o600;
            batch.step("making a FIFO", nr::MKNODAT, [cwd, path.into(), mode.into(), 0.into()]);
        }
        // An end that is opened while somebody can write tells of an end when nobody can any more.
        let is_unwritten = pipe.unwritten && pipe.contents.is_empty();
        let keeper = open(if is_unwritten { 0 } else { 2 } | o::NONBLOCK | self.direct(), batch);
        let [reading, writing] = self.primaries;
        let reading = open(reading.map_or(0, |end| end.flags & o::ACCMODE) | o::NONBLOCK, batch);
        let writing = open(u32::from(writing.is_some()) | o::NONBLOCK, batch);
        if pipe.deleted {
            batch.step("unlink", nr::UNLINKAT, [cwd, path.into(), 0.into()]);
        }
        self.fill(keeper.into(), batch);
        batch.step("close", nr::CLOSE, [keeper.into()]);
        Opened::Two([reading, writing], self.ids())
    }

    /// What is in it.
    fn fill(&self, writer: Arg, batch: &mut Batch) {
        let Some(pipe) = self.source else { return };
        let args = [writer, F_SETPIPE_SZ.into(), pipe.size.into()];
        if pipe.contents.is_empty() {
            // More than fs.pipe-max-size needs CAP_SYS_RESOURCE.
            batch.step_may_fail("F_SETPIPE_SZ", nr::FCNTL, args);
            return;
        }
        // What is in the pipe must fit, or writing it would wait for ever.
        batch.step("F_SETPIPE_SZ", nr::FCNTL, args);
        let mut rest = pipe.contents.as_slice();
        let lengths: Vec<usize> = if pipe.packets.is_empty() {
            rest.chunks(1 << 16).map(<[u8]>::len).collect()
        } else {
            pipe.packets.iter().map(|packet| *packet as usize).collect()
        };
        for length in lengths {
            let (part, after) = rest.split_at(length.min(rest.len()));
            let contents = batch.data(part);
            batch.step("filling a pipe", nr::WRITE, [writer, contents.into(), part.len().into()]);
            rest = after;
        }
    }
}

/// Another description of a pipe that has been opened.
fn open_again(record: &Description, number: i32, batch: &mut Batch) -> Opened {
    let path = batch.c_string(format!("/proc/self/fd/{number}").as_bytes());
    let flags = (record.flags & o::ACCMODE) | o::NONBLOCK | o::CLOEXEC;
    let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
    Opened::Step(batch.step("opening a pipe once more", nr::OPENAT, args))
}

/// Whether the path of a FIFO leads to it.
fn leads_to(fd: &FdView) -> bool {
    let found = std::fs::metadata(Path::new(OsStr::from_bytes(&fd.link)));
    found.is_ok_and(|found| (found.dev(), found.ino()) == (fd.dev, fd.ino))
}

/// Whether nobody has the other end: poll(2) tells.
pub(super) fn other_end_is_closed(fd: &FdView, view: &ProcessView) -> bool {
    fetch(fd, view).is_ok_and(|end| tells_of_an_end(&end))
}

fn tells_of_an_end(end: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(end, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = poll(&mut fds, Some(&now));
    polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Whether nobody can write to a FIFO, nor could since this end of it was opened without waiting: poll(2) says nothing of
/// an end then (fs/pipe.c, `fifo_open`), but reading would, and so does tee(2).
fn is_unwritten(end: &OwnedFd, fd: &FdView) -> bool {
    let is_candidate = is_fifo(fd) && fd.info.flags & o::ACCMODE == 0 && !tells_of_an_end(end);
    let tees_nothing = || {
        let (_read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok::<_, Errno>(tee(end, &write, 1, SpliceFlags::NONBLOCK)? == 0)
    };
    is_candidate && tees_nothing() == Ok(true)
}

/// Copies what is in a pipe, as reading it would give it, piece by piece.
fn peek(end: &OwnedFd, size: usize) -> Result<Vec<Vec<u8>>, Errno> {
    if ioctl_fionread(end)? == 0 {
        return Ok(Vec::new());
    }
    let (copy_read, copy_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&copy_write, size)?;
    let count = match tee(end, &copy_write, size, SpliceFlags::NONBLOCK) {
        Ok(count) => count,
        Err(Errno::AGAIN) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut pieces = Vec::new();
    let mut left = count;
    while left > 0 {
        let mut piece = vec![0; left];
        match rustix::io::read(&copy_read, &mut piece)? {
            0 => break,
            filled => {
                piece.truncate(filled);
                left -= filled;
                pieces.push(piece);
            }
        }
    }
    Ok(pieces)
}
