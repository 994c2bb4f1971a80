//! Terminals (tty(4), pty(7)): which descriptor leads to which end of which one.
//!
//! ```text
//! pseudo-terminals of the program     both ends are in the tree (tmux, script, expect): captured with all their state, and
//!                                     made again by the restorer before there is a process (`supply`), under the same name
//! terminals of somebody else          the one the program was started on: whoever restores it gives it theirs (`stream`)
//! hung up                             nothing is left of it but that it reads nothing and takes nothing
//! ```
//!
//! Sessions get theirs as controlling terminal when they are made (`process/controlling_terminal`).

mod outer;
mod pair;
mod record;
pub mod supply;
mod unread;

pub(crate) use outer::inner_index;
pub(super) use outer::is_replaced;
pub use outer::{OnTerminal, survey};
pub use record::{End, Pair, Piece, Record, Settings, Slave, Unread};

use super::fetch::fetch;
use super::restore::Opening;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey, reopen_flags};
use crate::error::Error;
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_sys::tty::{self, Ask};
use rekindle_tracee::Batch;
use std::collections::BTreeMap;

/// See the module's story.
pub(super) struct Terminal;

/// Major device numbers (Documentation/admin-guide/devices.txt): terminals by their line, /dev/tty and its like, and
/// slaves of pseudo-terminals.
const MAJOR_TTY: u32 = 4;
const MAJOR_TTY_AUX: u32 = 5;
const MAJOR_SLAVE: u32 = 136;
const MINOR_PTMX: u32 = 2;

/// More pseudo-terminals than a kernel has indices for.
const INDEX_MAX: u32 = 1 << 20;

/// The pseudo-terminals of a tree: those whose masters it has.
#[derive(Debug, Default)]
pub struct Terminals {
    /// Whether a slave is open in the tree too, by index.
    by_index: BTreeMap<u32, bool>,
}

impl Terminals {
    /// Those of processes.
    pub(crate) fn of(processes: &[ProcessView]) -> Self {
        let fds = || processes.iter().flat_map(|view| view.fds.iter().map(move |fd| (view, fd)));
        let mut by_index: BTreeMap<u32, bool> = fds()
            .filter(|(_, fd)| is_master(fd))
            .filter_map(|(_, fd)| Some((index_of_master(fd)?, false)))
            .collect();
        if !by_index.is_empty() {
            for (view, fd) in fds().filter(|(_, fd)| is_terminal(fd) && !is_deleted(fd)) {
                if let Some(is_open) = index_of(device(fd, view)).and_then(|index| by_index.get_mut(&index)) {
                    *is_open = true;
                }
            }
        }
        Self { by_index }
    }

    /// Whether a terminal is a pseudo-terminal of the tree, and which.
    pub(crate) fn inner(&self, device: u64) -> Option<u32> {
        index_of(device).filter(|index| self.by_index.contains_key(index))
    }
}

impl FdKind for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if is_master(fd) {
            return pair::claim(fd, cx);
        }
        if !is_terminal(fd) {
            return Claim::NotMine;
        }
        if is_hung_up(fd, cx.view) {
            return Claim::Mine;
        }
        match cx.tree.terminals.inner(device(fd, cx.view)) {
            Some(_) if is_elsewhere(fd) => Claim::Refused(
                "terminal-mount",
                "it is a pseudo-terminal of another mount of devpts",
                "checkpoint it from inside its container",
            ),
            Some(_) => Claim::Mine,
            None => Claim::NotMine,
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        record.terminal = Some(if is_master(fd) {
            let index = index_of_master(fd).unwrap_or(0);
            let has_slave = cx.tree.terminals.by_index.get(&index).copied().unwrap_or(false);
            let pair = pair::capture(fd, cx.view, index, has_slave)?;
            Record { end: End::Master.into(), index, pair: Some(pair), outer: None }
        } else {
            let end = if is_hung_up(fd, cx.view) { End::HungUp } else { End::Slave };
            let index = index_of(device(fd, cx.view)).unwrap_or(0);
            Record { end: end.into(), index, pair: None, outer: None }
        });
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        let Some(terminal) = &record.terminal else { return Err("it does not say which".into()) };
        let is_master_of_it = |other: &&&Description| {
            other.terminal.as_ref().is_some_and(|it| it.end() == End::Master && it.index == terminal.index)
        };
        let masters = cx.descriptions.values().filter(is_master_of_it).count();
        let is_sane = match terminal.end() {
            End::Outer => false,
            End::Master => masters == 1 && terminal.pair.as_ref().is_some_and(Pair::is_sane),
            End::Slave => masters == 1,
            End::HungUp => true,
        };
        if is_sane && terminal.index < INDEX_MAX { Ok(()) } else { Err("it makes no sense".into()) }
    }

    fn is_at_hand(&self, record: &Description) -> bool {
        !is_by_session(record)
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let controlling = index_of(cx.process.process.controlling_terminal.device.unwrap_or(0));
        if is_by_session(record) && controlling == record.terminal.as_ref().map(|it| it.index) {
            let path = batch.c_string(BY_SESSION);
            let flags = reopen_flags(record.flags);
            let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
            return Opened::Step(batch.step("opening /dev/tty", nr::OPENAT, args));
        }
        // A number that is never open would fail the restore by name.
        Opened::Number(cx.handed(supply::Key::Description(record.id)).unwrap_or(-1))
    }
}

