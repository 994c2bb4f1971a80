//! A TCP connection in the image, and how it comes back (tcp(7), linux/tcp.h: `TCP_REPAIR`).
//!
//! ```text
//! socket ── owner ── options ── repair on ── numbers ── bind ── connect, which sends nothing ── what was agreed on ── clock
//!   ── queues ── windows      [ all connections of the image are at this point, and the network is unlocked ]
//!   ── repair off ── what was not sent yet ── last options ── FIN
//! ```
//!
//! It is made in our own process: the processes fetch it from there, and it stays in repair mode, in which it can vanish
//! without a trace, until all of them are complete. A connection that was being closed is made open, and closed again at
//! the end. Our own FIN goes out once more with the number that it had, and the network does the rest; the other end's comes
//! from there if that is in the image, too, and else is put before our socket as a packet (`packet.rs`), as the other end
//! has sent it, was told so, and will not do it again.

use super::options::{self, When};
use super::record::{Address, Record};
use super::repair::{self, Mode, Queue, State};
use super::{TcpInfo, fresh_with};
use crate::error::Error;
use rekindle_sys::Errno;
use rekindle_sys::socket::{bind, connect, set_option};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{SendFlags, Shutdown, SocketFlags, send, shutdown};

/// What is particular to a connection. Numbers are those of bytes, as in the packets.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Stream {
    /// The number of the first byte that was not acknowledged.
    #[prost(uint32, tag = "1")]
    pub send_start: u32,
    /// How many bytes were sent and not acknowledged.
    #[prost(uint32, tag = "2")]
    pub sent: u32,
    /// How many bytes wait to be sent for the first time.
    #[prost(uint32, tag = "3")]
    pub unsent: u32,
    /// The number of the first byte that was not read.
    #[prost(uint32, tag = "4")]
    pub receive_start: u32,
    /// How many bytes were received and not read.
    #[prost(uint32, tag = "5")]
    pub received: u32,
    /// The longest segment that the other end takes, in bytes.
    #[prost(uint32, tag = "6")]
    pub mss: u32,
    /// What was agreed on: `tcpi_options` of `TCP_INFO`.
    #[prost(uint32, tag = "7")]
    pub agreed: u32,
    /// By how many bits the other end's windows are scaled.
    #[prost(uint32, tag = "8")]
    pub send_scale: u32,
    /// By how many bits ours are.
    #[prost(uint32, tag = "9")]
    pub receive_scale: u32,
    /// The clock of its time stamps (`TCP_TIMESTAMP`).
    #[prost(uint32, tag = "10")]
    pub timestamp: u32,
    /// `struct tcp_repair_window`
    #[prost(bytes = "vec", tag = "11")]
    pub window: Vec<u8>,
}

/// What is in a connection's queues, a part of it: records have a limit. Or a datagram that nobody has received yet.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Part {
    /// The description.
    #[prost(uint32, tag = "1")]
    pub description: u32,
    /// What was received and not read.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub received: Vec<u8>,
    /// What was sent and not acknowledged, and behind that what was not sent.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(serialize_with = "crate::json::size")]
    pub sent: Vec<u8>,
    /// Who has sent it, for a datagram: what was received is the whole of it.
    #[prost(message, optional, tag = "4")]
    pub source: Option<Address>,
}

// States of TCP (net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const FIN_WAIT1: u32 = 4;
const FIN_WAIT2: u32 = 5;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const CLOSING: u32 = 11;

/// The states of a connection that can be captured.
pub(super) const STATES: [u32; 6] = [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING];

/// Whether our FIN was sent (or waits to be) in a state.
pub(super) fn has_ended(state: u32) -> bool {
    matches!(state, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING)
}

/// Whether the other end's FIN has come in a state.
pub(super) fn was_ended(state: u32) -> bool {
    matches!(state, CLOSE_WAIT | LAST_ACK | CLOSING)
}

/// The most that a queue may hold, in bytes: more than the kernel lets a buffer grow to.
const QUEUE_MAX: u32 = 1 << 30;

// `tcpi_options` (linux/tcp.h).
const TIMESTAMPS: u32 = 1;
const SACK: u32 = 2;
const SCALED: u32 = 4;

