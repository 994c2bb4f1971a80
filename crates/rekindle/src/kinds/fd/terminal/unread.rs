//! What is on its way through a pseudo-terminal: what the master has not read, and what the slave has not.
//!
//! A terminal gives what is in it only to somebody who takes it. So it is taken, and put back at once, the same bytes in
//! the same order, lines as lines:
//!
//! ```text
//! master <── output ── slave       read; TIOCSTI on the master, the rest written to the slave without processing
//! master ── input ──> slave        lines read one by one, then the line that is not complete yet; TIOCSTI on the slave
//! ```
//!
//! `TIOCSTI` puts a byte into the buffer of an end before it returns, however the other end is; a write would be
//! processed some time later by a worker of the kernel, perhaps with the settings that the program had, and be echoed.
//!
//! In the time between, the bytes are nowhere but with us. A forked helper of its own does it, which holds out when the
//! supervisor is killed: the program finds all as it was.

use super::record::{Piece, PieceEnd, Unread};
use rekindle_sys::library::fork_helper;
use rekindle_sys::tty::{self, Ask, SETTINGS_LEN};
use rekindle_sys::wait::wait_child;
use rekindle_sys::{Errno, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::time::Timespec;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

/// Both ends, as we hold them.
pub(super) struct Ends<'a> {
    /// The master: the program's own description, which we must not change.
    pub(super) master: &'a OwnedFd,
    /// A description of our own of the slave, if it may be opened, that does not block.
    pub(super) slave: Option<&'a OwnedFd>,
    /// The settings.
    pub(super) modes: [u8; SETTINGS_LEN],
    /// Whether the master is in packet mode.
    pub(super) packets: bool,
}

/// More than a pseudo-terminal holds in one direction: 4 KiB in the line discipline, 8 KiB and a bit before it.
pub(super) const HELD_MAX: usize = 1 << 16;

/// What a line discipline takes (`N_TTY_BUF_SIZE`, less one).
const DISCIPLINE_MAX: usize = 4095;

// The words of `struct termios2`, and places in its `c_cc` (asm-generic/termbits.h).
const IFLAG: usize = 0;
const OFLAG: usize = 4;
const LFLAG: usize = 12;
const CHARACTERS: usize = 17;
const VEOF: usize = 4;
const VSTART: usize = 8;
const VSTOP: usize = 9;
const VEOL: usize = 11;
const VLNEXT: usize = 15;
const VEOL2: usize = 16;

const IXON: u32 = 0o2000;
const OPOST: u32 = 1;
const ICANON: u32 = 2;
const IEXTEN: u32 = 0o100_000;
const EXTPROC: u32 = 0o200_000;

const LITERAL_NEXT: u8 = 22;
const END_OF_FILE: u8 = 4;

/// Whether we may use `TIOCSTI` on a terminal that is not our own.
pub(super) fn may_feed() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Copies what is in both directions. Nothing is touched if nothing can be there.
pub(super) fn copy(ends: &Ends<'_>) -> Result<Unread> {
    if !may_feed() {
        // What could not be put back must not be taken. That there is nothing has been seen, but for a line that is not
        // complete yet.
        return Ok(Unread { stopped: ends.is_stopped(), ..Unread::default() });
    }
    let has_output = is_readable(ends.master)?;
    // Whether there is a line that is not complete yet, the kernel does not tell.
    let may_have_input = match ends.slave {
        Some(slave) => ends.is_by_lines() || is_readable(slave)?,
        None => false,
    };
    if !has_output && !may_have_input {
        return Ok(Unread { stopped: ends.is_stopped(), ..Unread::default() });
    }
    let (from_helper, to_us) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let helper = fork_helper(|| match take_and_put_back(ends) {
        Ok(unread) => {
            let bytes = prost::Message::encode_to_vec(&unread);
            u8::from(
                File::from(to_us.try_clone().unwrap_or_else(|_| std::process::abort()))
                    .write_all(&bytes)
                    .is_err(),
            )
        }
        Err(errno) => errno.raw_os_error() as u8,
    })?;
    drop(to_us);
    let mut bytes = Vec::new();
    let read = File::from(from_helper).read_to_end(&mut bytes);
    // Whoever reaps all children of this process may have been faster; the bytes tell.
    match wait_child(helper) {
        Ok(rekindle_sys::wait::Event::Exited(code)) if code != 0 => {
            return Err(Errno::from_raw_os_error(code));
        }
        _ => {}
    }
    read.map_err(|_| Errno::IO)?;
    prost::Message::decode(bytes.as_slice()).map_err(|_| Errno::IO)
}

