//! Sockets as bytes: options by level and number, addresses as the kernel has them, and looks into queues.
//!
//! `rustix` has typed calls for the options that programs use; a checkpoint reads whatever there is.

use crate::{Errno, Result, check};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The longest address: `struct sockaddr_storage` (socket(7)).
pub const ADDRESS_MAX: usize = 128;

/// getsockopt(2) into `value`; tells how many bytes of it were filled.
pub fn get_option(fd: impl AsFd, level: i32, option: i32, value: &mut [u8]) -> Result<usize> {
    let mut len = value.len() as libc::socklen_t;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the buffer is live and `len` is its length; the kernel writes no more than that.
    let result = unsafe { libc::getsockopt(fd, level, option, value.as_mut_ptr().cast(), &raw mut len) };
    check(result.into())?;
    Ok((len as usize).min(value.len()))
}

/// getsockopt(2) of an `int`.
pub fn get_int(fd: impl AsFd, level: i32, option: i32) -> Result<i32> {
    let mut value = [0; 4];
    get_option(fd, level, option, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// setsockopt(2).
pub fn set_option(fd: impl AsFd, level: i32, option: i32, value: &[u8]) -> Result<()> {
    let (fd, len) = (fd.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    // SAFETY: the buffer is live and of the length passed; it is only read.
    check(unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), len) }.into()).map(drop)
}

/// getsockname(2): the bytes of the address it is bound to.
pub fn local_address(fd: impl AsFd) -> Result<Vec<u8>> {
    address(|at, len| {
        // SAFETY: `at` and `len` point to a live buffer and its length.
        unsafe { libc::getsockname(fd.as_fd().as_raw_fd(), at, len) }
    })
}

/// getpeername(2): the bytes of the address it is connected to. `ENOTCONN` when it is not.
pub fn peer_address(fd: impl AsFd) -> Result<Vec<u8>> {
    address(|at, len| {
        // SAFETY: `at` and `len` point to a live buffer and its length.
        unsafe { libc::getpeername(fd.as_fd().as_raw_fd(), at, len) }
    })
}

fn address(get: impl Fn(*mut libc::sockaddr, *mut libc::socklen_t) -> i32) -> Result<Vec<u8>> {
    let mut bytes = vec![0_u8; ADDRESS_MAX];
    let mut len = ADDRESS_MAX as libc::socklen_t;
    check(get(bytes.as_mut_ptr().cast(), &raw mut len).into())?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// bind(2) to an address as bytes.
pub fn bind(fd: impl AsFd, address: &[u8]) -> Result<()> {
    let len = address.len() as libc::socklen_t;
    // SAFETY: the buffer is live and of the length passed; it is only read.
    check(unsafe { libc::bind(fd.as_fd().as_raw_fd(), address.as_ptr().cast(), len) }.into()).map(drop)
}

/// Copies what is first in its queue, without waiting and without taking it out: recv(2) with `MSG_PEEK`, `MSG_DONTWAIT` and
/// `MSG_TRUNC`, which for datagrams tells their whole length. `EAGAIN`: there is nothing.
pub fn peek(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the buffer is live and of the length passed; the kernel writes no more than that.
    check(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) } as i64)
        .map(|count| count as usize)
}

/// Copies what is first in the queue of a stream, as far as there is room, without waiting and without taking it out: recv(2)
/// with `MSG_PEEK` and `MSG_DONTWAIT`. `EAGAIN`: there is nothing.
pub fn peek_stream(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the buffer is live and of the length passed; the kernel writes no more than that.
    check(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) } as i64)
        .map(|count| count as usize)
}

/// connect(2) to an address as bytes.
pub fn connect(fd: impl AsFd, address: &[u8]) -> Result<()> {
    let len = address.len() as libc::socklen_t;
    // SAFETY: the buffer is live and of the length passed; it is only read.
    check(unsafe { libc::connect(fd.as_fd().as_raw_fd(), address.as_ptr().cast(), len) }.into()).map(drop)
}

/// Waits until no packet is on its way through the kernel that had come before (membarrier(2), `MEMBARRIER_CMD_GLOBAL`,
/// which waits for a grace period of RCU). Not known to kernels with processors that are never interrupted (`nohz_full`).
pub fn await_packets_under_way() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

/// An ioctl(2) that stores an `int`, such as `SIOCINQ` and `SIOCOUTQ` (tcp(7), udp(7)).
pub fn ioctl_int(fd: impl AsFd, request: u32) -> Result<i32> {
    let mut value = 0_i32;
    // SAFETY: the requests that callers pass store one `int`, for which there is room.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request.into(), &raw mut value) }.into())?;
    Ok(value)
}

/// Copies the instructions of a socket's classic filter, of 8 bytes each, and tells how many there are (socket(7),
/// `SO_GET_FILTER`). `EACCES` for one of eBPF, `EINVAL` when there is no room for all.
pub fn filter(fd: impl AsFd, instructions: &mut [[u8; 8]]) -> Result<usize> {
    // This one length is not in bytes but in instructions (net/core/filter.c: sk_get_filter).
    let mut count = instructions.len() as libc::socklen_t;
    let fd = fd.as_fd().as_raw_fd();
    let at = instructions.as_mut_ptr().cast();
    // SAFETY: the buffer is live and has room for `count` instructions of 8 bytes; the kernel writes no more than that.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, at, &raw mut count) }.into())?;
    Ok((count as usize).min(instructions.len()))
}