impl Stream {
    /// From what repair mode told.
    pub(super) fn of(state: &State, info: &TcpInfo, sent: usize, unsent: u32, received: usize) -> Self {
        // A FIN has a number of its own, behind the data.
        let fins = (u32::from(has_ended(info.state)), u32::from(was_ended(info.state)));
        let send_end = state.send_end.wrapping_sub(fins.0);
        let receive_end = state.receive_end.wrapping_sub(fins.1);
        let (sent, received) = (sent as u32, received as u32);
        // A FIN that was not sent yet is counted with the data before it.
        let unsent = unsent.saturating_sub(fins.0).min(sent);
        Self {
            send_start: send_end.wrapping_sub(sent),
            sent: sent - unsent,
            unsent,
            receive_start: receive_end.wrapping_sub(received),
            received,
            mss: state.mss,
            agreed: info.options,
            send_scale: info.send_scale,
            receive_scale: info.receive_scale,
            timestamp: state.timestamp,
            window: state.window.to_vec(),
        }
    }

    /// The number behind the last byte that was received.
    pub(super) fn receive_end(&self) -> u32 {
        self.receive_start.wrapping_add(self.received)
    }

    /// The number behind the last byte that has gone out.
    pub(super) fn sent_end(&self) -> u32 {
        self.send_start.wrapping_add(self.sent)
    }

    /// Refuses what no checkpoint writes.
    pub(super) fn check(&self) -> Result<(), String> {
        let sizes = [self.sent, self.unsent, self.received];
        let sane = sizes.iter().all(|size| *size <= QUEUE_MAX)
            && self.window.len() == repair::WINDOW
            && self.mss <= 0xffff
            && self.send_scale <= 14
            && self.receive_scale <= 14;
        if sane { Ok(()) } else { Err("the numbers of its connection make no sense".into()) }
    }
}

/// A connection that was made again, still in repair mode.
pub(super) struct Revived<'a> {
    /// Its description.
    pub id: u32,
    record: &'a Record,
    pub(super) stream: &'a Stream,
    socket: OwnedFd,
    /// What was not sent yet.
    unsent: Vec<u8>,
}

impl<'a> Revived<'a> {
    /// Makes it, up to where only the network is missing. `parts` are those of its description, in order.
    pub(super) fn make(
        id: u32,
        record: &'a Record,
        stream: &'a Stream,
        parts: &[&Part],
    ) -> Result<Self, Error> {
        let (received, sent) = join(parts);
        if received.len() != stream.received as usize
            || sent.len() as u64 != u64::from(stream.sent) + u64::from(stream.unsent)
        {
            return Err(Error::Nonsense(format!("the queues of description {id} are not whole")));
        }
        let (sent, unsent) = sent.split_at(stream.sent as usize);
        let socket = build(record, stream, &received, sent)?;
        Ok(Self { id, record, stream, socket, unsent: unsent.to_vec() })
    }

    /// The socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What it was made from.
    pub(super) fn record(&self) -> &'a Record {
        self.record
    }

    /// Leaves repair mode: from here on it is alive, and the other end hears of it.
    pub(super) fn go_on(&self) -> Result<(), Error> {
        let failed =
            |errno| Error::call(format!("letting the connection {} go on", self.record.title()), errno);
        repair::set_mode(&self.socket, Mode::OffWithProbe).map_err(failed)
    }

    /// What was not sent yet goes out, then a FIN if there was one. Sizes and options are those of the program again.
    pub(super) fn complete(&self) -> Result<(), Error> {
        let failed = |errno| Error::call(format!("completing the connection {}", self.record.title()), errno);
        self.send_rest().map_err(failed)?;
        let records = &self.record.options;
        options::apply(&self.socket, records, When::Settled).map_err(failed)?;
        options::apply_sizes(&self.socket, records).map_err(failed)?;
        options::apply_reuse(&self.socket, records).map_err(failed)?;
        if has_ended(self.record.state) {
            shutdown(&self.socket, Shutdown::Write).map_err(failed)?;
        }
        Ok(())
    }

    fn send_rest(&self) -> Result<(), Errno> {
        let mut rest = self.unsent.as_slice();
        while !rest.is_empty() {
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                // It was closed by the other end meanwhile: the program finds out as it would have.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn join(parts: &[&Part]) -> (Vec<u8>, Vec<u8>) {
    let received = parts.iter().map(|part| part.received.as_slice()).collect::<Vec<_>>().concat();
    (received, parts.iter().map(|part| part.sent.as_slice()).collect::<Vec<_>>().concat())
}

fn build(record: &Record, stream: &Stream, received: &[u8], sent: &[u8]) -> Result<OwnedFd, Error> {
    let failed = |doing: &'static str| {
        move |errno: Errno| Error::call(format!("{doing} the connection {}", record.title()), errno)
    };
    // It must not be non-blocking while its queues are filled.
    let socket = fresh_with(record.family, record.socket_type, record.protocol, SocketFlags::CLOEXEC)
        .map_err(failed("making"))?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(record.uid), rustix::fs::Gid::from_raw(record.gid));
    rustix::fs::fchown(&socket, Some(uid), Some(gid)).map_err(failed("giving its owner to"))?;
    options::apply(&socket, &record.options, When::Fresh).map_err(failed("setting options of"))?;
    make_room(&socket, received.len(), sent.len() + stream.unsent as usize)
        .map_err(failed("making room in the queues of"))?;
    repair::set_mode(&socket, Mode::On).map_err(failed("repairing"))?;
    repair::choose(&socket, Queue::Sent).map_err(failed("numbering"))?;
    repair::set_sequence(&socket, stream.send_start).map_err(failed("numbering"))?;
    repair::choose(&socket, Queue::Received).map_err(failed("numbering"))?;
    repair::set_sequence(&socket, stream.receive_start).map_err(failed("numbering"))?;
    // Else segments are the smallest there are until the path changes: connecting computes their size from this.
    repair::set_segment(&socket, stream.mss.clamp(88, 32767)).map_err(failed("sizing the segments of"))?;
    if let (Some(local), Some(peer)) = (&record.local, &record.peer) {
        bind(&socket, &local.to_bytes()).map_err(failed("binding"))?;
        connect(&socket, &peer.to_bytes()).map_err(failed("connecting"))?;
    }
    repair::set_segment(&socket, 0).map_err(failed("sizing the segments of"))?;
    repair::set_agreements(&socket, &agreements(stream)).map_err(failed("setting what was agreed on by"))?;
    if stream.agreed & TIMESTAMPS != 0 {
        repair::set_timestamp(&socket, stream.timestamp).map_err(failed("setting the clock of"))?;
    }
    fill(&socket, Queue::Received, received).map_err(failed("filling the queue of"))?;
    fill(&socket, Queue::Sent, sent).map_err(failed("filling the queue of"))?;
    // With it chosen, nothing is sent.
    repair::choose(&socket, Queue::Received).map_err(failed("completing"))?;
    repair::set_window(&socket, &window(stream)).map_err(failed("setting the window of"))?;
    Ok(socket)
}

