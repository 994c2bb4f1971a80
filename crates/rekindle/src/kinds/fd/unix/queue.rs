//! What a socket has received and the program has not read, looked at without taking it (`MSG_PEEK`).
//!
//! A plain look sees the first message, or a stream up to the first descriptors in it. To see more, looks must move on:
//! `SO_PEEK_OFF`, which belongs to the socket. It is set only where it is needed, and set back at once. (If we die in
//! between, a program that looks into its socket itself would look past its first bytes; one that only reads notices
//! nothing.)
//!
//! A look at a stream goes on to the first descriptors, even if it is for fewer bytes than come before them. Where those
//! bytes end is seen by a look with room that the kernel cannot write to behind it: what does not fit whole is left out.
//!
//! A stream is cut where a reader would be stopped: before and behind each piece with descriptors, and where the sender
//! changes, if the program wants to know senders.

use super::record::QUEUE_MAX;
use rekindle_sys::socket::{self, Message};
use rekindle_sys::{Errno, Result};
use rustix::fd::OwnedFd;

const SO_PEEK_OFF: i32 = 42;
/// `SIOCINQ`
const BYTES_READABLE: u32 = libc::FIONREAD as u32;

/// A message, or a piece of a stream, and what travels with it.
pub(in super::super) struct Peeked {
    pub(in super::super) data: Vec<u8>,
    /// See [`Message`].
    pub(in super::super) message: Message,
}

/// How many bytes wait to be read: of a stream, all; of datagrams, the first.
fn readable(of: &OwnedFd) -> Result<usize> {
    Ok(socket::ioctl_int(of, BYTES_READABLE)?.max(0) as usize)
}

impl Peeked {
    /// Cuts a piece of a stream before the bytes that the descriptors came with.
    fn split(mut self, at: usize) -> Vec<Self> {
        let data = self.data.split_off(at);
        let message = std::mem::take(&mut self.message);
        self.message.credentials = message.credentials;
        let with_rights = Self { data, message };
        if self.data.is_empty() { vec![with_rights] } else { vec![self, with_rights] }
    }
}

/// All that is in the queue of a stream. `E2BIG` for more than a record holds.
pub(super) fn peek_stream(of: &OwnedFd) -> Result<Vec<Peeked>> {
    let total = readable(of)?;
    if total == 0 {
        return Ok(Vec::new());
    }
    if total > QUEUE_MAX {
        return Err(Errno::TOOBIG);
    }
    if socket::get_int(of, libc::SOL_SOCKET, SO_PEEK_OFF)? < 0
        && let Some(all) = look(of, total)?
        && all.data.len() == total
        && all.message.rights.is_empty()
    {
        return Ok(vec![all]);
    }
    let looking = Looking::begin(of)?;
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < total {
        looking.move_to(at)?;
        let Some(piece) = look(of, total - at)?.filter(|piece| !piece.data.is_empty()) else { break };
        let len = piece.data.len();
        if piece.message.rights.is_empty() {
            pieces.push(piece);
        } else {
            looking.move_to(at)?;
            let before = socket::whole_pieces(of, len - 1)?;
            pieces.extend(piece.split(before));
        }
        at += len;
    }
    Ok(pieces)
}

/// All messages in the queue of a socket that keeps their boundaries. `E2BIG` for more than a record holds.
/// `is_at_end` says that no more can come, so that nothing to read looks like an empty message.
///
/// An empty message that has been looked at before, and is not the first, is not seen (net/core/datagram.c).
pub(in super::super) fn peek_messages(of: &OwnedFd, is_at_end: bool) -> Result<Vec<Peeked>> {
    let Some(first) = first_message(of)?.filter(|first| !is_at_end || first.message.len > 0) else {
        return Ok(Vec::new());
    };
    let looking = Looking::begin(of)?;
    let (mut messages, mut at): (Vec<Peeked>, _) = (Vec::new(), 0);
    // An empty one is passed over by looks that move on, once it has been looked at.
    messages.extend(Some(first).filter(|first| first.message.len == 0));
    looking.move_to(0)?;
    while let Some(next) = look(of, QUEUE_MAX + 1)? {
        at += next.message.len;
        if at > QUEUE_MAX {
            return Err(Errno::TOOBIG);
        }
        if is_at_end && next.message.len == 0 {
            break;
        }
        messages.push(next);
    }
    Ok(messages)
}

/// The first message, wherever looks are.
fn first_message(of: &OwnedFd) -> Result<Option<Peeked>> {
    let looking = Looking::begin(of)?;
    if looking.before >= 0 {
        looking.stay()?;
    }
    look(of, QUEUE_MAX + 1)
}

/// One look; `None` if there is nothing.
fn look(of: &OwnedFd, room: usize) -> Result<Option<Peeked>> {
    let mut data = vec![0; room];
    match socket::receive(of, &mut data, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Ok(message) => {
            data.truncate(message.len);
            data.shrink_to_fit();
            Ok(Some(Peeked { data, message }))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Looks that move on. Where the program's own looks were is put back when this goes.
struct Looking<'a> {
    of: &'a OwnedFd,
    before: i32,
}

impl<'a> Looking<'a> {
    fn begin(of: &'a OwnedFd) -> Result<Self> {
        Ok(Self { of, before: socket::get_int(of, libc::SOL_SOCKET, SO_PEEK_OFF)? })
    }

    fn move_to(&self, at: usize) -> Result<()> {
        self.set(at as i32)
    }

    /// Looks see what is first from now on.
    fn stay(&self) -> Result<()> {
        self.set(-1)
    }

    fn set(&self, to: i32) -> Result<()> {
        socket::set_option(self.of, libc::SOL_SOCKET, SO_PEEK_OFF, &to.to_ne_bytes())
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        if socket::get_int(self.of, libc::SOL_SOCKET, SO_PEEK_OFF) != Ok(self.before) {
            let _ = self.set(self.before); // it was set by the same call before
        }
    }
}
