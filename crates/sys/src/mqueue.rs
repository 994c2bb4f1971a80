//! POSIX message queues (mq_overview(7)): calls that no other crate has, and a look at messages.

use crate::{Errno, Result, apart, check};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ffi::CStr;

/// What a queue can hold, and holds (mq_getattr(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Messages that there is room for.
    pub maxmsg: u64,
    /// Bytes that a message can have.
    pub msgsize: u64,
    /// Messages in it.
    pub curmsgs: u64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its priority: the highest is received first.
    pub priority: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// `struct mq_attr` (include/uapi/linux/mqueue.h): flags, maxmsg, msgsize, curmsgs, reserved.
type MqAttr = [i64; 8];

/// Opens a queue, for reading and writing; its name is without the slash that mq_open(3) wants. `ENOENT`: there is none.
pub fn open(name: &CStr) -> Result<OwnedFd> {
    // SAFETY: `name` ends with a zero; without O_CREAT there are no more arguments.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK) })?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes a queue, as [`open`] gives it, with permissions that the caller's umask restricts. `EEXIST`: the name is taken; `EINVAL`:
/// it is larger than the system's limits; `EMFILE`: than `RLIMIT_MSGQUEUE` (mq_overview(7)).
pub fn make(name: &CStr, maxmsg: u64, msgsize: u64) -> Result<OwnedFd> {
    let attributes: MqAttr = [0, maxmsg as i64, msgsize as i64, 0, 0, 0, 0, 0];
    let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: `name` ends with a zero, `attributes` is a live `struct mq_attr`.
    let made = unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), flags, 0o600, attributes.as_ptr()) };
    let fd = check(made)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Takes a queue its name away: it lives until nobody has it open any more (mq_unlink(3)).
pub fn unlink(name: &CStr) -> Result<()> {
    // SAFETY: `name` ends with a zero.
    check(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) }).map(drop)
}

/// What a queue can hold, and holds.
pub fn attributes(queue: impl AsFd) -> Result<Attributes> {
    let mut found: MqAttr = [0; 8];
    let (fd, none) = (queue.as_fd().as_raw_fd(), std::ptr::null::<MqAttr>());
    // SAFETY: `found` has room for a `struct mq_attr`.
    check(unsafe { libc::syscall(libc::SYS_mq_getsetattr, fd, none, found.as_mut_ptr()) })?;
    let [_, maxmsg, msgsize, curmsgs, ..] = found.map(|number| number as u64);
    Ok(Attributes { maxmsg, msgsize, curmsgs })
}

/// Sends a message, without waiting: `EAGAIN` when there is no room. The queue has been opened by [`open`] or [`make`].
pub fn send(queue: impl AsFd, message: &Message) -> Result<()> {
    send_bytes(queue.as_fd().as_raw_fd(), &message.bytes, message.priority)
}

fn send_bytes(queue: i32, bytes: &[u8], priority: u32) -> Result<()> {
    let (at, length, no_limit) = (bytes.as_ptr(), bytes.len(), std::ptr::null::<libc::timespec>());
    // SAFETY: `bytes` are as many as are passed.
    let sent = unsafe { libc::syscall(libc::SYS_mq_timedsend, queue, at, length, priority, no_limit) };
    check(sent).map(drop)
}

fn receive(queue: i32, room: &mut [u8]) -> Result<(usize, u32)> {
    let mut priority = 0_u32;
    let (at, length, no_limit) = (room.as_mut_ptr(), room.len(), std::ptr::null::<libc::timespec>());
    // SAFETY: there is as much room as is passed, and `priority` is live.
    let received =
        unsafe { libc::syscall(libc::SYS_mq_timedreceive, queue, at, length, &raw mut priority, no_limit) };
    check(received).map(|length| (length as usize, priority))
}

