//! What only a connection's repair mode tells: its sequence numbers, what is in its queues, its window (`TCP_REPAIR`,
//! linux/tcp.h).
//!
//! A connection in repair mode is of no use to its program, and the kernel does not leave that mode when we die. So it is
//! entered for the instant of reading only, a few microseconds, and that in a process of its own which goes on to the end when
//! we are killed ([`rekindle_sys::apart`]). If that one dies instead, we leave the mode for it. Only a blow that hits both at the
//! same instant could harm the program. (Without repair mode the kernel gives out neither sequence numbers nor what was sent.)
//!
//! ```text
//! on ── queue: sent ── its end, what is in it ── queue: received ── its end, what is in it, its end again ── window, sizes
//!    ── off, without the probe that others would see ── SO_REUSEADDR as it was (leaving the mode clears it)
//! ```
//!
//! While the queue `sent` is chosen, new data are taken for sent without having been; they would be sent again when their time is
//! up. So it is left at once.

use rekindle_sys::Errno;
use rekindle_sys::socket::{get_int, get_option, peek_stream, set_option};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) const SOL_TCP: i32 = 6;
const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;

// Options of TCP (linux/tcp.h).
const TCP_MAXSEG: i32 = 2;
const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_REPAIR_OPTIONS: i32 = 22;
const TCP_TIMESTAMP: i32 = 24;
const TCP_REPAIR_WINDOW: i32 = 29;

/// `TCP_REPAIR_*`: the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// On.
    On = 1,
    /// Off, and the other end is asked for its window.
    OffWithProbe = 0,
    /// Off, and nobody sees it.
    Off = -1,
}

/// The queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// What has come in.
    Received = 1,
    /// What goes out.
    Sent = 2,
}

/// The length of `struct tcp_repair_window`.
pub(super) const WINDOW: usize = 20;

/// A connection to be read.
pub(super) struct Reading {
    socket: OwnedFd,
    reuse: i32,
    /// What goes out, from the first that was not acknowledged to the last that the program has sent.
    pub sent: Vec<u8>,
    /// What has come in, and was not read yet.
    pub received: Vec<u8>,
    /// The numbers.
    pub state: State,
    result: Result<(), Errno>,
    is_on: bool,
}

/// The numbers that repair mode tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The number of the next byte to be sent, behind all that is queued.
    pub send_end: u32,
    /// The number of the next byte that is expected.
    pub receive_end: u32,
    /// `struct tcp_repair_window`
    pub window: [u8; WINDOW],
    /// The longest segment that the other end takes, in bytes.
    pub mss: u32,
    /// The clock of its time stamps.
    pub timestamp: u32,
    /// How many bytes of the buffers are filled.
    sent: usize,
    received: usize,
}

impl Reading {
    /// A connection that is not read yet.
    pub(super) fn of(socket: OwnedFd) -> Result<Self, Errno> {
        let reuse = get_int(&socket, SOL_SOCKET, SO_REUSEADDR)?;
        let (state, sent, received) = (State::default(), Vec::new(), Vec::new());
        Ok(Self { socket, reuse, sent, received, state, result: Ok(()), is_on: false })
    }

    /// Makes room for what it has queued now, and some more: reading allocates nothing.
    pub(super) fn make_room(&mut self) -> Result<(), Errno> {
        const SIOCINQ: u32 = 0x541b;
        const SIOCOUTQ: u32 = 0x5411;
        // More may come in until it is read, while nothing more goes out.
        const ROOM: usize = 1 << 18;
        let queued =
            |request| rekindle_sys::socket::ioctl_int(&self.socket, request).map(|n| n.max(0) as usize);
        let (sent, received) = (queued(SIOCOUTQ)?, queued(SIOCINQ)?);
        self.sent = vec![0; sent + 1];
        self.received = vec![0; received + ROOM];
        self.result = Ok(());
        Ok(())
    }

