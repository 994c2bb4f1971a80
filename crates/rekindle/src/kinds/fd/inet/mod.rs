//! Internet sockets: TCP and UDP, over IPv4 and IPv6 (ip(7), ipv6(7), tcp(7), udp(7)).
//!
//! ```text
//! checkpoint   name of its protocol ── fetched ── state, addresses, options (asked of our copy; changes nothing)
//! restore      socket ── owner ── options ── bind ── connect (UDP)       `open`
//!              listen ── last options ── shutdown                        `finish`, when all are bound
//! ```
//!
//! All sockets of an image are bound before one listens, as sockets that share a port may only do so while none does.
//! Connections of TCP are captured and made as a whole, before all others: [`network`].

mod datagrams;
mod groups;
pub mod network;
mod nftables;
pub(super) mod options;
mod packet;
mod record;
mod repair;
pub mod stream;
mod survey;

use super::fetch::fetch;
use super::restore::{Finishing, Opening};
use super::{Asking, Capturing, Checking, Claim, Description, FdKind, Opened, Survey};
use crate::error::Error;
use crate::view::{FdView, ProcessView};
use options::{Nature, Reuse, When};
use record::Address;
pub(crate) use record::Record;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::socket::{get_int, get_option, local_address, peer_address};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use rustix::thread::CapabilitySet;
use std::collections::HashSet;

/// See the module's story.
pub(super) struct Inet;

// Protocols (linux/in.h).
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
const UDP_LITE: u32 = 136;
const MPTCP: u32 = 262;

const STREAM: u32 = SocketType::STREAM.as_raw();
const DATAGRAM: u32 = SocketType::DGRAM.as_raw();
const RAW: u32 = SocketType::RAW.as_raw();

// States of TCP (net/tcp_states.h, which tcp(7)'s `tcpi_state` has).
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

// Socket options that say what a socket is (asm-generic/socket.h).
pub(super) const SOL_SOCKET: i32 = 1;
const SO_TYPE: i32 = 3;
const SO_ACCEPTCONN: i32 = 30;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_NETNS_COOKIE: i32 = 71;

/// An option of UDP (linux/udp.h).
const UDP_GRO: i32 = 104;

const F_SETFL: i32 = 4;

/// The ways a socket is shut for both directions.
const SHUT_BOTH: u32 = 3;

/// Names of protocols (/proc/net/protocols) whose sockets are of this kind.
#[rustfmt::skip]
const PROTOCOLS: &[&[u8]] = &[
    b"TCP", b"TCPv6", b"MPTCP", b"MPTCPv6", b"UDP", b"UDPv6", b"UDP-Lite", b"UDPLITEv6", b"RAW", b"RAWv6", b"PING", b"PINGv6",
];

/// Those whose sockets are of none, and a sentence for each.
const FOREIGN: &[(&[&[u8]], &str)] = &[
    (&[b"PACKET"], "packet sockets cannot be captured: what their rings hold belongs to the kernel"),
    (&[b"XDP"], "sockets of XDP cannot be captured: their memory belongs to a network device"),
    (&[b"AF_VSOCK"], "sockets to other virtual machines cannot be captured: their host knows them, too"),
    (&[b"SCTP", b"SCTPv6"], "SCTP cannot be captured: the kernel does not give out its state"),
];

