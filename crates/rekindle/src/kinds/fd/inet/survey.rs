//! What is in the way of capturing an internet socket. Nothing is changed by looking.

use super::record::Address;
use super::{
    MPTCP, RAW, SO_ACCEPTCONN, SO_TYPE, SOL_SOCKET, STREAM, TCP, TCP_CLOSE, TCP_SYN_SENT, TcpInfo, UDP,
    UDP_GRO, UDP_LITE, cookie, events, fresh, groups, has, identity, may_repair, options, repair, stream,
};
use crate::kinds::fd::Claim;
use crate::view::{TreeView, Unaccepted};
use rekindle_sys::Errno;
use rekindle_sys::sock_diag::{has_md5_keys, inet_sockets};
use rekindle_sys::socket::{get_int, get_option, local_address, peek, peer_address};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::thread::CapabilitySet;

/// What is in the way of capturing a socket.
pub(super) fn look(socket: BorrowedFd<'_>, tree: &TreeView) -> Result<Claim, Errno> {
    let (family, socket_type, protocol) = identity(socket)?;
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
    let events = events(socket)?;
    if events.contains(PollFlags::ERR) {
        return Ok(Claim::Refused(
            "socket-error",
            "an error waits to be noticed by the program, which cannot be captured yet",
            "try again in a moment",
        ));
    }
    if socket_type != STREAM {
        return Ok(look_at_datagrams(socket, protocol));
    }
    look_at_stream(socket, protocol, tree)
}

fn look_at_datagrams(socket: BorrowedFd<'_>, protocol: u32) -> Claim {
    if groups::of(socket).is_err() {
        return Claim::Refused(
            "multicast",
            "it hears only certain sources of a multicast group, which cannot be captured yet",
            "",
        );
    }
    let refused = |why| claim_if_empty(socket, why);
    if !matches!(protocol, UDP | UDP_LITE) || get_int(socket, SOL_SOCKET, SO_TYPE) == Ok(RAW as i32) {
        return look_at_raw(socket);
    }
    if get_int(socket, i32::from(UDP as u16), UDP_GRO).is_ok_and(|is_on| is_on != 0) {
        return refused("datagrams wait to be received, which the kernel may have merged (UDP_GRO)");
    }
    if !has(CapabilitySet::NET_RAW) {
        return refused("keeping datagrams that wait to be received needs the capability CAP_NET_RAW");
    }
    Claim::Mine
}

fn claim_if_empty(socket: BorrowedFd<'_>, why: &'static str) -> Claim {
    let is_empty = peek(socket, &mut [0]) == Err(Errno::AGAIN);
    if is_empty { Claim::Mine } else { Claim::Refused("datagrams", why, "try again in a moment") }
}

/// A raw socket, or one for ICMP echoes.
fn look_at_raw(socket: BorrowedFd<'_>) -> Claim {
    if peer_address(socket).is_err() && is_connected_unseen(socket) {
        let why = "it is connected without a port, which cannot be captured yet";
        return Claim::Refused("raw-connected", why, "");
    }
    claim_if_empty(socket, "packets wait to be received, which cannot be captured")
}

/// Whether a raw socket is connected to an address with port 0, which getpeername(2) denies: the third column of
/// /proc/net/raw is the other end.
fn is_connected_unseen(socket: BorrowedFd<'_>) -> bool {
    let Ok(inode) = rustix::fs::fstat(socket).map(|stat| stat.st_ino.to_string()) else { return false };
    ["raw", "raw6"].into_iter().any(|name| {
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let peer = words.get(2).and_then(|peer| peer.split(':').next()).unwrap_or_default();
            words.get(9) == Some(&inode.as_str()) && peer.bytes().any(|digit| digit != b'0')
        })
    })
}