    /// The connection.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The connection, read.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    fn read(&mut self) {
        self.result = self.read_in_repair();
        if set_mode(&self.socket, Mode::Off).is_ok() {
            self.is_on = false;
        }
        let _ = set_option(&self.socket, SOL_SOCKET, SO_REUSEADDR, &self.reuse.to_ne_bytes());
    }

    fn read_in_repair(&mut self) -> Result<(), Errno> {
        let Self { socket, sent, received, state, is_on, .. } = self;
        let number = |option| get_int(&*socket, SOL_TCP, option).map(i32::cast_unsigned);
        set_mode(&*socket, Mode::On)?;
        *is_on = true;
        choose(&*socket, Queue::Sent)?;
        state.send_end = number(TCP_QUEUE_SEQ)?;
        let found = peek_stream(&*socket, sent);
        choose(&*socket, Queue::Received)?;
        state.sent = none_is_nothing(found)?;
        // A packet may come in between; then it is read once more.
        for _ in 0..1000 {
            state.receive_end = number(TCP_QUEUE_SEQ)?;
            state.received = none_is_nothing(peek_stream(&*socket, received))?;
            get_option(&*socket, SOL_TCP, TCP_REPAIR_WINDOW, &mut state.window)?;
            if number(TCP_QUEUE_SEQ)? == state.receive_end {
                break;
            }
        }
        state.mss = number(TCP_MAXSEG)?;
        state.timestamp = number(TCP_TIMESTAMP)?;
        Ok(())
    }
}

/// Reads connections. The whole fails with the first that cannot be read; none is left in repair mode.
pub(super) fn read(all: &mut [Reading]) -> Result<(), Errno> {
    let done = rekindle_sys::apart::run(|| {
        for reading in &mut *all {
            reading.is_on = true;
            reading.read();
        }
    });
    for reading in &mut *all {
        if reading.is_on {
            // Whoever read it has died on the way, or could not read it at all.
            let _ = set_mode(&reading.socket, Mode::Off);
            let _ = set_option(&reading.socket, SOL_SOCKET, SO_REUSEADDR, &reading.reuse.to_ne_bytes());
            reading.result = reading.result.and(Err(Errno::INTR));
        }
    }
    done?;
    for reading in all {
        reading.result?;
        let State { sent, received, .. } = reading.state;
        if sent == reading.sent.len() || received == reading.received.len() {
            return Err(Errno::AGAIN);
        }
        reading.sent.truncate(sent);
        reading.received.truncate(received);
    }
    Ok(())
}

fn none_is_nothing(found: Result<usize, Errno>) -> Result<usize, Errno> {
    match found {
        Err(Errno::AGAIN) => Ok(0),
        other => other,
    }
}

/// Enters or leaves repair mode. `EPERM` without `CAP_NET_ADMIN`.
pub(super) fn set_mode(socket: impl AsFd, mode: Mode) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_REPAIR, &(mode as i32).to_ne_bytes())
}

/// Chooses the queue that the calls after it are about.
pub(super) fn choose(socket: impl AsFd, queue: Queue) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_REPAIR_QUEUE, &(queue as i32).to_ne_bytes())
}

/// Sets the number of the next byte of the chosen queue; of one that is not connected.
pub(super) fn set_sequence(socket: impl AsFd, number: u32) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_QUEUE_SEQ, &number.to_ne_bytes())
}

/// Sets the longest segment, in bytes; 0 for the one that is agreed on.
pub(super) fn set_segment(socket: impl AsFd, size: u32) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_MAXSEG, &size.to_ne_bytes())
}

/// Sets the windows of both directions (`struct tcp_repair_window`).
pub(super) fn set_window(socket: impl AsFd, window: &[u8]) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_REPAIR_WINDOW, window)
}

/// Sets the clock of its time stamps.
pub(super) fn set_timestamp(socket: impl AsFd, value: u32) -> Result<(), Errno> {
    set_option(socket, SOL_TCP, TCP_TIMESTAMP, &value.to_ne_bytes())
}

/// Sets what was agreed on when it was connected: pairs of an option's number and its value (`struct tcp_repair_opt`).
pub(super) fn set_agreements(socket: impl AsFd, options: &[(u32, u32)]) -> Result<(), Errno> {
    let bytes: Vec<u8> = options
        .iter()
        .flat_map(|(code, value)| [code.to_ne_bytes(), value.to_ne_bytes()])
        .flatten()
        .collect();
    set_option(socket, SOL_TCP, TCP_REPAIR_OPTIONS, &bytes)
}