impl FdKind for Inet {
    fn name(&self) -> &'static str {
        "inet"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFSOCK {
            return Claim::NotMine;
        }
        let Ok(name) = protocol_name(fd, cx.view) else { return Claim::NotMine };
        if !PROTOCOLS.contains(&name.as_slice()) {
            let other = FOREIGN.iter().find(|(names, _)| names.contains(&name.as_slice()));
            return other.map_or(Claim::NotMine, |(_, why)| {
                Claim::Refused("socket-kind", why, "let the program close it first")
            });
        }
        match fetch(fd, cx.view).and_then(|socket| survey::look(socket.as_fd(), cx.tree)) {
            Ok(claim) => claim,
            Err(_) => Claim::Refused("inet-socket", "it cannot be looked into", "run rekindle as root"),
        }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        let failed =
            |errno| Error::call(format!("looking into the socket at fd {} of {}", fd.fd, cx.view.pid), errno);
        let socket = cx.fetch(fd).map_err(failed)?;
        record.inet = Some(capture(fd, socket.as_fd(), failed)?);
        Ok(())
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let Some(inet) = &mut record.inet else { return Ok(()) };
        if cx.network.gives_up(fd.ino) {
            inet.give_up();
        } else if let Some((state, stream)) = cx.network.take(fd.ino, record.id) {
            (inet.state, inet.stream) = (state, Some(stream));
        }
        if inet.has_ports() && inet.socket_type == DATAGRAM {
            let socket = fetch(fd, cx.view).map_err(|errno| Error::call("looking into a socket", errno))?;
            datagrams::capture(&socket, record.id, cx)?;
        }
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(inet) = &record.inet else { return Err("it says nothing of the socket".into()) };
        inet.check()
    }

    fn fits(&self, record: &Description) -> Result<(), String> {
        record.inet.as_ref().map_or(Ok(()), Record::fits)
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(inet) = &record.inet else { return Opened::Number(-1) };
        let nonblocking = record.flags & o::NONBLOCK;
        let reuse = || inet.shares_port(record.id, cx.descriptions);
        if let Some(made) = cx.made(record.id, batch) {
            if inet.stream.is_none() {
                inet.open(made.into(), reuse(), batch);
                batch.step("F_SETFL", nr::FCNTL, [made.into(), F_SETFL.into(), nonblocking.into()]);
            }
            return Opened::Step(made);
        }
        let args = [inet.family.into(), (inet.socket_type | nonblocking).into(), inet.protocol.into()];
        let socket = batch.step(format!("making a {} socket", inet.noun()), nr::SOCKET, args);
        inet.open(socket.into(), reuse(), batch);
        Opened::Step(socket)
    }

    fn settle(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        if let Some(inet) = &record.inet {
            inet.connect_again(record.flags & !o::ACCMODE, cx.number.into(), batch);
        }
    }

    fn finish(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        let Some(inet) = &record.inet else { return };
        let flags = record.flags & !o::ACCMODE;
        if inet.stream.is_none() {
            return inet.finish(cx.number.into(), batch);
        }
        batch.step("F_SETFL", nr::FCNTL, [cx.number.into(), F_SETFL.into(), flags.into()]);
    }
}

/// The name of a socket's protocol, as /proc/net/protocols lists them; asked in a way that does not hold the socket open.
pub(super) fn protocol_name(fd: &FdView, view: &ProcessView) -> Result<Vec<u8>, Errno> {
    let path = format!("/proc/{}/fd/{}", view.pid, fd.fd);
    let mut name = [0_u8; 64];
    let len = rustix::fs::getxattr(path, "system.sockprotoname", &mut name)?;
    Ok(name[..len].iter().copied().take_while(|byte| *byte != 0).collect())
}

/// Whether we have `CAP_NET_ADMIN`.
fn may_repair() -> bool {
    has(CapabilitySet::NET_ADMIN)
}

/// Whether we have a capability.
fn has(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|own| own.effective.contains(capability))
}