/// The address that a socket is being connected to, which getpeername(2) does not tell yet.
pub(super) fn connecting_to(socket: BorrowedFd<'_>) -> Result<Option<Address>, Errno> {
    let inode = rustix::fs::fstat(socket)?.st_ino;
    let (family, ..) = identity(socket)?;
    let all = inet_sockets(family as u8, TCP as u8, 1 << TCP_SYN_SENT)?;
    let found = all.into_iter().find(|one| u64::from(one.inode) == inode);
    Ok(found.map(|one| Address {
        ip: one.peer.0,
        port: one.peer.1.into(),
        flowinfo: 0,
        scope: one.interface,
    }))
}

fn look_at_stream(socket: BorrowedFd<'_>, protocol: u32, tree: &TreeView) -> Result<Claim, Errno> {
    let refused = |code, why, remedy| Ok(Claim::Refused(code, why, remedy));
    let listens = get_int(socket, SOL_SOCKET, SO_ACCEPTCONN)? != 0;
    if !listens && peer_address(socket).is_ok() {
        return look_at_connection(socket, protocol);
    }
    let info = TcpInfo::of(socket)?;
    if has_keys(socket) {
        return refused(
            "tcp-md5",
            "it has keys of TCP MD5 signatures, which the kernel does not give out whole",
            "",
        );
    }
    match (listens, info.state) {
        (true, _) if info.unacked != 0 && tree.wishes.unaccepted == Unaccepted::Refuse => refused(
            "unaccepted",
            "connections wait to be accepted, which cannot be captured",
            "try again when the program has accepted them, or leave them out with --skip-in-flight",
        ),
        (true, _) | (false, TCP_CLOSE) => Ok(Claim::Mine),
        (false, TCP_SYN_SENT) if protocol == TCP => Ok(Claim::Mine),
        _ if protocol == MPTCP => Ok(Claim::Mine),
        _ => refused(
            "tcp-connection",
            "it is in a state that lasts for a moment only, and cannot be captured",
            "try again",
        ),
    }
}

/// Whether packets of a socket are signed by keys (tcp(7), `TCP_MD5SIG`). Without `CAP_NET_ADMIN` nobody is told.
fn has_keys(socket: BorrowedFd<'_>) -> bool {
    let ask = || {
        let (family, ..) = identity(socket)?;
        let local = Address::of(&local_address(socket)?).unwrap_or_default();
        let peer = peer_address(socket).ok().and_then(|bytes| Address::of(&bytes)).unwrap_or_default();
        has_md5_keys(family as u8, (&local.ip, local.port as u16), (&peer.ip, peer.port as u16), local.scope)
    };
    ask().unwrap_or(false)
}

fn look_at_connection(socket: BorrowedFd<'_>, protocol: u32) -> Result<Claim, Errno> {
    const SO_PEEK_OFF: i32 = 42;
    const TCP_ULP: i32 = 31;
    let refused = |why, remedy| Ok(Claim::Refused("tcp-connection", why, remedy));
    if protocol == MPTCP {
        return refused("connections of Multipath TCP cannot be captured", "let the program close it first");
    }
    if !may_repair() {
        return refused(
            "capturing TCP connections needs the capability CAP_NET_ADMIN",
            "run rekindle as root",
        );
    }
    if !stream::STATES.contains(&TcpInfo::of(socket)?.state) {
        return refused("it is neither open nor closed, which cannot be captured", "try again in a moment");
    }
    if events(socket)?.contains(PollFlags::PRI) {
        return refused("urgent data wait to be received, which cannot be captured", "try again in a moment");
    }
    if has_keys(socket) {
        return refused("it has keys of TCP MD5 signatures, which the kernel does not give out whole", "");
    }
    let mut layer = [0; 16];
    if get_option(socket, repair::SOL_TCP, TCP_ULP, &mut layer).is_ok_and(|len| len != 0 && layer[0] != 0) {
        return refused("the kernel encrypts it (or does other work on it), which cannot be captured", "");
    }
    if get_int(socket, SOL_SOCKET, SO_PEEK_OFF).is_ok_and(|offset| offset >= 0) {
        return refused("SO_PEEK_OFF of a TCP connection cannot be captured", "");
    }
    Ok(Claim::Mine)
}