/// Lets the queues hold what they held: they are made smaller again afterwards, which takes nothing out of them. Without the
/// privilege to exceed the system's limit it may have to do.
fn make_room(socket: impl AsFd, received: usize, sent: usize) -> Result<(), Errno> {
    const SO_SNDBUFFORCE: i32 = 32;
    const SO_RCVBUFFORCE: i32 = 33;
    for (option, bytes) in [(SO_SNDBUFFORCE, sent), (SO_RCVBUFFORCE, received)] {
        // What holds the bytes needs room, too.
        let size = (bytes * 2 + (1 << 20)).min(i32::MAX as usize / 2) as i32;
        set_option(&socket, 1, option, &size.to_ne_bytes())?;
    }
    Ok(())
}

/// `TCPOPT_*` as `TCP_REPAIR_OPTIONS` takes them.
fn agreements(stream: &Stream) -> Vec<(u32, u32)> {
    const TCPOPT_MSS: u32 = 2;
    const TCPOPT_WINDOW: u32 = 3;
    const TCPOPT_SACK_PERM: u32 = 4;
    const TCPOPT_TIMESTAMP: u32 = 8;
    let mut agreed = vec![(TCPOPT_MSS, stream.mss)];
    if stream.agreed & SCALED != 0 {
        agreed.push((TCPOPT_WINDOW, stream.send_scale | stream.receive_scale << 16));
    }
    if stream.agreed & SACK != 0 {
        agreed.push((TCPOPT_SACK_PERM, 0));
    }
    if stream.agreed & TIMESTAMPS != 0 {
        agreed.push((TCPOPT_TIMESTAMP, 0));
    }
    agreed
}

/// Puts bytes into a queue, in pieces that the kernel takes.
fn fill(socket: impl AsFd, queue: Queue, mut bytes: &[u8]) -> Result<(), Errno> {
    const PIECE: usize = 1 << 15;
    repair::choose(&socket, queue)?;
    while !bytes.is_empty() {
        let count = send(&socket, &bytes[..bytes.len().min(PIECE)], SendFlags::empty())?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// The windows. Numbers of the receiving direction may lie behind the end of what was received: of one that has received a FIN,
/// which is still to come, and of one that has received segments behind a gap, which are sent again.
fn window(stream: &Stream) -> Vec<u8> {
    const SND_WL1: usize = 0;
    const RCV_WUP: usize = 16;
    let (mut window, end) = (stream.window.clone(), stream.receive_end());
    for at in [SND_WL1, RCV_WUP] {
        if let Some(bytes) = window.get_mut(at..at + 4) {
            let number = bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            if number.wrapping_sub(end).cast_signed() > 0 {
                bytes.copy_from_slice(&end.to_ne_bytes());
            }
        }
    }
    window
}
