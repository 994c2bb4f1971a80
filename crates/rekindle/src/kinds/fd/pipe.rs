//! Pipes from the program to itself (pipe(7)): size, packet mode, and what is in them.
//!
//! The two ends are two descriptions of one pipe. What is in it is copied by tee(2), which leaves it there.

use super::fetch::fetch;
use super::restore::Opening;
use super::stream::is_pipe;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey};
use crate::error::Error;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch};
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};

/// See the module's story.
pub(super) struct Pipe;

/// What is particular to a pipe, in the record of each of its ends.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its inode number: the same in both ends.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// How many bytes it holds at most (`F_GETPIPE_SZ`).
    #[prost(uint32, tag = "2")]
    pub size: u32,
    /// What is in it; in the record of the reading end.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(serialize_with = "crate::json::size")]
    pub contents: Vec<u8>,
}

const F_SETFL: i32 = 4;
const F_SETPIPE_SZ: i32 = 1031;

impl FdKind for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !is_pipe(fd) {
            return Claim::NotMine;
        }
        if !cx.tree.has_both_ends(fd) {
            return Claim::Refused(
                "outer-pipe",
                "pipes to other processes cannot be captured yet",
                "let the program close it first",
            );
        }
        let packets = fd.info.flags & o::DIRECT != 0;
        if packets && (fd.info.flags & o::ACCMODE) == 0 && !is_empty(fd, cx.view) {
            return Claim::Refused("pipe-packets", "it holds packets, which cannot be captured yet", "");
        }
        Claim::Mine
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let view = cx.view;
        let failed =
            |errno| Error::call(format!("looking into the pipe at fd {} of {}", fd.fd, view.pid), errno);
        let end = fetch(fd, view).map_err(failed)?;
        let size = fcntl_getpipe_size(&end).map_err(failed)?;
        let reads = fd.info.flags & o::ACCMODE == 0;
        let contents = if reads { peek(&end, size).map_err(failed)? } else { Vec::new() };
        record.pipe = Some(Record { inode: fd.ino, size: size as u32, contents });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let fits = record.pipe.as_ref().is_some_and(|pipe| pipe.contents.len() <= pipe.size as usize);
        if fits { Ok(()) } else { Err("it holds more than fits".into()) }
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let of_pipe = |description: &&Description| {
            description.pipe.as_ref().map(|pipe| pipe.inode) == record.pipe.as_ref().map(|pipe| pipe.inode)
        };
        let end = |mode: u32| cx.descriptions.iter().filter(of_pipe).find(|d| d.flags & o::ACCMODE == mode);
        let (reading, writing) = (end(0), end(1));
        let ends = batch.room(8);
        batch.step("pipe2", nr::PIPE2, [ends.into(), (record.flags & o::DIRECT).into()]);
        let (read_end, write_end) = (Arg::Loaded(ends, 0), Arg::Loaded(ends, 4));
        let pipe = reading.and_then(|reading| reading.pipe.as_ref());
        if let Some(pipe) = pipe {
            let args = [write_end, F_SETPIPE_SZ.into(), pipe.size.into()];
            if pipe.contents.is_empty() {
                // More than fs.pipe-max-size needs CAP_SYS_RESOURCE.
                batch.step_may_fail("F_SETPIPE_SZ", nr::FCNTL, args);
            } else {
                // What is in the pipe must fit, or writing it would wait for ever.
                batch.step("F_SETPIPE_SZ", nr::FCNTL, args);
            }
            for part in pipe.contents.chunks(1 << 16) {
                let contents = batch.data(part);
                batch.step("filling a pipe", nr::WRITE, [write_end, contents.into(), part.len().into()]);
            }
        }
        for (end, description) in [(read_end, reading), (write_end, writing)] {
            let flags = description.map_or(0, |description| description.flags & !o::ACCMODE);
            batch.step("F_SETFL", nr::FCNTL, [end, F_SETFL.into(), flags.into()]);
        }
        Opened::Pair(ends, [reading, writing].map(|end| end.map_or(0, |end| end.id)))
    }
}

/// Copies what is in a pipe.
fn peek(end: &OwnedFd, size: usize) -> Result<Vec<u8>, Errno> {
    let (copy_read, copy_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&copy_write, size)?;
    let count = match tee(end, &copy_write, size, SpliceFlags::NONBLOCK) {
        Ok(count) => count,
        Err(Errno::AGAIN) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut contents = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match rustix::io::read(&copy_read, &mut contents[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    contents.truncate(filled);
    Ok(contents)
}

fn is_empty(fd: &FdView, view: &ProcessView) -> bool {
    fetch(fd, view).and_then(|end| peek(&end, 65536)).is_ok_and(|contents| contents.is_empty())
}
