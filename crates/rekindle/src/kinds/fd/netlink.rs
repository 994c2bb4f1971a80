//! Sockets to the kernel itself (netlink(7)): routes and links, devices that come and go, generic netlink, and others.
//!
//! ```text
//! checkpoint   name of its protocol ── fetched ── number, groups, options (asked of our copy; changes nothing)
//! restore      socket ── owner ── options ── bind to its number ── groups ── connect ── last options
//! ```
//!
//! Messages that wait to be read are refused: nobody but the kernel can send them again, and an answer in several parts is
//! being made while it is read. So are protocols in which the kernel keeps more about a socket than it tells.

use super::fetch::fetch;
use super::inet::options::{self, Nature, When};
use super::inet::{SOL_SOCKET, cookie, events, fresh, identity, protocol_name};
use super::restore::Opening;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::socket::{get_int, get_option, local_address, peek, peer_address};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::SocketType;

/// See the module's story.
pub(super) struct Netlink;

const AF_NETLINK: u32 = libc::AF_NETLINK as u32;
const SOL_NETLINK: i32 = 270;
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_LIST_MEMBERSHIPS: i32 = 9;
const SO_PROTOCOL: i32 = 38;

/// A protocol has at most this many groups (those of generic netlink are given out one by one; more than enough).
const GROUPS_MAX: u32 = 1 << 15;

/// Protocols (linux/netlink.h) in which a socket is what can be asked of it: routes and links, diagnostics of sockets, IPsec's
/// events, devices, generic netlink.
const PROTOCOLS: &[u32] = &[0, 4, 6, 15, 16];

/// What is particular to a netlink socket.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `SOCK_RAW` or `SOCK_DGRAM`, which are the same to it.
    #[prost(uint32, tag = "1")]
    pub socket_type: u32,
    /// `NETLINK_*`
    #[prost(uint32, tag = "2")]
    pub protocol: u32,
    /// Who made it.
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    /// The group of who made it.
    #[prost(uint32, tag = "4")]
    pub gid: u32,
    /// The number by which the kernel answers to it (`nl_pid`); 0 for one that is not bound.
    #[prost(uint32, tag = "5")]
    pub port: u32,
    /// The multicast groups that it hears.
    #[prost(uint32, repeated, tag = "6")]
    pub groups: Vec<u32>,
    /// The number that it is connected to, and the groups, as a mask of the first 32; both 0 for the kernel.
    #[prost(uint32, tag = "7")]
    pub peer_port: u32,
    /// See there.
    #[prost(uint32, tag = "8")]
    pub peer_groups: u32,
    /// Options that differ from those of a fresh socket, in the order in which they are set.
    #[prost(message, repeated, tag = "9")]
    pub options: Vec<options::Record>,
}

impl FdKind for Netlink {
    fn name(&self) -> &'static str {
        "netlink"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFSOCK
            || !matches!(protocol_name(fd, cx.view).as_deref(), Ok(b"NETLINK"))
        {
            return Claim::NotMine;
        }
        match fetch(fd, cx.view).and_then(|socket| look(socket.as_fd())) {
            Ok(claim) => claim,
            Err(_) => Claim::Refused("netlink", "it cannot be looked into", "run rekindle as root"),
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let failed = |errno| {
            Error::call(format!("looking into the netlink socket at fd {} of {}", fd.fd, cx.view.pid), errno)
        };
        let socket = fetch(fd, cx.view).map_err(failed)?;
        let (family, socket_type, protocol) = identity(socket.as_fd()).map_err(failed)?;
        let own = fresh(family, socket_type, protocol).map_err(failed)?;
        let owner = rustix::fs::fstat(&socket).map_err(failed)?;
        let (port, _) = address(&local_address(&socket).map_err(failed)?);
        let (peer_port, peer_groups) = address(&peer_address(&socket).map_err(failed)?);
        record.netlink = Some(Record {
            socket_type,
            protocol,
            uid: owner.st_uid,
            gid: owner.st_gid,
            port,
            groups: groups(socket.as_fd()).map_err(failed)?,
            peer_port,
            peer_groups,
            options: options::capture(socket.as_fd(), own.as_fd(), Nature::Datagrams)?,
        });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(netlink) = &record.netlink else { return Err("it says nothing of the socket".into()) };
        let types = [SocketType::RAW, SocketType::DGRAM].map(SocketType::as_raw);
        if !types.contains(&netlink.socket_type) || !PROTOCOLS.contains(&netlink.protocol) {
            return Err("there are no such sockets".into());
        }
        if netlink.groups.iter().any(|group| *group == 0 || *group > GROUPS_MAX) {
            return Err("its groups make no sense".into());
        }
        options::check(&netlink.options)
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(netlink) = &record.netlink else { return Opened::Number(-1) };
        let nonblocking = record.flags & o::NONBLOCK;
        let args = [AF_NETLINK.into(), (netlink.socket_type | nonblocking).into(), netlink.protocol.into()];
        let socket = batch.step("making a netlink socket", nr::SOCKET, args);
        netlink.restore(socket.into(), batch);
        Opened::Step(socket)
    }
}

