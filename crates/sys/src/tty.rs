//! Terminals: the requests of ioctl_tty(2) that `rustix` lacks, or has only with flags that it knows.

use crate::{Result, check};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Requests that a batch makes, by the names of ioctl_tty(2) (asm-generic/ioctls.h).
pub mod request {
    #![expect(missing_docs, reason = "the names are those of ioctl_tty(2)")]
    pub const TIOCSCTTY: u32 = 0x540e;
    pub const TIOCSPGRP: u32 = 0x5410;
    pub const TIOCNOTTY: u32 = 0x5422;
}

/// `struct termios2` (asm-generic/termbits.h): four words of flags, the line discipline, 19 characters, two speeds.
pub const SETTINGS_LEN: usize = 44;

/// `TCGETS2`: the settings of a terminal; of the other end for the master of a pseudo-terminal.
pub fn settings(fd: impl AsFd) -> Result<[u8; SETTINGS_LEN]> {
    const TCGETS2: libc::Ioctl = 0x802c_542a;
    let mut settings = [0; SETTINGS_LEN];
    // SAFETY: the kernel writes a `struct termios2`, for which there is room.
    check(unsafe { libc::ioctl(raw(&fd), TCGETS2, settings.as_mut_ptr()) }.into())?;
    Ok(settings)
}

/// `TCSETS2`: sets them at once, whatever is unread or unwritten.
pub fn set_settings(fd: impl AsFd, settings: &[u8; SETTINGS_LEN]) -> Result<()> {
    const TCSETS2: libc::Ioctl = 0x402c_542b;
    // SAFETY: the kernel reads a `struct termios2`, which is there.
    check(unsafe { libc::ioctl(raw(&fd), TCSETS2, settings.as_ptr()) }.into()).map(drop)
}

/// A number that a terminal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ask {
    /// `FIONREAD`: how many bytes can be read at once.
    Unread = 0x541b,
    /// `TIOCGETD`: its line discipline; 0 is `N_TTY`.
    Discipline = 0x5424,
    /// `TIOCGPTN`: the index of a master.
    Index = 0x8004_5430,
    /// `TIOCGDEV`: the device that it is, also through /dev/tty.
    Device = 0x8004_5432,
    /// `TIOCGPKT`: whether a master is in packet mode.
    Packets = 0x8004_5438,
    /// `TIOCGPTLCK`: whether the slave cannot be opened yet.
    Locked = 0x8004_5439,
    /// `TIOCGEXCL`: whether it cannot be opened again.
    Exclusive = 0x8004_5440,
}

/// Asks for it.
pub fn ask(fd: impl AsFd, what: Ask) -> Result<i32> {
    let mut value = 0_i32;
    // SAFETY: each of these requests makes the kernel write one `int`.
    check(unsafe { libc::ioctl(raw(&fd), what as libc::Ioctl, &raw mut value) }.into())?;
    Ok(value)
}

/// A number that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tell {
    /// `TIOCPKT`: packet mode of a master, 1 or 0.
    Packets = 0x5420,
    /// `TIOCSPTLCK`: 1 locks the slave, 0 lets it be opened.
    Locked = 0x4004_5431,
}

/// Sets it.
pub fn tell(fd: impl AsFd, what: Tell, value: i32) -> Result<()> {
    // SAFETY: each of these requests makes the kernel read one `int`.
    check(unsafe { libc::ioctl(raw(&fd), what as libc::Ioctl, &raw const value) }.into()).map(drop)
}

/// `TIOCEXCL`: it cannot be opened again.
pub fn make_exclusive(fd: impl AsFd) -> Result<()> {
    // SAFETY: the request has no argument.
    check(unsafe { libc::ioctl(raw(&fd), libc::TIOCEXCL) }.into()).map(drop)
}

/// `TIOCSTI`: puts a byte behind what can be read from this end, through its line discipline, at once. On any terminal
/// but one's own this needs CAP_SYS_ADMIN.
pub fn feed(fd: impl AsFd, byte: u8) -> Result<()> {
    // SAFETY: the kernel reads one byte.
    check(unsafe { libc::ioctl(raw(&fd), libc::TIOCSTI, &raw const byte) }.into()).map(drop)
}

/// `TIOCGPTPEER`: opens the slave of a master, wherever its name is (Linux 4.13).
pub fn open_peer(master: impl AsFd, flags: i32) -> Result<OwnedFd> {
    const TIOCGPTPEER: libc::Ioctl = 0x5441;
    // SAFETY: the argument is a number.
    let fd = check(unsafe { libc::ioctl(raw(&master), TIOCGPTPEER, flags) }.into())?;
    // SAFETY: it was just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Hangs up everybody who has a terminal open (vhangup(2)), in a session that this process makes for it: to be called in
/// a helper that ends with it. Needs CAP_SYS_TTY_CONFIG.
pub fn hang_up_in_session(fd: impl AsFd) -> Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }.into())?;
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(raw(&fd), libc::TIOCSCTTY, 0) }.into())?;
    // SAFETY: no arguments.
    check(unsafe { libc::vhangup() }.into()).map(drop)
}

fn raw(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}
