//! Sockets of the family `AF_UNIX` (unix(7)): streams, datagrams, sequences of packets; pairs, names, queues, and the
//! descriptors on their way through them.
//!
//! ```text
//! checkpoint   sockets   who is there, and connected with whom (sock_diag)       once for the whole tree
//!              transit   what is on its way (queue: MSG_PEEK)                    once for the whole tree
//!              capture   one socket; relate: ids of others
//! restore      open ── bind ── finish ── settle                                  see restore
//! ```
//!
//! A peer outside of the tree is as if it had closed: the program reads what had arrived, then the end. A socket for
//! datagrams that is connected to a name (a system log's) is connected to it again, if it is there.
//!
//! What a program can notice: inode numbers (`socket:[N]`) and cookies are new. `SO_PEERCRED` tells the user and group
//! that it told; the pid is that of the process that holds the pair first, if the one that made the connection is not the
//! same. Messages that were sent to a socket before it wanted credentials (`SO_PASSCRED`) have none. What outsiders had
//! sent on connections not accepted yet is gone with these connections.

mod as_user;
mod capture;
mod fill;
mod options;
mod place;
pub(super) mod queue;
pub mod record;
mod restore;
mod sockets;
mod transit;

pub use record::Record;
pub use sockets::Sockets;
pub use transit::Transit;

use super::restore::{Finishing, Opening};
use super::{Asking, Checking, Claim, Description, FdKind, Opened, Relating, Survey};
use crate::error::Error;
use crate::refusal::show;
use crate::view::{FdView, TreeView};
use record::State;
use rekindle_sys::sock_diag::{self, UnixSocket};
use rekindle_tracee::Batch;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// See the module's story.
pub(super) struct Unix;

impl FdKind for Unix {
    fn name(&self) -> &'static str {
        "unix"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if is_socket(fd) { capture::claim(fd, cx) } else { Claim::NotMine }
    }

    fn ask(&self, fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
        capture::ask(fd, cx, record)
    }

    fn relate(&self, _fd: &FdView, cx: &Relating<'_>, record: &mut Description) -> Result<(), Error> {
        capture::relate(cx, record)
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        record::check(record, cx)
    }

    fn in_the_way(&self, records: &[&Description]) -> Vec<String> {
        let named = records.iter().filter_map(|record| record.unix.as_ref());
        let named: Vec<&Record> = named.filter(|unix| takes_name(unix)).collect();
        // Without the kernel's word, a name that is taken is noticed when it is bound.
        let sockets =
            if named.is_empty() { Vec::new() } else { sock_diag::unix_sockets().unwrap_or_default() };
        named.into_iter().flat_map(|unix| obstacles(unix, &sockets)).collect()
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        restore::open(record, cx, batch)
    }

    fn bind(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        if let Some(unix) = &record.unix {
            restore::bind(unix, cx, batch);
        }
    }

    fn finish(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        if let Some(unix) = &record.unix {
            restore::finish(record.id, unix, cx, batch);
        }
    }

    fn settle(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        if let Some(unix) = &record.unix {
            restore::settle(record, unix, cx, batch);
        }
    }
}

/// Whether a descriptor is one of a socket, of whatever family.
fn is_socket(fd: &FdView) -> bool {
    fd.file_type() == libc::S_IFSOCK && fd.link.starts_with(b"socket:[")
}

/// Whether a descriptor is one of a socket whose other end somebody outside of the tree has.
pub(super) fn leads_outside(fd: &FdView, tree: &TreeView) -> bool {
    is_socket(fd) && tree.sockets().is_ok_and(|sockets| sockets.leads_outside(fd.ino as u32))
}

/// Whether its name is one that others find it by.
fn takes_name(unix: &Record) -> bool {
    let is_found = matches!(unix.state(), State::Idle | State::Listening);
    is_found && (unix.place.is_some() || unix.name.first() == Some(&0))
}

/// Why its names cannot be taken.
fn obstacles(unix: &Record, sockets: &[UnixSocket]) -> Vec<String> {
    let Some(place) = &unix.place else {
        let taken = sockets.iter().any(|socket| {
            let holds_it = socket.state != UnixSocket::ESTABLISHED && u32::from(socket.kind) == unix.kind;
            holds_it && socket.name.as_ref() == Some(&unix.name)
        });
        let name = show(&unix.name);
        let obstacle = format!("the name {name} of a socket of the program is taken; end who has it");
        return taken.then_some(obstacle).into_iter().collect();
    };
    let paths = place::full_paths(&unix.name, place);
    paths.iter().filter_map(|path| obstacle_at(path, sockets)).collect()
}

/// Why a socket cannot have its file at a path.
fn obstacle_at(path: &Path, sockets: &[UnixSocket]) -> Option<String> {
    let shown = path.display();
    let Ok(found) = path.symlink_metadata() else {
        let has_directory = path.parent().is_some_and(Path::is_dir);
        return (!has_directory)
            .then(|| format!("the directory of the program's socket {shown} does not exist; create it"));
    };
    if found.mode() & libc::S_IFMT != libc::S_IFSOCK {
        return Some(format!("{shown}, where a socket of the program was, is no socket; move it away"));
    }
    let is_bound = |socket: &&UnixSocket| {
        socket.state != UnixSocket::ESTABLISHED
            && socket.file.is_some_and(|file| place::is_file_of(path, &found, file))
    };
    let user = sockets.iter().find(is_bound)?;
    let inode = user.inode;
    Some(format!(
        "{shown}, where a socket of the program was, is in use by another (socket:[{inode}]); end who has it"
    ))
}
