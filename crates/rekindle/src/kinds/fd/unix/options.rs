//! Options of sockets, by a table. What differs from a fresh socket of the same kind is kept; what a fresh one has is
//! whatever the machine of the restore gives it.

use super::record::{Record, SocketOption};
use rekindle_sys::{Errno, Result, nr, socket};
use rekindle_tracee::{Arg, Batch};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::sync::OnceLock;

const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;
const SO_BUF_LOCK: i32 = 72;
const SO_LOCK_FILTER: i32 = 44;
const SO_PEEK_OFF: i32 = 42;
/// `BPF_MAXINSNS` (linux/bpf_common.h)
pub(super) const FILTER_MAX: usize = 4096;

/// Number and length of the value in bytes (include/uapi/asm-generic/socket.h): those that a program sets and the
/// kernel gives back. `SO_LOCK_FILTER` is the last, as nothing of the filter can be changed after it.
const OPTIONS: &[(i32, usize)] = &[
    (libc::SO_DEBUG, 4),
    (libc::SO_REUSEADDR, 4),
    (libc::SO_DONTROUTE, 4),
    (libc::SO_BROADCAST, 4),
    (libc::SO_SNDBUF, 4),
    (libc::SO_RCVBUF, 4),
    (libc::SO_KEEPALIVE, 4),
    (libc::SO_OOBINLINE, 4),
    (libc::SO_NO_CHECK, 4),
    (libc::SO_PRIORITY, 4),
    (libc::SO_LINGER, 8),
    (libc::SO_PASSCRED, 4),
    (libc::SO_RCVLOWAT, 4),
    (libc::SO_RCVTIMEO, 16),
    (libc::SO_SNDTIMEO, 16),
    (libc::SO_TIMESTAMP, 4),
    (libc::SO_PASSSEC, 4),
    (libc::SO_TIMESTAMPNS, 4),
    (libc::SO_MARK, 4),
    (libc::SO_RXQ_OVFL, 4),
    (SO_PEEK_OFF, 4),
    (libc::SO_NOFCS, 4),
    (libc::SO_SELECT_ERR_QUEUE, 4),
    (63, 4), // SO_TIMESTAMP_NEW
    (64, 4), // SO_TIMESTAMPNS_NEW
    (SO_BUF_LOCK, 4),
    (75, 4), // SO_RCVMARK
    (76, 4), // SO_PASSPIDFD
    (82, 4), // SO_RCVPRIORITY
    (83, 4), // SO_PASSRIGHTS
    (SO_LOCK_FILTER, 4),
];

/// Those that are kept even if a fresh socket has the same: filling queues changes them for a while.
const ALWAYS: [i32; 3] = [libc::SO_SNDBUF, libc::SO_RCVBUF, SO_BUF_LOCK];

/// Whether an option of an image is one of ours, of the right length.
pub(super) fn is_sane(option: &SocketOption) -> bool {
    OPTIONS.contains(&(option.number, option.value.len()))
}

/// The options of a socket.
pub(super) fn capture(of: &OwnedFd, kind: u32) -> Result<Vec<SocketOption>> {
    let fresh = fresh(kind)?;
    let mut options = Vec::new();
    for ((number, len), usual) in OPTIONS.iter().zip(fresh) {
        // One that this kernel does not have, nobody has set.
        let Some(found) = value(of, *number, *len) else { continue };
        if ALWAYS.contains(number) || usual.as_ref() != Some(&found) {
            options.push(SocketOption { number: *number, value: found });
        }
    }
    Ok(options)
}

/// The values of all options of a socket that nobody has set anything of. Asked once for each kind: there may be
/// thousands to compare with it.
fn fresh(kind: u32) -> Result<&'static [Option<Vec<u8>>]> {
    static FRESH: [OnceLock<Vec<Option<Vec<u8>>>>; 3] = [const { OnceLock::new() }; 3];
    let cell = match kind as i32 {
        libc::SOCK_STREAM => &FRESH[0],
        libc::SOCK_DGRAM => &FRESH[1],
        _ => &FRESH[2],
    };
    if let Some(values) = cell.get() {
        return Ok(values);
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::from_raw(kind), SocketFlags::CLOEXEC, None)?;
    let values = OPTIONS.iter().map(|(number, len)| value(&socket, *number, *len)).collect();
    Ok(cell.get_or_init(|| values))
}

