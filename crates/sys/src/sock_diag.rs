//! What the kernel tells of all sockets of a network namespace: netlink's `NETLINK_SOCK_DIAG` (sock_diag(7)).
//!
//! One question, and the answer comes in as many messages as there are sockets:
//!
//! ```text
//! nlmsghdr  length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32
//!   unix_diag_msg  family u8 │ type u8 │ state u8 │ pad u8 │ inode u32 │ cookie u32[2]
//!     nlattr  length u16 │ type u16 │ payload, padded to 4                                  any number of them
//! ```
//!
//! Names are bytes, with zeros wherever the program had put them.

use crate::{Errno, Result};
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::os::fd::OwnedFd;

/// A socket of the family `AF_UNIX`, as include/uapi/linux/unix_diag.h has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its inode number, as in the link `socket:[N]`.
    pub inode: u32,
    /// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET`
    pub kind: u8,
    /// [`Self::ESTABLISHED`], [`Self::CLOSED`] or [`Self::LISTENING`].
    pub state: u8,
    /// The name it is bound to: `sun_path` as the program gave it, with a zero in front for an abstract one, without
    /// the zero that ends a path.
    pub name: Option<Vec<u8>>,
    /// Inode (its lower 32 bits) and device (as the kernel has it: 12 and 20 bits) of the file it is bound to.
    pub file: Option<(u32, u32)>,
    /// The inode number of the socket it is connected to; 0 for one that nobody has a descriptor of (any more).
    pub peer: Option<u32>,
    /// For one that listens: the inode numbers of the sockets that wait to be accepted, the first first.
    pub waiting: Vec<u32>,
    /// For one that listens: how many may wait (listen(2)).
    pub backlog: u32,
    /// For one that does not listen: how many bytes it has received that are not read; of datagrams, those of the first.
    pub queued: u32,
    /// Which directions are shut: 1 for receiving, 2 for sending.
    pub shutdown: u8,
}

impl UnixSocket {
    /// `TCP_ESTABLISHED`: connected.
    pub const ESTABLISHED: u8 = 1;
    /// `TCP_CLOSE`: neither connected nor listening.
    pub const CLOSED: u8 = 7;
    /// `TCP_LISTEN`
    pub const LISTENING: u8 = 10;
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

mod attribute {
    pub(super) const NAME: u16 = 0;
    pub(super) const VFS: u16 = 1;
    pub(super) const PEER: u16 = 2;
    pub(super) const ICONS: u16 = 3;
    pub(super) const RQLEN: u16 = 4;
    pub(super) const SHUTDOWN: u16 = 6;
}

/// `UDIAG_SHOW_*`: name, file, peer, waiting connections, lengths of queues.
const SHOW: u32 = 0x1f;

/// All sockets of the family `AF_UNIX` in our network namespace that somebody has a descriptor of. `ENOENT` where the
/// kernel cannot tell (`CONFIG_UNIX_DIAG`).
pub fn unix_sockets() -> Result<Vec<UnixSocket>> {
    let mut request = Vec::with_capacity(24);
    request.extend_from_slice(&[libc::AF_UNIX as u8, 0, 0, 0]);
    for word in [u32::MAX, 0, SHOW, u32::MAX, u32::MAX] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    let mut sockets = Vec::new();
    dump(&request, |payload| sockets.extend(unix_socket(payload)))?;
    Ok(sockets)
}

/// An internet socket, as include/uapi/linux/inet_diag.h has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetSocket {
    /// Its inode number, as in the link `socket:[N]`.
    pub inode: u32,
    /// The address that it is connected to, or being connected to: 4 bytes or 16, and the port.
    pub peer: (Vec<u8>, u16),
    /// The interface that it is bound to; 0 for none.
    pub interface: u32,
}

/// The length of `struct inet_diag_msg`.
const INET_MESSAGE: usize = 72;

/// All sockets of a family (`AF_INET`, `AF_INET6`) and a protocol in our network namespace that are in one of some states,
/// as a mask of `1 << TCP_*`. `ENOENT` where the kernel cannot tell (`CONFIG_INET_DIAG`).
pub fn inet_sockets(family: u8, protocol: u8, states: u32) -> Result<Vec<InetSocket>> {
    let mut request = vec![family, protocol, 0, 0];
    request.extend_from_slice(&states.to_ne_bytes());
    request.resize(56, 0); // struct inet_diag_req_v2
    let mut sockets = Vec::new();
    dump(&request, |payload| sockets.extend(inet_socket(payload)))?;
    Ok(sockets)
}

fn inet_socket(payload: &[u8]) -> Option<InetSocket> {
    let len = if i32::from(*payload.first()?) == libc::AF_INET { 4 } else { 16 };
    let port = u16::from_be_bytes(*payload.get(6..)?.first_chunk()?);
    let peer = (payload.get(24..24 + len)?.to_vec(), port);
    Some(InetSocket { inode: word(payload, 68)?, peer, interface: word(payload, 40)? })
}