fn capture(fd: &FdView, socket: BorrowedFd<'_>, failed: impl Fn(Errno) -> Error) -> Result<Record, Error> {
    let (family, socket_type, protocol) = identity(socket).map_err(&failed)?;
    let listens = get_int(socket, SOL_SOCKET, SO_ACCEPTCONN).map_err(&failed)? != 0;
    let mut peer = peer_address(socket).ok().and_then(|bytes| Address::of(&bytes));
    let mut local = Address::of(&local_address(socket).map_err(&failed)?);
    if socket_type == RAW {
        // The kernel notes the protocol there.
        for address in [&mut local, &mut peer].into_iter().flatten() {
            address.port = 0;
        }
    }
    let owner = rustix::fs::fstat(socket).map_err(&failed)?;
    let fresh = fresh(family, socket_type, protocol).map_err(&failed)?;
    let (mut state, mut backlog) = (0, 0);
    if socket_type == STREAM {
        state = if listens { TCP_LISTEN } else { TCP_CLOSE };
        let info = TcpInfo::of(socket).map_err(&failed)?;
        backlog = if listens { info.sacked } else { 0 };
        if protocol == TCP && info.state == TCP_SYN_SENT {
            state = TCP_SYN_SENT;
            peer = survey::connecting_to(socket).map_err(&failed)?;
        }
    }
    let is_shut = events(socket).map_err(&failed)?.contains(PollFlags::RDHUP);
    let has_ended = socket_type == STREAM && peer.is_none() && is_shut;
    let is_connected = peer.is_some() && state != TCP_SYN_SENT;
    let nature = match socket_type {
        STREAM if is_connected || has_ended => Nature::Connection,
        STREAM => Nature::Idle,
        _ => Nature::Datagrams,
    };
    Ok(Record {
        inode: fd.ino,
        family,
        socket_type,
        protocol,
        uid: owner.st_uid,
        gid: owner.st_gid,
        options: options::capture(socket, fresh.as_fd(), nature)?,
        state,
        backlog,
        // A connection that the other end has shut is in a state of its own.
        shut: if is_shut && (has_ended || socket_type != STREAM) { SHUT_BOTH } else { 0 },
        // One that has ended still tells the address that it had, but others may have that now.
        local: local.filter(|address| !has_ended && (!address.is_any() || address.port != 0)),
        peer,
        stream: None,
        groups: groups::of(socket).map_err(&failed)?,
    })
}

/// Family, type and protocol.
pub(super) fn identity(socket: BorrowedFd<'_>) -> Result<(u32, u32, u32), Errno> {
    let ask = |option| get_int(socket, SOL_SOCKET, option).map(i32::cast_unsigned);
    Ok((ask(SO_DOMAIN)?, ask(SO_TYPE)?, ask(SO_PROTOCOL)?))
}