/// Lets helpers work one after the other: that of a supervisor that was killed may still be at it, and settings are what it
/// needs then. It has the lock as long as it is there, as it was born with the description.
pub(super) fn turn() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::open("/dev/pts", flags, rustix::fs::Mode::empty())?;
    for _ in 0..PATIENCE_MS {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(1)),
            result => return result.map(|()| lock),
        }
    }
    Err(Errno::TIMEDOUT)
}

/// How long others may take to be done with what takes them a millisecond.
const PATIENCE_MS: u32 = 2000;

/// In the helper, which nothing but its own end keeps from coming to the end of this.
fn take_and_put_back(ends: &Ends<'_>) -> Result<Unread> {
    let output = ends.take_output();
    let input = ends.take_input();
    let unread = Unread {
        output: output.clone().unwrap_or_default(),
        input: input.clone().unwrap_or_default(),
        stopped: ends.is_stopped(),
    };
    // All of it, whatever fails.
    let put = [ends.put_output(&unread.output), ends.put_input(&unread.input)];
    let set = tty::set_settings(ends.master, &ends.modes);
    output?;
    input?;
    put.into_iter().chain([set]).collect::<Result<()>>()?;
    Ok(unread)
}

impl Ends<'_> {
    fn word(&self, at: usize) -> u32 {
        self.modes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word))
    }

    fn character(&self, place: usize) -> u8 {
        self.modes.get(CHARACTERS + place).copied().unwrap_or(0)
    }

    /// Whether input is given line by line.
    fn is_by_lines(&self) -> bool {
        self.word(LFLAG) & (ICANON | EXTPROC) == ICANON
    }

    /// Whether Ctrl-S holds output back: then there is no room for more though nothing is in the way.
    fn is_stopped(&self) -> bool {
        let unread = tty::ask(self.master, Ask::Unread).unwrap_or(i32::MAX);
        let is_full = usize::try_from(unread).is_ok_and(|unread| unread >= DISCIPLINE_MAX);
        self.slave.is_some_and(|slave| !is_full && ready(slave, PollFlags::OUT).is_ok_and(|ready| !ready))
    }

    /// The settings with some words and characters changed.
    fn modes_with(&self, words: &[(usize, u32)], characters: &[(usize, u8)]) -> [u8; SETTINGS_LEN] {
        let mut modes = self.modes;
        for (at, word) in words {
            modes[*at..*at + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (place, character) in characters {
            modes[CHARACTERS + place] = *character;
        }
        modes
    }

    fn take_output(&self) -> Result<Vec<u8>> {
        let mut output = Vec::with_capacity(HELD_MAX);
        while is_readable(self.master)? && output.len() < HELD_MAX {
            // Its description is the program's, and may block: no more is asked for than there is.
            let there = tty::ask(self.master, Ask::Unread)?.max(0) as usize;
            if there == 0 {
                break; // nothing but the news that the other end is closed
            }
            let mut bytes = vec![0; there + usize::from(self.packets)];
            let count = rustix::io::read(self.master, &mut bytes)?;
            let data = bytes.get(usize::from(self.packets)..count).unwrap_or_default();
            output.extend_from_slice(data);
        }
        Ok(output)
    }

    /// The rest beyond what the line discipline takes goes where it was: before it.
    fn put_output(&self, output: &[u8]) -> Result<()> {
        let (first, rest) = output.split_at(output.len().min(DISCIPLINE_MAX));
        for byte in first {
            tty::feed(self.master, *byte)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let passing;
        let slave = match self.slave {
            Some(slave) => slave,
            None => {
                passing = open_slave(self.master)?;
                &passing
            }
        };
        tty::set_settings(self.master, &self.modes_with(&[(OFLAG, self.word(OFLAG) & !OPOST)], &[]))?;
        let (mut left, mut patience) = (rest, PATIENCE_MS);
        while !left.is_empty() {
            let count = match rustix::io::write(slave, left) {
                // What has been read is given free by a worker of the kernel.
                Err(Errno::AGAIN) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                result => result?,
            };
            left = left.get(count..).unwrap_or_default();
        }
        tty::set_settings(self.master, &self.modes)
    }

    fn take_input(&self) -> Result<Vec<Piece>> {
        let Some(slave) = self.slave else { return Ok(Vec::new()) };
        let mut input: Vec<Piece> = Vec::new();
        let mut bytes = [0; 4096];
        let mut total = 0;
        while self.is_by_lines() && total < HELD_MAX {
            let line = match rustix::io::read(slave, &mut bytes) {
                Ok(count) => bytes.get(..count).unwrap_or_default(),
                Err(_) => break,
            };
            let ends_here = line.last().is_some_and(|last| self.ends_line(*last));
            let end = if ends_here { PieceEnd::Line } else { PieceEnd::EndOfFile };
            input.push(Piece { bytes: line.to_vec(), end: end.into() });
            total += line.len() + 1;
        }
        if self.is_by_lines() {
            let modes = self.modes_with(&[(LFLAG, self.word(LFLAG) & !ICANON)], &[]);
            tty::set_settings(self.master, &modes)?;
        }
        let mut rest = Vec::with_capacity(HELD_MAX);
        while rest.len() < HELD_MAX {
            match rustix::io::read(slave, &mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => rest.extend_from_slice(&bytes[..count]),
            }
        }
        if !rest.is_empty() {
            input.push(Piece { bytes: rest, end: PieceEnd::Open.into() });
        }
        Ok(input)
    }

    /// With all processing off, but for what is needed to end lines.
    fn put_input(&self, input: &[Piece]) -> Result<()> {
        let Some(slave) = self.slave.filter(|_| self.is_by_lines() || !input.is_empty()) else {
            return Ok(());
        };
        // Turned off, it would let output go on that Ctrl-S holds back.
        let flow = self.word(IFLAG) & IXON;
        let flags = if self.is_by_lines() { ICANON | IEXTEN } else { 0 };
        let mut characters: Vec<(usize, u8)> = (0..19).map(|place| (place, 0)).collect();
        let kept = if self.packets { [VSTART, VSTOP].as_slice() } else { &[] }; // a change would be told to the master
        for place in [VEOL, VEOL2].iter().chain(kept) {
            characters[*place].1 = self.character(*place);
        }
        characters[VEOF].1 = END_OF_FILE;
        characters[VLNEXT].1 = LITERAL_NEXT;
        tty::set_settings(self.master, &self.modes_with(&[(IFLAG, flow), (LFLAG, flags)], &characters))?;
        for piece in input {
            let is_line = piece.end() == PieceEnd::Line;
            let literal = piece.bytes.len() - usize::from(is_line);
            for (at, byte) in piece.bytes.iter().enumerate() {
                if at < literal && self.is_by_lines() && self.needs_quoting(*byte) {
                    tty::feed(slave, LITERAL_NEXT)?;
                }
                tty::feed(slave, *byte)?;
            }
            if piece.end() == PieceEnd::EndOfFile {
                tty::feed(slave, END_OF_FILE)?;
            }
        }
        tty::set_settings(self.master, &self.modes)
    }

    fn ends_line(&self, byte: u8) -> bool {
        let others = [VEOL, VEOL2].map(|place| self.character(place));
        byte == b'\n' || (byte != 0 && others.contains(&byte))
    }

    fn needs_quoting(&self, byte: u8) -> bool {
        let flow = [VSTART, VSTOP].map(|place| self.character(place));
        self.ends_line(byte) || [LITERAL_NEXT, END_OF_FILE].contains(&byte) || flow.contains(&byte)
    }

    /// Puts into a pair that was just made what was on its way.
    pub(super) fn fill(&self, unread: &Unread) -> Result<()> {
        self.put_output(&unread.output)?;
        self.put_input(&unread.input)?;
        match self.slave.filter(|_| unread.stopped) {
            Some(slave) => self.stop(slave),
            None => Ok(()),
        }
    }

    /// Ctrl-S where the terminal heeds it, so that Ctrl-Q lets output go on; else as the program did it (tcflow(3)).
    fn stop(&self, slave: &OwnedFd) -> Result<()> {
        if self.word(IFLAG) & IXON == 0 {
            return rustix::termios::tcflow(slave, rustix::termios::Action::OOff);
        }
        const CTRL_S: u8 = 19;
        tty::set_settings(self.master, &self.modes_with(&[], &[(VSTOP, CTRL_S)]))?;
        tty::feed(slave, CTRL_S)?;
        tty::set_settings(self.master, &self.modes)
    }
}

/// A description of our own of the slave of a pseudo-terminal.
pub(super) fn open_slave(master: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    tty::open_peer(master, flags.bits() as i32)
}

/// Whether there is something to read, once the kernel has put it where it is read from.
fn is_readable(end: &OwnedFd) -> Result<bool> {
    ready(end, PollFlags::IN)
}

fn ready(end: &OwnedFd, what: PollFlags) -> Result<bool> {
    Ok(state(end, what)?.contains(what))
}

/// What poll(2) says of an end, at once.
pub(super) fn state(end: impl AsFd, what: PollFlags) -> Result<PollFlags> {
    let mut polled = [PollFd::new(&end, what)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents())
}
