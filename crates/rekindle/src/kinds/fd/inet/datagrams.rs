//! Datagrams of UDP and UDP-Lite that wait to be received, with their senders.
//!
//! ```text
//! checkpoint   looked at one after the other (unix/queue.rs)
//! restore      socket ── room ── bound to any free port ── a packet from each sender, through the loopback device ── unbound
//!              [ from here on as any other: options, bind, connect ]
//! ```
//!
//! At its free port nobody else sends it anything, and it is found whoever shares the port that it had. Leaving that takes
//! nothing out of the queue. What a packet tells beside its data and its sender (the interface, when it came, the type of
//! service, the address it was sent to, where the socket was bound to none) is that of our own.

use super::record::{Address, Record};
use super::stream::Part;
use super::{DATAGRAM, fresh_with, packet};
use crate::error::Error;
use crate::kinds::fd::unix::queue::peek_messages;
use crate::kinds::fd::{Capturing, Description};
use crate::refusal::Refusal;
use rekindle_sys::Errno;
use rekindle_sys::socket::{bind, connect, get_int, get_option, local_address, set_option};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const SOL_SOCKET: i32 = 1;
const SO_RCVBUF: i32 = 8;
const SO_RCVBUFFORCE: i32 = 33;
const SO_MEMINFO: i32 = 55;
const SO_BUF_LOCK: i32 = 72;
const SOL_IPV6: i32 = 41;
const IPV6_V6ONLY: i32 = 26;

/// What a datagram may hold to go through the loopback device in one piece, whose packets have 65536 bytes.
const DATAGRAM_MAX: usize = 65_536 - 48;

/// Keeps all datagrams of a socket.
pub(super) fn capture(socket: &OwnedFd, description: u32, cx: &mut Capturing<'_>) -> Result<(), Error> {
    let pid = cx.view.pid;
    let failed = |errno| Error::call(format!("looking at the datagrams of a socket of {pid}"), errno);
    for peeked in peek_messages(socket, false).map_err(failed)? {
        let Some(source) = Address::of(&peeked.message.address).filter(|source| source.scope == 0) else {
            return Err(refused(
                pid,
                "datagrams wait to be received from an address that is good on one link only",
            ));
        };
        if peeked.data.len() > DATAGRAM_MAX {
            return Err(refused(pid, "a datagram waits to be received that is too long to be sent again"));
        }
        cx.network.keep(Part { description, received: peeked.data, source: Some(source), ..Part::default() });
    }
    Ok(())
}

fn refused(pid: i32, why: &str) -> Error {
    Error::Refused(vec![Refusal {
        code: "datagrams",
        pid,
        subject: "a socket".into(),
        why: format!("{why}, which cannot be captured"),
        remedy: "try again in a moment".into(),
    }])
}

/// Makes all sockets that have datagrams waiting, not bound yet.
pub(super) fn fill_all(
    descriptions: &[Description],
    parts: &HashMap<u32, Vec<&Part>>,
) -> Result<Vec<(u32, OwnedFd)>, Error> {
    let mut all = Vec::new();
    for description in descriptions {
        let Some(record) = description.inet.as_ref().filter(|record| record.stream.is_none()) else {
            continue;
        };
        let Some(datagrams) = parts.get(&description.id) else { continue };
        let is_sane = |part: &&Part| {
            let fits = |source: &Address| source.fits(record.family);
            part.source.as_ref().is_some_and(fits)
                && part.received.len() <= DATAGRAM_MAX
                && part.sent.is_empty()
        };
        if record.socket_type != DATAGRAM || !datagrams.iter().all(is_sane) {
            return Err(Error::Nonsense(format!(
                "the datagrams of description {} make no sense",
                description.id
            )));
        }
        let failed =
            |errno| Error::call(format!("bringing the datagrams of a {} socket back", record.noun()), errno);
        all.push((description.id, fill(record, datagrams).map_err(failed)?));
    }
    Ok(all)
}