/// What is in the way of capturing one.
fn look(socket: BorrowedFd<'_>) -> Result<Claim, Errno> {
    let (family, socket_type, protocol) = identity(socket)?;
    if !PROTOCOLS.contains(&get_int(socket, SOL_SOCKET, SO_PROTOCOL)?.cast_unsigned()) {
        return Ok(Claim::Refused(
            "netlink-protocol",
            "it is a netlink socket of a protocol in which the kernel does not tell what it has been asked for",
            "let the program close it first",
        ));
    }
    let own = fresh(family, socket_type, protocol)?;
    if cookie(socket) != cookie(own.as_fd()) {
        return Ok(Claim::Refused(
            "other-network",
            "it belongs to a network namespace that is not this one",
            "run rekindle in the program's network namespace (`nsenter -n -t PID`)",
        ));
    }
    if options::has_unreadable_filter(socket) {
        return Ok(Claim::Refused("socket-filter", "it has an eBPF filter, which nobody can read", ""));
    }
    if events(socket)?.contains(PollFlags::ERR) || peek(socket, &mut [0]) != Err(Errno::AGAIN) {
        return Ok(Claim::Refused(
            "netlink-messages",
            "messages of the kernel wait to be read, which cannot be captured",
            "try again in a moment",
        ));
    }
    Ok(Claim::Mine)
}

/// Number and groups of a `struct sockaddr_nl`.
fn address(bytes: &[u8]) -> (u32, u32) {
    let word =
        |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_ne_bytes(*word));
    (word(4), word(8))
}

fn sockaddr(port: u32, groups: u32) -> Vec<u8> {
    let family = [(AF_NETLINK as u16).to_ne_bytes(), [0; 2]].concat();
    [family.as_slice(), &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
}

/// The groups of a socket, which are told as a bitmap of words.
fn groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut bitmap = vec![0; GROUPS_MAX as usize / 8];
    let len = get_option(socket, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, &mut bitmap)?;
    let words =
        bitmap[..len].chunks_exact(4).filter_map(<[u8]>::first_chunk).map(|word| u32::from_ne_bytes(*word));
    let bits = (0_u32..).zip(words).flat_map(|(index, word)| {
        (0..32).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * 32 + bit + 1)
    });
    Ok(bits.collect())
}

impl Record {
    fn restore(&self, socket: Arg, batch: &mut Batch) {
        batch.step("giving a socket its owner", nr::FCHOWN, [socket, self.uid.into(), self.gid.into()]);
        options::restore(&self.options, When::Fresh, socket, batch);
        if self.port != 0 {
            let at = batch.data(&sockaddr(self.port, 0));
            let label = format!("binding a netlink socket to the number {}", self.port);
            batch.step(label, nr::BIND, [socket, at.into(), 12.into()]);
        }
        for group in &self.groups {
            let at = batch.data(&group.to_ne_bytes());
            let args = [socket, SOL_NETLINK.into(), NETLINK_ADD_MEMBERSHIP.into(), at.into(), 4.into()];
            batch.step(format!("joining the netlink group {group}"), nr::SETSOCKOPT, args);
        }
        if (self.peer_port, self.peer_groups) != (0, 0) {
            let at = batch.data(&sockaddr(self.peer_port, self.peer_groups));
            batch.step("connecting a netlink socket", nr::CONNECT, [socket, at.into(), 12.into()]);
        }
        options::restore(&self.options, When::Settled, socket, batch);
    }
}