/// The end that a terminal emulator has: /dev/ptmx, by any name.
pub(super) fn is_master(fd: &FdView) -> bool {
    is_character_device(fd) && (libc::major(fd.rdev), libc::minor(fd.rdev)) == (MAJOR_TTY_AUX, MINOR_PTMX)
}

/// Any other terminal, opened by its own name or as /dev/tty: whatever answers as one.
pub(super) fn is_terminal(fd: &FdView) -> bool {
    is_character_device(fd)
        && !is_master(fd)
        && (matches!(libc::major(fd.rdev), MAJOR_TTY | MAJOR_TTY_AUX | MAJOR_SLAVE..=143)
            || is_other_line(fd))
}

fn is_character_device(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFCHR && fd.info.flags & o::PATH == 0
}

/// Serial lines and consoles of hypervisors have numbers of all kinds, but names like this.
fn is_other_line(fd: &FdView) -> bool {
    [b"/dev/tty".as_slice(), b"/dev/hvc"].iter().any(|prefix| fd.link.starts_with(prefix))
}

fn index_of_master(fd: &FdView) -> Option<u32> {
    std::str::from_utf8(fd.info.value(b"tty-index")?).ok()?.trim().parse().ok()
}

/// The device that a descriptor leads to, whatever name it was opened by.
pub(super) fn device(fd: &FdView, view: &ProcessView) -> u64 {
    if libc::major(fd.rdev) != MAJOR_TTY_AUX {
        return fd.rdev;
    }
    let told = fetch(fd, view).and_then(|fd| tty::ask(fd, Ask::Device));
    told.map_or(fd.rdev, |device| u64::from(device.cast_unsigned()))
}

/// The name that leads to whatever terminal controls the session of whoever opens it.
const BY_SESSION: &[u8] = b"/dev/tty";

/// Whether a slave was opened by that name, which it keeps: its holder opens it again.
fn is_by_session(record: &Description) -> bool {
    record.link == BY_SESSION && record.terminal.as_ref().is_some_and(|it| it.end() == End::Slave)
}

/// The index of a slave.
pub(crate) fn index_of(device: u64) -> Option<u32> {
    (libc::major(device) == MAJOR_SLAVE).then(|| libc::minor(device))
}

/// The name of a pseudo-terminal goes with its master.
fn is_deleted(fd: &FdView) -> bool {
    fd.link.ends_with(b" (deleted)")
}

/// Whether nothing is behind it any more: not even questions are answered.
fn is_hung_up(fd: &FdView, view: &ProcessView) -> bool {
    is_deleted(fd)
        || fetch(fd, view).and_then(|fd| tty::settings(fd).map(drop)) == Err(rekindle_sys::Errno::IO)
}

/// Whether it is of another instance of devpts than ours, where the same index means another terminal.
fn is_elsewhere(fd: &FdView) -> bool {
    use std::os::unix::fs::MetadataExt;
    fd.link.starts_with(b"/dev/pts/") && std::fs::metadata("/dev/pts").is_ok_and(|ours| ours.dev() != fd.dev)
}

/// Whether a tree has terminals that come back under the same index, which must be free.
pub(crate) fn have_names(descriptions: &[Description]) -> bool {
    descriptions
        .iter()
        .filter_map(|description| description.terminal.as_ref())
        .any(|it| it.end() == End::Master)
}