fn fill(record: &Record, datagrams: &[&Part]) -> Result<OwnedFd, Errno> {
    let socket = fresh_with(record.family, record.socket_type, record.protocol, SocketFlags::CLOEXEC)?;
    let usual = get_int(&socket, SOL_SOCKET, SO_RCVBUF)?;
    // What holds a datagram needs room, too.
    let room = datagrams.iter().map(|part| part.received.len() * 2 + 4096).sum::<usize>().min(1 << 29);
    set(&socket, (SOL_SOCKET, SO_RCVBUFFORCE), room as i32)?;
    let hears_all = IPv4Too::on(&socket, record.family)?;
    let any = any_of(record.family);
    bind(&socket, &any.to_bytes())?;
    let port = Address::of(&local_address(&socket)?).map_or(0, |address| address.port);
    for part in datagrams {
        if let Some(source) = &part.source {
            deliver(&socket, record, port, source, &part.received)?;
        }
    }
    // An address of no family: unbound, as the port was not chosen by name (net/ipv4/udp.c: __udp_disconnect).
    connect(&socket, &[0; 16])?;
    hears_all.undo(&socket)?;
    set(&socket, (SOL_SOCKET, SO_RCVBUFFORCE), usual / 2)?;
    set(&socket, (SOL_SOCKET, SO_BUF_LOCK), 0)?;
    Ok(socket)
}

fn any_of(family: u32) -> Address {
    let len = if family == u32::from(AddressFamily::INET.as_raw()) { 4 } else { 16 };
    Address { ip: vec![0; len], ..Address::default() }
}

/// `IPV6_V6ONLY` switched off, and what it was.
struct IPv4Too(Option<i32>);

impl IPv4Too {
    fn on(socket: impl AsFd, family: u32) -> Result<Self, Errno> {
        if family != u32::from(AddressFamily::INET6.as_raw()) {
            return Ok(Self(None));
        }
        let usual = get_int(&socket, SOL_IPV6, IPV6_V6ONLY)?;
        set(&socket, (SOL_IPV6, IPV6_V6ONLY), 0)?;
        Ok(Self(Some(usual)))
    }

    fn undo(self, socket: impl AsFd) -> Result<(), Errno> {
        self.0.map_or(Ok(()), |usual| set(socket, (SOL_IPV6, IPV6_V6ONLY), usual))
    }
}

fn set(socket: impl AsFd, (level, option): (i32, i32), value: i32) -> Result<(), Errno> {
    set_option(socket, level, option, &value.to_ne_bytes())
}

/// Sends a datagram to a port of ours, and waits until it is there. `ETIMEDOUT` if it does not come.
fn deliver(
    socket: impl AsFd,
    record: &Record,
    port: u32,
    source: &Address,
    payload: &[u8],
) -> Result<(), Errno> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let before = held(socket.as_fd())?;
    let to = Address { port, ..reached_at(record, source) };
    packet::datagram(source, &to, record.protocol as u8, payload)?;
    let deadline = Instant::now() + PATIENCE;
    while held(socket.as_fd())? == before {
        if Instant::now() > deadline {
            return Err(Errno::TIMEDOUT);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// How many bytes of the kernel's are in its queue (socket(7), `SO_MEMINFO`; linux/sock_diag.h: `SK_MEMINFO_RMEM_ALLOC`).
fn held(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut info = [0; 9 * 4];
    get_option(socket, SOL_SOCKET, SO_MEMINFO, &mut info)?;
    Ok(info.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes)))
}

/// The address of this machine that a datagram was sent to: the one the socket was bound to, or else the one that its sender
/// sees of us.
fn reached_at(record: &Record, source: &Address) -> Address {
    let plain = source.plain();
    let fits = |address: &Address| address.ip.len() == plain.ip.len();
    let bound = record.local.as_ref().map(Address::plain).filter(|local| fits(local) && is_here(local));
    bound.or_else(|| route(&plain)).filter(is_here).unwrap_or_else(|| {
        let ip = if plain.ip.len() == 4 {
            vec![127, 0, 0, 1]
        } else {
            vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        };
        Address { ip, ..Address::default() }
    })
}

fn probe(address: &Address) -> Result<OwnedFd, Errno> {
    let family = if address.ip.len() == 4 { AddressFamily::INET } else { AddressFamily::INET6 };
    fresh_with(family.as_raw().into(), DATAGRAM, super::UDP, SocketFlags::CLOEXEC)
}

/// Whether packets to an address come to this machine alone.
fn is_here(address: &Address) -> bool {
    let is_for_many = match address.ip.as_slice() {
        [first, _, _, last] => *first >= 224 || *last == 255,
        ip => ip.first() == Some(&0xff),
    };
    let any_port = Address { port: 0, ..address.clone() };
    !address.is_any()
        && !is_for_many
        && probe(address).and_then(|socket| bind(socket, &any_port.to_bytes())).is_ok()
}

/// The address that packets to another one leave with.
fn route(to: &Address) -> Option<Address> {
    let socket = probe(to).ok()?;
    connect(&socket, &Address { port: to.port.max(1), ..to.clone() }.to_bytes()).ok()?;
    Address::of(&local_address(&socket).ok()?)
}
