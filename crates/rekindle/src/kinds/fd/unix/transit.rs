//! What is on its way through the sockets of a tree: bytes and messages that nobody has read yet, and the descriptors
//! among them, also those in the queues of sockets that are on their way themselves.
//!
//! Looking at a message with descriptors installs them in our own process, where they stay until the capture is done:
//! there they are identified with those of the tree (kcmp(2)), or captured like them.

use super::queue::{self, Peeked};
use super::record;
use super::sockets::Sockets;
use crate::error::Error;
use crate::kinds::fd::fetch::fetch;
use crate::refusal::Refusals;
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::Errno;
use rekindle_sys::sock_diag::UnixSocket;
use rustix::fd::{AsRawFd, OwnedFd};
use std::collections::{BTreeSet, HashMap};

/// See the module's story.
#[derive(Default)]
pub struct Transit {
    /// Our own process, with those of its descriptors that are on their way.
    view: Option<ProcessView>,
    /// Keeps them open.
    descriptors: Vec<OwnedFd>,
    /// By inode number; descriptions are meant by the numbers that they have in our process.
    queues: HashMap<u32, Vec<record::Message>>,
    /// Where sockets that only travel are: their numbers in our process.
    travelling: HashMap<u32, i32>,
}

impl Transit {
    /// Looks into all sockets of a frozen tree. Refuses what is more than an image can hold.
    pub fn look(tree: &TreeView) -> Result<Self, Error> {
        let mut transit = Self::default();
        let Ok(sockets) = tree.sockets() else { return Ok(transit) };
        let mut seen = BTreeSet::new();
        for view in &tree.processes {
            for fd in view.fds.iter().filter(|fd| super::is_socket(fd)) {
                // The kernel has told of a stream that there is nothing in it; an empty message does not count there.
                let is_empty =
                    |socket: &UnixSocket| i32::from(socket.kind) == libc::SOCK_STREAM && socket.queued == 0;
                if let Some(socket) = sockets.get(fd.ino as u32)
                    && seen.insert(socket.inode)
                    && !is_empty(socket)
                {
                    let of = fetch(fd, view).map_err(|errno| failed(fd, view.pid, errno))?;
                    transit.look_into(&of, fd, view.pid, socket)?;
                }
            }
        }
        transit.follow(sockets, &mut seen)?;
        Ok(transit)
    }

    /// The descriptors that are on their way, as descriptors of our own process.
    pub fn view(&self) -> Option<&ProcessView> {
        self.view.as_ref()
    }

    /// What is in the queue of a socket.
    pub(super) fn queue(&self, inode: u32) -> Vec<record::Message> {
        self.queues.get(&inode).cloned().unwrap_or_default()
    }

    /// Where a socket is, in the tree or on its way: process and number.
    pub(super) fn holder(&self, inode: u32, sockets: &Sockets) -> Option<(i32, i32)> {
        let travelling = || Some((self.view.as_ref()?.pid, *self.travelling.get(&inode)?));
        sockets.holder(inode).or_else(travelling)
    }

    /// Looks into the sockets that are on their way, until no new ones are found.
    fn follow(&mut self, sockets: &Sockets, seen: &mut BTreeSet<u32>) -> Result<(), Error> {
        let mut from = 0;
        while from < self.descriptors.len() {
            let own_pid = std::process::id() as i32;
            if self.view.is_none() {
                let mut own = ProcessView::read(own_pid)?;
                own.fds.clear();
                self.view = Some(own);
            }
            let mut sockets_among = Vec::new();
            for descriptor in &self.descriptors[from..] {
                let fd = FdView::read(own_pid, descriptor.as_raw_fd())?;
                if super::is_socket(&fd)
                    && let Some(socket) = sockets.get(fd.ino as u32)
                {
                    self.travelling.entry(socket.inode).or_insert(fd.fd);
                    let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, 0);
                    sockets_among.push((copy.map_err(|e| failed(&fd, own_pid, e))?, fd.clone(), socket));
                }
                if let Some(view) = &mut self.view {
                    view.fds.push(fd);
                }
            }
            from = self.descriptors.len();
            for (of, fd, socket) in sockets_among {
                if seen.insert(socket.inode) {
                    self.look_into(&of, &fd, own_pid, socket)?;
                }
            }
        }
        Ok(())
    }

    fn look_into(&mut self, of: &OwnedFd, fd: &FdView, pid: i32, socket: &UnixSocket) -> Result<(), Error> {
        let peeked = match i32::from(socket.kind) {
            _ if socket.state == UnixSocket::LISTENING => return Ok(()),
            libc::SOCK_STREAM => queue::peek_stream(of),
            kind => queue::peek_messages(of, kind == libc::SOCK_SEQPACKET && socket.shutdown & 1 != 0),
        };
        let messages = match peeked {
            Ok(messages) => messages,
            // Not connected: nothing can be in it.
            Err(Errno::INVAL | Errno::NOTCONN) => return Ok(()),
            Err(Errno::TOOBIG) => return Err(too_much(fd, pid)),
            Err(errno) => return Err(failed(fd, pid, errno)),
        };
        let queue = messages.into_iter().map(|message| self.keep(message)).collect();
        self.queues.insert(socket.inode, queue);
        Ok(())
    }

    fn keep(&mut self, peeked: Peeked) -> record::Message {
        let rights = peeked.message.rights.iter().map(|fd| fd.as_raw_fd() as u32).collect();
        self.descriptors.extend(peeked.message.rights);
        // Pid 0: it was sent when nobody wanted to know.
        let known = peeked.message.credentials.filter(|[pid, ..]| *pid != 0);
        let credentials = known.map(|[pid, uid, gid]| record::Credentials {
            pid: pid as i32,
            uid,
            gid,
            groups: Vec::new(),
        });
        record::Message { data: peeked.data, rights, credentials, sender: peeked.message.sender }
    }
}

fn failed(fd: &FdView, pid: i32, errno: Errno) -> Error {
    Error::call(format!("looking into the socket at fd {} of {pid}", fd.fd), errno)
}

pub(super) const TOO_MUCH: (&str, &str, &str) = (
    "unix-queue",
    "it has received more than an image holds for one socket (768 KiB), and not read it",
    "try again when the program has read some of it",
);

fn too_much(fd: &FdView, pid: i32) -> Error {
    let mut refusals = Refusals::of(pid);
    let (code, why, remedy) = TOO_MUCH;
    refusals.add(code, format!("fd {} ({})", fd.fd, crate::refusal::show(&fd.link)), why, remedy);
    Error::Refused(refusals.into_list())
}