fn value(of: impl AsFd, number: i32, len: usize) -> Option<Vec<u8>> {
    option(of, number, len).ok().filter(|value| value.len() == len)
}

/// The value of an option of the level `SOL_SOCKET`, of at most `room` bytes.
pub(super) fn option(of: impl AsFd, number: i32, room: usize) -> Result<Vec<u8>> {
    let mut value = vec![0; room];
    let len = socket::get_option(of, libc::SOL_SOCKET, number, &mut value)?;
    value.truncate(len);
    Ok(value)
}

/// The instructions of a classic filter, 8 bytes each; empty without one. `EACCES` for one of eBPF.
pub(super) fn filter(of: &OwnedFd) -> Result<Vec<u8>> {
    // Most have none. One that is longer does not fit.
    let mut few = [[0; 8]; 1];
    match socket::filter(of, &mut few) {
        Err(Errno::INVAL) => {}
        count => return Ok(few[..count?].concat()),
    }
    let mut instructions = vec![[0; 8]; FILTER_MAX];
    let count = socket::filter(of, &mut instructions)?;
    Ok(instructions[..count].concat())
}

/// The steps that make room for what is about to be sent from a socket: no send may wait, or be cut.
pub(super) fn make_room(sender: Arg, bytes: usize, messages: usize, batch: &mut Batch) {
    // Beside the bytes, each message costs what the kernel keeps about it (`SKB_TRUESIZE`).
    let room = (bytes * 2 + messages * 4096 + 256 * 1024).min(1 << 29);
    set_size(sender, libc::SO_SNDBUF, room as i32, batch);
}

/// The steps that set the options of a socket, its filter last.
pub(super) fn restore(record: &Record, number: Arg, batch: &mut Batch) {
    let (lock, others): (Vec<_>, Vec<_>) =
        record.options.iter().partition(|option| option.number == SO_LOCK_FILTER);
    let (buffers, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|option| matches!(option.number, libc::SO_SNDBUF | libc::SO_RCVBUF));
    for option in buffers {
        // What the kernel tells is twice what was set (socket(7)).
        let half = option.value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) / 2;
        set_size(number, option.number, half, batch);
    }
    for option in others {
        set(number, option.number, &option.value, batch);
    }
    if !record.filter.is_empty() {
        attach(&record.filter, number, batch);
    }
    for option in lock {
        set(number, option.number, &option.value, batch);
    }
}

/// Sets the size of a buffer; without privileges it becomes as large as the system allows.
fn set_size(socket: Arg, number: i32, size: i32, batch: &mut Batch) {
    set(socket, number, &size.to_ne_bytes(), batch);
    let forced = if number == libc::SO_SNDBUF { SO_SNDBUFFORCE } else { SO_RCVBUFFORCE };
    let data = batch.data(&size.to_ne_bytes());
    let args = [socket, libc::SOL_SOCKET.into(), forced.into(), data.into(), 4.into()];
    batch.step_may_fail(format!("setting option {forced} of a socket"), nr::SETSOCKOPT, args);
}

fn set(socket: Arg, number: i32, value: &[u8], batch: &mut Batch) {
    let data = batch.data(value);
    let args = [socket, libc::SOL_SOCKET.into(), number.into(), data.into(), value.len().into()];
    batch.step(format!("setting option {number} of a socket"), nr::SETSOCKOPT, args);
}

/// `struct sock_fprog`: a count, and where the instructions are.
fn attach(filter: &[u8], socket: Arg, batch: &mut Batch) {
    let instructions = batch.data(filter);
    let program = batch.data(&[((filter.len() / 8) as u64).to_ne_bytes(), [0; 8]].concat());
    batch.point_at(program, 8, instructions);
    let args =
        [socket, libc::SOL_SOCKET.into(), libc::SO_ATTACH_FILTER.into(), program.into(), 16_usize.into()];
    batch.step("attaching a filter to a socket", nr::SETSOCKOPT, args);
}
