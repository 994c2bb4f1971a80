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
    let nothing_lost = |errno| Lost { errno, messages: 0 };
    let mut passage = Passage::of(queue.as_fd().as_raw_fd(), attributes).map_err(nothing_lost)?;
    apart::run(|| passage.go_on()).map_err(nothing_lost)?;
    if !passage.is_complete() {
        passage.take_over(self::attributes(&queue).map_or(0, |now| now.curmsgs as usize));
        passage.go_on();
    }
    match passage.failed {
        Some(errno) => Err(Lost { errno, messages: passage.count - passage.put_back }),
        // Somebody else has received one, or it was in the hands of the process that was killed.
        None if passage.count < passage.taken.len() => Err(nothing_lost(Errno::NOMSG)),
        None => Ok(passage.messages()),
    }
}

/// Messages on their way out of a queue and back.
struct Passage {
    queue: i32,
    msgsize: usize,
    /// Room for all of them, one behind the other.
    room: Vec<u8>,
    /// Length and priority of each.
    taken: Vec<(usize, u32)>,
    count: usize,
    all_are_out: bool,
    put_back: usize,
    failed: Option<Errno>,
}

impl Passage {
    fn of(queue: i32, attributes: &Attributes) -> Result<Self> {
        let (count, msgsize) = (attributes.curmsgs as usize, attributes.msgsize as usize);
        let size = count.checked_mul(msgsize).ok_or(Errno::NOMEM)?;
        // Not zeros, so that it is there: whoever touches it first may find that there is no memory.
        let (room, taken) = (vec![0xff; size], vec![(usize::MAX, 0); count]);
        Ok(Self { queue, msgsize, room, taken, count: 0, all_are_out: false, put_back: 0, failed: None })
    }

    /// What is left to be done. It allocates nothing.
    fn go_on(&mut self) {
        self.failed = None;
        let slots = self.room.chunks_exact_mut(self.msgsize).zip(&mut self.taken).skip(self.count);
        for (slot, about) in slots.filter(|_| !self.all_are_out) {
            match receive(self.queue, slot) {
                Ok(message) => *about = message,
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    self.failed = Some(errno);
                    break;
                }
            }
            self.count += 1;
        }
        self.all_are_out = true;
        let slots = self.room.chunks_exact(self.msgsize).zip(&self.taken);
        for (slot, (length, priority)) in slots.take(self.count).skip(self.put_back) {
            if let Err(errno) = send_bytes(self.queue, &slot[..*length], *priority) {
                self.failed = Some(errno);
                break;
            }
            self.put_back += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.all_are_out && self.put_back == self.count
    }

    /// Whoever went on so far is no more; there are so many messages in the queue now. One may have been received or sent and not
    /// been counted.
    fn take_over(&mut self, there: usize) {
        if self.all_are_out {
            self.put_back = there.clamp(self.put_back, self.count);
        } else if self.taken.get(self.count).is_some_and(|(length, _)| *length != usize::MAX) {
            self.count += 1;
        }
    }

    fn messages(&self) -> Vec<Message> {
        let slots = self.room.chunks_exact(self.msgsize).zip(&self.taken);
        slots
            .map(|(slot, (length, priority))| Message {
                priority: *priority,
                bytes: slot[..*length].to_vec(),
            })
            .collect()
    }
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
