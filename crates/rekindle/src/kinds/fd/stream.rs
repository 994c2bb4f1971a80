//! Standard streams that lead out of the program: a terminal, or a pipe or a socket whose other end somebody else has. What they
//! led to is not part of the program; the restorer's own stream takes its place.
//!
//! A descriptor beyond 2 that leads to the same terminal or the same end of the same pipe goes with them, and so does one
//! that leads to the controlling terminal by way of /dev/tty.
//!
//! A terminal that was the program's input, output and errors at once is one description. If the restorer's streams lead to
//! one terminal, it comes back as one; otherwise each standard stream is what the restorer's is.

use super::pipe::other_end_is_closed;
use super::restore::Opening;
use super::terminal::supply::Key;
use super::terminal::{self, End, Settings, is_terminal};
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey, fetch::fetch, unix};
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
        if is_terminal(fd) {
            // Whatever is left of the tree's own pseudo-terminals has been claimed.
            return if terminal::is_replaced(fd, cx.view, cx.tree) {
                Claim::Mine
            } else {
                Claim::Refused(
                    "outer-terminal",
                    "it is a terminal of another program",
                    "let the program close it, or checkpoint the program whose terminal it is",
                )
            };
        }
        let may_be = is_pipe(fd) || unix::leads_outside(fd, cx.tree);
        if !may_be || stream_in_tree(fd, cx.view, cx.tree).is_none() {
            return Claim::NotMine;
        }
        // A pipe from the program to itself is no stream, nor is one that leads nowhere any more.
        let is_own = is_pipe(fd) && (cx.tree.has_both_ends(fd) || other_end_is_closed(fd, cx.view));
        if is_own { Claim::NotMine } else { Claim::Mine }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let by_mode = if fd.info.flags & o::ACCMODE == 0 { 0 } else { 1 };
        record.stream = stream_in_tree(fd, cx.view, cx.tree).unwrap_or(by_mode);
        if is_terminal(fd) {
            let failed = |errno| {
                Error::call(format!("looking at the terminal at fd {} of {}", fd.fd, cx.view.pid), errno)
            };
            let settings = fetch(fd, cx.view).and_then(|fd| Settings::of(&fd)).map_err(failed)?;
            record.terminal = Some(terminal::Record {
                end: End::Outer.into(),
                outer: Some(settings),
                ..Default::default()
            });
        }
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let is_sane = record.terminal.as_ref().is_none_or(|terminal| {
            terminal.end() == End::Outer && terminal.outer.as_ref().is_some_and(Settings::is_sane)
        });
        if is_sane && record.stream <= 2 { Ok(()) } else { Err("it makes no sense".into()) }
    }

    fn is_at_hand(&self, _record: &Description) -> bool {
        true
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, _batch: &mut Batch) -> Opened {
        let stream = cx.stream(record.stream);
        if record.terminal.is_none() {
            return Opened::Number(stream);
        }
        if let Some(number) = cx.handed(Key::Description(record.id)) {
            return Opened::Number(number);
        }
        let [input, output, errors] = [0, 1, 2].map(|stream| cx.stream(stream));
        match cx.handed(Key::Nothing) {
            Some(nothing) => Opened::ByDescriptor([nothing, output, errors, nothing]),
            None => Opened::ByDescriptor([input, output, errors, stream]),
        }
    }
}

/// The standard stream that leads to the same place, in the first process of the tree that has one.
fn stream_in_tree(fd: &FdView, view: &ProcessView, tree: &TreeView) -> Option<u32> {
    let device = is_terminal(fd).then(|| terminal::device(fd, view));
    tree.processes.iter().find_map(|other| standard_stream(fd, device, other))
}

/// The standard stream of a process that a descriptor is, or leads to the same place as.
fn standard_stream(fd: &FdView, device: Option<u64>, view: &ProcessView) -> Option<u32> {
    let same = |other: &&FdView| match device {
        Some(device) => is_terminal(other) && terminal::device(other, view) == device,
        None => is_same_file(fd, other) && other.info.flags & o::ACCMODE == fd.info.flags & o::ACCMODE,
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