/// Takes all messages out of a queue, of which it had `attributes` before.
pub fn empty(queue: impl AsFd, attributes: &Attributes) -> Result<()> {
    let mut room = vec![0; attributes.msgsize as usize];
    loop {
        match receive(queue.as_fd().as_raw_fd(), &mut room) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// What is in a queue that nobody else uses meanwhile. It had `attributes` before, and has been opened by this process, for
/// reading and writing and with `O_NONBLOCK`.
///
/// There is no call that looks at messages: all are received, and sent again. Whoever holds them meanwhile must not be killed.
/// That is a process of its own, which signals to us do not reach ([`apart::run`]); should it be killed, we send what is left.
/// So messages are lost if both are killed within the same few microseconds (or one, if it is that process alone, and in the
/// very instruction after a message has been received).
///
/// `ENOSPC`: the number of messages that could not be put back follows, as somebody has used the queue all the same.
pub fn look_through(queue: impl AsFd, attributes: &Attributes) -> std::result::Result<Vec<Message>, Lost> {
    let (fd, msgsize) = (queue.as_fd().as_raw_fd(), attributes.msgsize as usize);
    let nothing_lost = |errno| Lost { errno, messages: 0 };
    let size =
        (attributes.curmsgs as usize).checked_mul(msgsize).ok_or_else(|| nothing_lost(Errno::NOMEM))?;
    // Not zeros, so that it is there: whoever touches it first may find that there is no memory.
    let mut room = vec![0xff_u8; size];
    let mut taken: Vec<(usize, u32)> = vec![(0, 0); attributes.curmsgs as usize];
    let (mut count, mut put_back, mut failed) = (0, 0, None);
    let mut pass = || {
        if put_back == 0 {
            for (slot, about) in room.chunks_exact_mut(msgsize).zip(&mut taken).skip(count) {
                match receive(fd, slot) {
                    Ok(message) => *about = message,
                    Err(errno) => {
                        failed = (errno != Errno::AGAIN).then_some(errno);
                        break;
                    }
                }
                count += 1;
            }
        }
        for (slot, (length, priority)) in room.chunks_exact(msgsize).zip(&taken).take(count).skip(put_back) {
            if let Err(errno) = send_bytes(fd, &slot[..*length], *priority) {
                failed = Some(errno);
                break;
            }
            put_back += 1;
        }
    };
    apart::run(&mut pass).map_err(nothing_lost)?;
    pass();
    if let Some(errno) = failed {
        return Err(Lost { errno, messages: count - put_back });
    }
    let messages = room.chunks_exact(msgsize).zip(taken).take(count);
    Ok(messages
        .map(|(slot, (length, priority))| Message { priority, bytes: slot[..length].to_vec() })
        .collect())
}

/// Why messages could not be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// The error.
    pub errno: Errno,
    /// Messages that could not be put back.
    pub messages: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_through_a_queue_and_leaves_it_as_it_was() {
        let name = std::ffi::CString::new(format!("rekindle-test-{}", std::process::id())).unwrap();
        let queue = match make(&name, 4, 16) {
            Ok(queue) => queue,
            Err(Errno::NOSYS | Errno::MFILE | Errno::ACCESS) => return, // as root alone, or without queues
            Err(errno) => panic!("{errno}"),
        };
        unlink(&name).unwrap();
        for (priority, bytes) in [(1, "b"), (7, "first"), (1, "c"), (0, "")] {
            send(&queue, &Message { priority, bytes: bytes.into() }).unwrap();
        }
        let wanted = [(7, "first"), (1, "b"), (1, "c"), (0, "")];
        let wanted = wanted.map(|(priority, bytes)| Message { priority, bytes: bytes.into() });
        for _ in 0..2 {
            let before = attributes(&queue).unwrap();
            assert_eq!(before, Attributes { maxmsg: 4, msgsize: 16, curmsgs: 4 });
            assert_eq!(look_through(&queue, &before).unwrap(), wanted);
        }
        empty(&queue, &attributes(&queue).unwrap()).unwrap();
        assert_eq!(attributes(&queue).unwrap().curmsgs, 0);
    }
}
