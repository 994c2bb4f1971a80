//! Standard streams that lead out of the process: a terminal, or a pipe or a socket whose other end somebody else has. What they
//! led to is not part of the program; the restorer's own stream takes its place.
//!
//! A descriptor beyond 2 that leads to the same terminal or the same end of the same pipe goes with them.

use super::pipe::other_end_is_closed;
use super::restore::Opening;
use super::{Capturing, Claim, Description, FdKind, Opened, Survey, unix};
use crate::error::Error;
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::fs::open_flags as o;
use rekindle_tracee::Batch;

/// The name of the kind.
pub(super) const NAME: &str = "stream";

/// See the module's story.
pub(super) struct Stream;

impl FdKind for Stream {
    fn name(&self) -> &'static str {
        NAME
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        let may_be = is_terminal(fd) || is_pipe(fd) || unix::leads_outside(fd, cx.tree);
        if !may_be || stream_in_tree(fd, cx.tree).is_none() {
            return Claim::NotMine;
        }
        // A pipe from the program to itself is no stream, nor is one that leads nowhere any more.
        let is_own = is_pipe(fd) && (cx.tree.has_both_ends(fd) || other_end_is_closed(fd, cx.view));
        if is_own { Claim::NotMine } else { Claim::Mine }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        record.stream = stream_in_tree(fd, cx.tree).unwrap_or(0);
        Ok(())
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, _batch: &mut Batch) -> Opened {
        Opened::Number(cx.stream(record.stream))
    }
}

/// The standard stream that leads to the same place, in the first process of the tree that has one.
fn stream_in_tree(fd: &FdView, tree: &TreeView) -> Option<u32> {
    tree.processes.iter().find_map(|view| standard_stream(fd, view))
}

/// The standard stream of a process that a descriptor is, or leads to the same place as.
fn standard_stream(fd: &FdView, view: &ProcessView) -> Option<u32> {
    let same = |other: &&FdView| {
        let same_direction = other.info.flags & o::ACCMODE == fd.info.flags & o::ACCMODE;
        is_same_file(fd, other) && (is_terminal(fd) || same_direction)
    };
    view.fds
        .iter()
        .take_while(|other| other.fd <= 2)
        .find(same)
        .and_then(|other| u32::try_from(other.fd).ok())
}

fn is_same_file(a: &FdView, b: &FdView) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
}

pub(super) fn is_pipe(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFIFO && fd.link.starts_with(b"pipe:")
}

/// Terminals: pseudo-terminals (majors 136 to 143), virtual and serial ones (4), and the console (5).
fn is_terminal(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFCHR && matches!(libc::major(fd.rdev), 4 | 5 | 136..=143)
}
