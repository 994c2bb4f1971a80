//! A pseudo-terminal of the program, as its master tells.

use super::super::fetch::fetch;
use super::super::{Claim, Survey};
use super::index_of_master;
use super::record::{Pair, Settings, Slave};
use super::unread::{Ends, HELD_MAX, copy, may_feed, open_slave, state, turn};
use crate::error::Error;
use crate::view::{FdView, ProcessView};
use rekindle_sys::Result as Kernel;
use rekindle_sys::tty::{self, Ask, SETTINGS_LEN};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// Whether it can be captured.
pub(super) fn claim(fd: &FdView, cx: &Survey<'_>) -> Claim {
    if index_of_master(fd).is_none() {
        return Claim::Refused(
            "terminal-index",
            "the kernel does not tell which terminal it is",
            "use Linux 4.16 or newer",
        );
    }
    let Ok(master) = fetch(fd, cx.view) else { return Claim::Mine };
    if tty::ask(&master, Ask::Discipline).is_ok_and(|discipline| discipline != 0) {
        return Claim::Refused(
            "line-discipline",
            "its line discipline is not the usual one, which cannot be captured",
            "",
        );
    }
    if state(&master, PollFlags::PRI).is_ok_and(|ready| ready.contains(PollFlags::PRI)) {
        // A status of packet mode that is waiting to be read.
        return Claim::Refused(
            "packet-status",
            "a status of its packet mode is unread, which cannot be captured yet",
            "try again",
        );
    }
    if !may_feed() && state(&master, PollFlags::IN).is_ok_and(|ready| ready.contains(PollFlags::IN)) {
        return Claim::Refused(
            "terminal-unread",
            "it holds output that is unread, which only CAP_SYS_ADMIN allows to be captured",
            "run rekindle as root, or try again when the output has been read",
        );
    }
    Claim::Mine
}

/// Its state.
pub(super) fn capture(fd: &FdView, view: &ProcessView, index: u32, has_slave: bool) -> Result<Pair, Error> {
    let failed =
        |errno| Error::call(format!("looking at the terminal at fd {} of {}", fd.fd, view.pid), errno);
    read(fd, view, index, has_slave).map_err(failed)
}

fn read(fd: &FdView, view: &ProcessView, index: u32, has_slave: bool) -> Kernel<Pair> {
    let _turn = turn()?;
    let master = fetch(fd, view)?;
    let modes = tty::settings(&master)?;
    let locked = tty::ask(&master, Ask::Locked)? != 0;
    let packets = tty::ask(&master, Ask::Packets)? != 0;
    let is_closed = state(&master, PollFlags::empty())?.contains(PollFlags::HUP);
    let is_open = has_slave && !is_closed && !locked;
    // To open a slave that nobody has open would be news to the master.
    let own = if is_open { Some(open_slave(&master)?) } else { None };
    let exclusive = match &own {
        Some(slave) => tty::ask(slave, Ask::Exclusive)? != 0,
        None => false,
    };
    let unread = copy(&Ends { master: &master, slave: own.as_ref(), modes, packets })?;
    let node = std::fs::metadata(format!("/dev/pts/{index}"));
    let (uid, gid, mode) = node.map_or((0, 0, 0o600), |node| (node.uid(), node.gid(), node.mode() & 0o7777));
    let slave = match (is_closed, is_open) {
        (true, _) => Slave::Closed,
        (false, true) => Slave::Open,
        (false, false) => Slave::Fresh,
    };
    Ok(Pair {
        settings: Settings::of(&master)?,
        slave: slave.into(),
        locked,
        packets,
        exclusive,
        uid,
        gid,
        mode,
        unread,
    })
}

impl Settings {
    /// Those of a terminal.
    pub(in super::super) fn of(fd: &OwnedFd) -> Kernel<Self> {
        let size = rustix::termios::tcgetwinsize(fd)?;
        Ok(Self {
            modes: tty::settings(fd)?.to_vec(),
            rows: size.ws_row.into(),
            columns: size.ws_col.into(),
            width: size.ws_xpixel.into(),
            height: size.ws_ypixel.into(),
        })
    }

    /// As the kernel has them.
    pub fn modes(&self) -> Option<[u8; SETTINGS_LEN]> {
        self.modes.as_slice().try_into().ok()
    }

    /// Sets the size, as the emulator of a terminal does.
    pub(super) fn set_size(&self, fd: impl AsFd) -> Kernel<()> {
        let size = rustix::termios::Winsize {
            ws_row: self.rows as u16,
            ws_col: self.columns as u16,
            ws_xpixel: self.width as u16,
            ws_ypixel: self.height as u16,
        };
        rustix::termios::tcsetwinsize(fd, size)
    }

    pub(in super::super) fn is_sane(&self) -> bool {
        let sizes = [self.rows, self.columns, self.width, self.height];
        self.modes().is_some() && sizes.into_iter().all(|size| u16::try_from(size).is_ok())
    }
}

impl Pair {
    pub(super) fn is_sane(&self) -> bool {
        let input: usize = self.unread.input.iter().map(|piece| piece.bytes.len() + 1).sum();
        self.settings.is_sane()
            && self.unread.output.len() <= HELD_MAX
            && input <= HELD_MAX
            && self.mode <= 0o7777
    }
}
