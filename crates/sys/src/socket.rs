//! Sockets as bytes: options by level and number, addresses as the kernel has them, and looks into queues.
//!
//! `rustix` has typed calls for the options that programs use; a checkpoint reads whatever there is.

use crate::{Result, check};
use std::os::fd::{AsFd, AsRawFd};

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
