//! Which sockets there are on the machine, who is connected with whom, and which of them the tree has. Asked once.

use crate::view::ProcessView;
use rekindle_sys::Result;
use rekindle_sys::sock_diag::{self, UnixSocket};
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

/// All sockets of the family `AF_UNIX` in our network namespace.
pub struct Sockets {
    by_inode: HashMap<u32, UnixSocket>,
    /// Where the tree has one: process and number.
    holders: HashMap<u32, (i32, i32)>,
    /// The listening sockets at which others wait to be accepted.
    waits_at: HashMap<u32, u32>,
    /// Those that have been found to be such as can be captured.
    good: Mutex<BTreeSet<u32>>,
}

impl Sockets {
    /// Asks the kernel.
    pub fn ask(processes: &[ProcessView]) -> Result<Self> {
        let mut holders = HashMap::new();
        for view in processes {
            for fd in view.fds.iter().filter(|fd| super::is_socket(fd)) {
                holders.entry(fd.ino as u32).or_insert((view.pid, fd.fd));
            }
        }
        // Most programs have none.
        let sockets = if holders.is_empty() { Vec::new() } else { sock_diag::unix_sockets()? };
        let waits_at =
            sockets.iter().flat_map(|s| s.waiting.iter().map(|client| (*client, s.inode))).collect();
        let by_inode = sockets.into_iter().map(|socket| (socket.inode, socket)).collect();
        Ok(Self { by_inode, holders, waits_at, good: Mutex::default() })
    }

    /// Whether one has been found to be such as can be captured.
    pub(super) fn is_good(&self, inode: u32) -> bool {
        self.good.lock().is_ok_and(|good| good.contains(&inode))
    }

    /// Notes that it has.
    pub(super) fn note_good(&self, inode: u32) {
        if let Ok(mut good) = self.good.lock() {
            good.insert(inode);
        }
    }

    /// One of them.
    pub(super) fn get(&self, inode: u32) -> Option<&UnixSocket> {
        self.by_inode.get(&inode)
    }

    /// Where the tree has one: process and number.
    pub(super) fn holder(&self, inode: u32) -> Option<(i32, i32)> {
        self.holders.get(&inode).copied()
    }

    /// Where one waits to be accepted.
    pub(super) fn waits_at(&self, inode: u32) -> Option<u32> {
        self.waits_at.get(&inode).copied()
    }

    /// Whether one is connected to another that the tree does not have, but somebody else.
    pub(super) fn leads_outside(&self, inode: u32) -> bool {
        self.get(inode).is_some_and(|socket| match socket.peer {
            None => false,
            Some(0) => self.waits_at(inode).is_some_and(|listener| self.holder(listener).is_none()),
            Some(peer) => self.holder(peer).is_none(),
        })
    }
}