/// A socket of ours that nobody has done anything with.
pub(super) fn fresh(family: u32, socket_type: u32, protocol: u32) -> Result<OwnedFd, Errno> {
    fresh_with(family, socket_type, protocol, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

fn fresh_with(family: u32, socket_type: u32, protocol: u32, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let protocol = rustix::net::RawProtocol::new(protocol).map(Protocol::from_raw);
    let (family, socket_type) = (AddressFamily::from_raw(family as u16), SocketType::from_raw(socket_type));
    socket_with(family, socket_type, flags, protocol)
}

/// What is known by its network namespace (`SO_NETNS_COOKIE`, Linux 5.14).
pub(super) fn cookie(socket: BorrowedFd<'_>) -> Option<[u8; 8]> {
    let mut cookie = [0; 8];
    get_option(socket, SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie).ok().map(|_| cookie)
}

/// What poll(2) says of it at this moment.
pub(super) fn events(socket: BorrowedFd<'_>) -> Result<PollFlags, Errno> {
    let mut waited = [PollFd::new(&socket, PollFlags::RDHUP | PollFlags::PRI)];
    poll(&mut waited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(waited[0].revents())
}

/// The fields of `struct tcp_info` (linux/tcp.h) that are of use here.
struct TcpInfo {
    state: u32,
    /// What was agreed on: `TCPI_OPT_*`.
    options: u32,
    /// By how many bits the other end's windows are scaled.
    send_scale: u32,
    /// By how many bits ours are.
    receive_scale: u32,
    /// For a listening socket: connections that wait to be accepted.
    unacked: u32,
    /// For a listening socket: how many may wait.
    sacked: u32,
}

impl TcpInfo {
    fn of(socket: BorrowedFd<'_>) -> Result<Self, Errno> {
        const SOL_TCP: i32 = 6;
        const TCP_INFO: i32 = 11;
        let mut info = [0; 104];
        get_option(socket, SOL_TCP, TCP_INFO, &mut info)?;
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let scales = u32::from(info[6]);
        Ok(Self {
            state: info[0].into(),
            options: info[5].into(),
            send_scale: scales & 15,
            receive_scale: scales >> 4,
            unacked: word(24),
            sacked: word(28),
        })
    }
}

impl Record {
    /// Refuses what no checkpoint writes.
    fn check(&self) -> Result<(), String> {
        let families = [AddressFamily::INET, AddressFamily::INET6].map(|family| u32::from(family.as_raw()));
        let known = matches!(
            (self.socket_type, self.protocol),
            (STREAM, TCP | MPTCP) | (DATAGRAM, UDP | UDP_LITE | ICMP | ICMPV6) | (RAW, 0..=255)
        );
        if !families.contains(&self.family) || !known {
            return Err("there are no such sockets".into());
        }
        if [&self.local, &self.peer].into_iter().flatten().any(|address| !address.fits(self.family)) {
            return Err("its address is none of its family".into());
        }
        let states: &[u32] = match (&self.stream, self.socket_type) {
            (Some(_), _) => &stream::STATES,
            (None, STREAM) => &[TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT],
            _ => &[0],
        };
        if !states.contains(&self.state) {
            return Err(format!("it cannot be in the state {}", self.state));
        }
        let is_connection = self.socket_type == STREAM && self.protocol == TCP && self.ends().is_some();
        let is_connecting = self.state == TCP_SYN_SENT;
        if is_connecting && (self.protocol != TCP || self.peer.is_none()) {
            return Err("it is being connected to nobody".into());
        }
        let is_connection = is_connection && !is_connecting;
        let is_connected = self.peer.is_some() && self.socket_type == STREAM && !is_connecting;
        if self.stream.is_some() != is_connected || is_connected != is_connection {
            return Err("it is half a connection".into());
        }
        if let Some(stream) = &self.stream {
            stream.check()?;
        }
        groups::check(&self.groups)?;
        if self.shut > SHUT_BOTH || self.backlog > i32::MAX as u32 {
            return Err("its numbers make no sense".into());
        }
        options::check(&self.options)
    }

    /// Makes it a connection that has ended.
    fn give_up(&mut self) {
        (self.peer, self.stream, self.state, self.shut) = (None, None, TCP_CLOSE, SHUT_BOTH);
        self.local = None;
    }

    /// Makes those of a plan's connections whose other ends are outside ones that have ended. Tells whether there were any.
    pub fn give_up_all(descriptions: &mut [Description]) -> bool {
        let ends_of = |description: &Description| {
            let record = description.inet.as_ref().filter(|record| record.stream.is_some())?;
            record.ends()
        };
        let met: HashSet<_> = descriptions.iter().filter_map(ends_of).map(|ends| ends.as_beyond()).collect();
        let is_outer = |description: &&mut Description| {
            ends_of(description).is_some_and(|ends| !met.contains(&ends.as_here()))
        };
        let given_up = descriptions.iter_mut().filter(is_outer).filter_map(|outer| outer.inet.as_mut());
        given_up.map(Self::give_up).count() > 0
    }

    /// Whether this machine has the address it is bound to.
    fn fits(&self) -> Result<(), String> {
        if self.stream.is_some() && !may_repair() {
            return Err(format!(
                "the TCP connection {} can be restored only with the capability CAP_NET_ADMIN; run rekindle as root",
                self.title()
            ));
        }
        let any = fresh(self.family, DATAGRAM, UDP);
        if let Ok(socket) = &any
            && let Some(name) = groups::missing(&self.groups, socket.as_fd())
        {
            return Err(format!(
                "a {} socket is in a multicast group on the interface {name}, which this machine does not have",
                self.noun()
            ));
        }
        let Some(local) = self.local.as_ref().filter(|local| !local.is_any()) else { return Ok(()) };
        let forced = ["IP_FREEBIND", "IP_TRANSPARENT", "SO_BINDTODEVICE"];
        if self.options.iter().any(|option| forced.contains(&option.name.as_str())) {
            return Ok(());
        }
        let any_port = Address { port: 0, ..local.clone() };
        let tried = any.and_then(|socket| rekindle_sys::socket::bind(socket, &any_port.to_bytes()));
        match tried {
            Ok(()) => Ok(()),
            Err(errno) => Err(format!(
                "a {} socket is bound to {local}, an address that this machine does not have ({}); give it to an \
                 interface first (`ip address add`)",
                self.noun(),
                rekindle_sys::errno_text(errno)
            )),
        }
    }

    /// Whether another socket of the image is bound to the same port.
    fn shares_port(&self, id: u32, descriptions: &[Description]) -> Reuse {
        let port = |record: &Self| record.local.as_ref().map_or(0, |local| local.port);
        let shares = |other: &Self| port(other) == port(self) && other.socket_type == self.socket_type;
        let mut others = descriptions.iter().filter(|other| other.id != id);
        let shared = port(self) != 0 && others.any(|other| other.inet.as_ref().is_some_and(shares));
        if shared { Reuse::On } else { Reuse::Off }
    }

    /// The steps up to where it is bound, and connected if it is a datagram socket.
    fn open(&self, socket: Arg, reuse: Reuse, batch: &mut Batch) {
        batch.step("giving a socket its owner", nr::FCHOWN, [socket, self.uid.into(), self.gid.into()]);
        options::restore(&self.options, When::Fresh, socket, batch);
        if reuse == Reuse::On {
            // Whether the others had it when they were bound, nobody knows any more.
            options::set_reuse(reuse, socket, batch);
        }
        if let Some(local) = &self.local {
            address_step(
                &format!("binding a {} socket to {local}", self.noun()),
                nr::BIND,
                socket,
                local,
                batch,
            );
        }
        if let Some(peer) = self.peer.as_ref().filter(|_| self.state != TCP_SYN_SENT) {
            let label = format!("connecting a {} socket to {peer}", self.noun());
            address_step(&label, nr::CONNECT, socket, peer, batch);
        }
    }

    /// The steps that begin to connect it once more. Whoever listens does so by now; what becomes of it, the program finds out
    /// as it would have.
    fn connect_again(&self, flags: u32, socket: Arg, batch: &mut Batch) {
        let Some(peer) = self.peer.as_ref().filter(|_| self.state == TCP_SYN_SENT) else { return };
        let mut set = |flags: u32| batch.step("F_SETFL", nr::FCNTL, [socket, F_SETFL.into(), flags.into()]);
        set(flags | o::NONBLOCK);
        let bytes = peer.to_bytes();
        let at = batch.data(&bytes);
        let label = format!("connecting a {} socket to {peer}", self.noun());
        batch.step_may_fail(label, nr::CONNECT, [socket, at.into(), bytes.len().into()]);
        batch.step("F_SETFL", nr::FCNTL, [socket, F_SETFL.into(), flags.into()]);
    }

    /// Whether its protocol has ports.
    fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | MPTCP | UDP | UDP_LITE) && self.socket_type != RAW
    }

    /// The steps that make it what it was, once all are bound.
    fn finish(&self, socket: Arg, batch: &mut Batch) {
        if self.state == TCP_LISTEN {
            let label = match &self.local {
                Some(local) => format!("listening at {local}"),
                None => "listening".to_owned(),
            };
            batch.step(label, nr::LISTEN, [socket, self.backlog.into()]);
        }
        if !self.groups.is_empty()
            && let Ok(via) = fresh(self.family, DATAGRAM, UDP)
        {
            groups::restore(&self.groups, via.as_fd(), socket, batch);
        }
        options::restore(&self.options, When::Settled, socket, batch);
        if !options::reuses_address(&self.options) {
            options::set_reuse(Reuse::Off, socket, batch);
        }
        if self.shut != 0 {
            // One that is not connected says so, and is shut all the same (net/ipv4/af_inet.c: inet_shutdown).
            batch.step_may_fail("shutting a socket", nr::SHUTDOWN, [socket, (self.shut - 1).into()]);
        }
    }
}

pub(super) fn address_step(label: &str, number: u32, socket: Arg, address: &Address, batch: &mut Batch) {
    let bytes = address.to_bytes();
    let at = batch.data(&bytes);
    batch.step(label.to_owned(), number, [socket, at.into(), bytes.len().into()]);
}