/// Attaches a classic filter, whose instructions are of 8 bytes each (socket(7), `SO_ATTACH_FILTER`).
pub fn set_filter(fd: impl AsFd, instructions: &[u8]) -> Result<()> {
    let program = libc::sock_fprog {
        len: (instructions.len() / size_of::<libc::sock_filter>()) as u16,
        filter: instructions.as_ptr().cast_mut().cast(),
    };
    let (fd, len) = (fd.as_fd().as_raw_fd(), size_of::<libc::sock_fprog>() as libc::socklen_t);
    let at = (&raw const program).cast();
    // SAFETY: `program` is live and of the length passed; it points to as many instructions as it says, which are only read,
    // byte by byte, so that their alignment is of no matter.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, at, len) }.into()).map(drop)
}

/// `sun_path` of an address of the family `AF_UNIX` (unix(7)), without the zero that ends a path; empty without a name.
pub fn unix_name(address: &[u8]) -> Vec<u8> {
    match address.get(2..).unwrap_or_default() {
        [first, path @ .., 0] if *first != 0 => [&[*first], path].concat(),
        name => name.to_vec(),
    }
}

/// A message, or a piece of a stream.
#[derive(Debug, Default)]
pub struct Message {
    /// How many bytes it has (more than were asked for, if it was cut).
    pub len: usize,
    /// `MSG_*`
    pub flags: i32,
    /// The name of the sender, for messages between sockets of the family `AF_UNIX`.
    pub sender: Vec<u8>,
    /// The address of the sender, for messages, as the kernel has it.
    pub address: Vec<u8>,
    /// The descriptors that travel with it (`SCM_RIGHTS`), now ours.
    pub rights: Vec<OwnedFd>,
    /// Pid, uid and gid that travel with it (`SCM_CREDENTIALS`).
    pub credentials: Option<[u32; 3]>,
}

/// Descriptors that one message can carry (`SCM_MAX_FD`).
pub const RIGHTS_MAX: usize = 253;

const SCM_PIDFD: i32 = 4;

/// recvmsg(2) with these flags, and `MSG_CMSG_CLOEXEC`. What else travels with a message is passed over.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], flags: i32) -> Result<Message> {
    let mut address = [0_u8; 2 + 108 + 1];
    // Aligned as the kernel wants it; room for all kinds of headers, of which rights are the longest by far.
    let mut control = [0_u64; (16 + RIGHTS_MAX * 4).div_ceil(8) + 64];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a structure of numbers and pointers, for which zeros are good.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_mut_ptr().cast();
    header.msg_namelen = address.len() as u32;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: all buffers are live and of the lengths passed.
    let len = check(unsafe { libc::recvmsg(fd, &raw mut header, flags | libc::MSG_CMSG_CLOEXEC) } as i64)?;
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut message = Message { len: len as usize, flags: header.msg_flags, ..Message::default() };
    message.address = address[..(header.msg_namelen as usize).min(address.len())].to_vec();
    message.sender = unix_name(&message.address);
    take_control(&control[..header.msg_controllen.min(control.len())], &mut message);
    Ok(message)
}

/// How many of the next `room` bytes of a stream were sent in pieces that end within them. Looks only (`MSG_PEEK`).
///
/// The room ends at a page that cannot be written to: of a piece that would go beyond, the kernel copies nothing
/// (`unix_stream_read_generic`).
pub fn whole_pieces(socket: impl AsFd, room: usize) -> Result<usize> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    let mut buffer = vec![0_u8; room];
    let page = crate::PAGE_SIZE as usize;
    // SAFETY: a new mapping, where the kernel likes.
    let wall = unsafe { mmap_anonymous(std::ptr::null_mut(), page, ProtFlags::empty(), MapFlags::PRIVATE) }?;
    let mut parts = [
        libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: room },
        libc::iovec { iov_base: wall, iov_len: page },
    ];
    // SAFETY: a structure of numbers and pointers, for which zeros are good.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the first part is live; the second is a page of ours that nobody can write to, so the call fails there.
    let result = check(unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) } as i64);
    // SAFETY: the mapping made above, which nothing refers to.
    unsafe { munmap(wall, page) }?;
    match result {
        Ok(len) => Ok(len as usize),
        Err(Errno::FAULT | Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// Takes control messages apart (cmsg(3)).
fn take_control(mut control: &[u8], message: &mut Message) {
    while let Some((len, level, kind)) = control_header(control) {
        let Some(data) = control.get(16..len) else { return };
        let words =
            || data.chunks_exact(4).map(|word| i32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        let descriptors = || {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else knows of them.
            words().filter(|fd| *fd >= 0).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => message.rights.extend(descriptors()),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                let mut words = words().map(|word| word as u32);
                if let (Some(pid), Some(uid), Some(gid)) = (words.next(), words.next(), words.next()) {
                    message.credentials = Some([pid, uid, gid]);
                }
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => descriptors().for_each(drop),
            _ => {}
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
}

fn control_header(control: &[u8]) -> Option<(usize, i32, i32)> {
    let len = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(12..)?.first_chunk()?);
    (len >= 16).then_some((len, level, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn looks_without_taking() {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"hello").unwrap();
        let mut buffer = [0; 16];
        for _ in 0..2 {
            let message = receive(&other, &mut buffer, libc::MSG_PEEK | libc::MSG_DONTWAIT).unwrap();
            assert_eq!((message.len, &buffer[..5]), (5, &b"hello"[..]));
            assert!(message.rights.is_empty() && message.credentials.is_none());
        }
        one.write_all(b"again").unwrap();
        let whole: Vec<usize> = [4, 5, 9, 10].map(|room| whole_pieces(&other, room).unwrap()).to_vec();
        assert_eq!(whole, [0, 5, 5, 10]);
        assert_eq!(unix_name(&peer_address(&other).unwrap()), b"");
    }
}
