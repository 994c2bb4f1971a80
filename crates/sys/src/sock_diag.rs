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

/// Sends a request for a dump (`struct *_diag_req`), and hands the payload of each message of the answer to `take`.
fn dump(request: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    let mut message = Vec::with_capacity(16 + request.len());
    message.extend_from_slice(&(16 + request.len() as u32).to_ne_bytes());
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(request);
    send(&socket, &message, SendFlags::empty())?;
    // The kernel fills buffers of up to 32 KiB (net/netlink/af_netlink.c, netlink_dump).
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (len, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while let Some((kind, payload, after)) = next_message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let errno = word(payload, 0).map_or(0, |errno| (errno as i32).wrapping_neg());
                    return if errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(errno)) };
                }
                _ => take(payload),
            }
            rest = after;
        }
    }
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