/// Whether a TCP socket with these ends (address, port; the other end's empty and 0 for one that listens) has keys of MD5
/// signatures (tcp(7)). `false` without `CAP_NET_ADMIN`. `ENOENT`: there is no such socket.
pub fn has_md5_keys(family: u8, local: (&[u8], u16), peer: (&[u8], u16), interface: u32) -> Result<bool> {
    const MD5SIG: u16 = 18; // INET_DIAG_MD5SIG
    let mut request = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&local.1.to_be_bytes());
    request.extend_from_slice(&peer.1.to_be_bytes());
    for address in [local.0, peer.0] {
        let mut field = address.to_vec();
        field.resize(16, 0);
        request.extend_from_slice(&field);
    }
    request.extend_from_slice(&interface.to_ne_bytes());
    request.extend_from_slice(&[0xff; 8]); // any cookie
    let mut found = false;
    ask(&request, |payload| {
        let mut rest = payload.get(INET_MESSAGE..).unwrap_or_default();
        while let (Some(len), Some(number)) = (half(rest, 0), half(rest, 2)) {
            found |= number == MD5SIG;
            rest = rest.get(usize::from(len.max(4)).next_multiple_of(4)..).unwrap_or_default();
        }
    })?;
    Ok(found)
}

/// As [`dump`], for one socket: the answer is one message.
fn ask(request: &[u8], take: impl FnOnce(&[u8])) -> Result<()> {
    let socket = send_request(request, NLM_F_REQUEST)?;
    let mut buffer = vec![0; 64 * 1024];
    let (len, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    match next_message(&buffer[..len]) {
        Some((NLMSG_ERROR, payload, _)) => Err(error_of(payload).unwrap_or(Errno::NOENT)),
        Some((_, payload, _)) => {
            take(payload);
            Ok(())
        }
        None => Err(Errno::NOENT),
    }
}

/// The error of an answer that is one; `None` for 0.
fn error_of(payload: &[u8]) -> Option<Errno> {
    let errno = word(payload, 0).map_or(0, |errno| (errno as i32).wrapping_neg());
    (errno != 0).then(|| Errno::from_raw_os_error(errno))
}

/// Sends a request for a dump (`struct *_diag_req`), and hands the payload of each message of the answer to `take`.
fn dump(request: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
    let socket = send_request(request, NLM_F_REQUEST | NLM_F_DUMP)?;
    // The kernel fills buffers of up to 32 KiB (net/netlink/af_netlink.c, netlink_dump).
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (len, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while let Some((kind, payload, after)) = next_message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return error_of(payload).map_or(Ok(()), Err),
                _ => take(payload),
            }
            rest = after;
        }
    }
}

fn send_request(request: &[u8], flags: u16) -> Result<OwnedFd> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    let mut message = Vec::with_capacity(16 + request.len());
    message.extend_from_slice(&(16 + request.len() as u32).to_ne_bytes());
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(request);
    send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

/// Type and payload of the first message, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = word(bytes, 0)? as usize;
    let kind = half(bytes, 4)?;
    let payload = bytes.get(16..len)?;
    Some((kind, payload, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

fn unix_socket(payload: &[u8]) -> Option<UnixSocket> {
    let [_, kind, state, ..] = *payload.first_chunk::<4>()?;
    let mut socket = UnixSocket { inode: word(payload, 4)?, kind, state, ..UnixSocket::default() };
    let mut rest = payload.get(16..)?;
    while let (Some(len), Some(number)) = (half(rest, 0), half(rest, 2)) {
        let value = rest.get(4..usize::from(len))?;
        match number {
            attribute::NAME => socket.name = Some(without_end(value).to_vec()),
            attribute::VFS => socket.file = word(value, 0).zip(word(value, 4)),
            attribute::PEER => socket.peer = word(value, 0),
            attribute::ICONS => {
                socket.waiting = value.chunks_exact(4).filter_map(|bytes| word(bytes, 0)).collect();
            }
            attribute::RQLEN if state == UnixSocket::LISTENING => {
                socket.backlog = word(value, 4).unwrap_or(0);
            }
            attribute::RQLEN => socket.queued = word(value, 0).unwrap_or(0),
            attribute::SHUTDOWN => socket.shutdown = value.first().copied().unwrap_or(0),
            _ => {}
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

/// A name as the program gave it: the kernel's has the zero that ends a path.
fn without_end(name: &[u8]) -> &[u8] {
    match name {
        [first, .., 0] if *first != 0 => &name[..name.len() - 1],
        _ => name,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    #[test]
    fn finds_a_listener_and_who_waits() {
        let name = format!("rekindle sock_diag \u{0} {}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let _waiting = UnixStream::connect_addr(&address).unwrap();
        let sockets = unix_sockets().unwrap();
        let wanted = [b"\0", name.as_bytes()].concat();
        let found = sockets.iter().find(|s| s.name.as_ref() == Some(&wanted)).unwrap();
        assert_eq!((found.state, i32::from(found.kind)), (UnixSocket::LISTENING, libc::SOCK_STREAM));
        assert_eq!(found.waiting.len(), 1);
        let waiting = sockets.iter().find(|s| s.inode == found.waiting[0]).unwrap();
        assert_eq!((waiting.state, waiting.peer), (UnixSocket::ESTABLISHED, Some(0)));
    }

    #[test]
    fn finds_both_ends_of_a_pair() {
        use std::os::fd::AsFd;
        let (one, other) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &one, b"12345").unwrap();
        one.shutdown(std::net::Shutdown::Write).unwrap();
        let inode = |socket: &UnixStream| rustix::fs::fstat(socket.as_fd()).unwrap().st_ino as u32;
        let sockets = unix_sockets().unwrap();
        let found = |inode| sockets.iter().find(|s| s.inode == inode).unwrap();
        let (one, other) = (inode(&one), inode(&other));
        assert_eq!((found(one).peer, found(other).peer), (Some(other), Some(one)));
        assert_eq!((found(one).shutdown, found(other).shutdown), (2, 1));
        assert_eq!((found(one).queued, found(other).queued), (0, 5));
        assert_eq!(found(one).name, None);
    }
}
