//! From a socket of a frozen process to its record.

use super::options;
use super::place;
use super::record::{Credentials, Gone, Record, State};
use super::sockets::Sockets;
use super::transit::TOO_MUCH;
use crate::error::Error;
use crate::kinds::fd::fetch::fetch;
use crate::kinds::fd::{Asking, Claim, Description, Relating, Survey};
use crate::refusal::show;
use crate::view::{FdView, OuterPeers};
use rekindle_sys::sock_diag::UnixSocket;
use rekindle_sys::{Errno, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

const SO_PEERGROUPS: i32 = 59;

/// Whether a socket can be captured.
pub(super) fn claim(fd: &FdView, cx: &Survey<'_>) -> Claim {
    let sockets = match cx.tree.sockets() {
        Ok(sockets) => sockets,
        Err(_) => return claim_unknown(fd, cx),
    };
    let Some(found) = sockets.get(fd.ino as u32) else { return claim_unknown(fd, cx) };
    let from_outside =
        || found.waiting.iter().any(|client| *client != 0 && sockets.holder(*client).is_none());
    if cx.tree.outer_peers == OuterPeers::Refuse && (sockets.leads_outside(found.inode) || from_outside()) {
        return Claim::Refused(
            "outer-peer",
            "a process outside of the tree has its other end",
            "checkpoint a process further up, which has both as descendants, or let it be closed in the image",
        );
    }
    if sockets.is_good(found.inode) {
        return Claim::Mine;
    }
    // A process that ends meanwhile is noticed by whoever reads on.
    let Ok(of) = fetch(fd, cx.view) else { return Claim::Mine };
    if options::filter(&of) == Err(Errno::ACCESS) {
        return Claim::Refused("unix-filter", "it has an eBPF filter, which cannot be captured yet", "");
    }
    if found.state == UnixSocket::LISTENING {
        return claim_listening(found, sockets, cx);
    }
    let is_stream = i32::from(found.kind) == libc::SOCK_STREAM && found.queued > 0;
    let out_of_band = libc::MSG_OOB | libc::MSG_PEEK | libc::MSG_DONTWAIT;
    if is_stream && socket::receive(&of, &mut [0], out_of_band).is_ok() {
        return Claim::Refused(
            "unix-out-of-band",
            "it has received an out-of-band byte (MSG_OOB), which cannot be captured yet",
            "try again when the program has read it",
        );
    }
    if found.queued as usize > super::record::QUEUE_MAX {
        let (code, why, remedy) = TOO_MUCH;
        return Claim::Refused(code, why, remedy);
    }
    sockets.note_good(found.inode);
    Claim::Mine
}

/// One that the kernel does not tell of among all others: of another family, mostly.
fn claim_unknown(fd: &FdView, cx: &Survey<'_>) -> Claim {
    // Closed since it was listed, by a program that runs: it is surveyed again when that stands still.
    let Ok(of) = fetch(fd, cx.view) else { return Claim::Mine };
    if rustix::fs::fstat(&of).is_ok_and(|now| now.st_ino != fd.ino) {
        return Claim::Mine;
    }
    if socket::get_int(&of, libc::SOL_SOCKET, libc::SO_DOMAIN) != Ok(libc::AF_UNIX) {
        return Claim::NotMine;
    }
    Claim::Refused(
        "unix-unknown",
        "the kernel does not tell what it is connected to (CONFIG_UNIX_DIAG); it may be of another network namespace",
        "checkpoint the program from inside its network namespace",
    )
}

/// What was sent on a connection that nobody has accepted yet cannot be seen: no process has a descriptor of the end
/// that holds it. Whether something was sent, the other end tells (`SIOCOUTQ`).
fn claim_listening(found: &UnixSocket, sockets: &Sockets, cx: &Survey<'_>) -> Claim {
    let has_sent = |client: u32| {
        let holder = sockets.holder(client)?;
        let view = cx.tree.processes.iter().find(|view| view.pid == holder.0)?;
        let fd = view.fds.iter().find(|fd| fd.fd == holder.1)?;
        let of = fetch(fd, view).ok()?;
        Some(socket::ioctl_int(&of, libc::TIOCOUTQ as u32).is_ok_and(|bytes| bytes > 0))
    };
    let is_opaque = |client: &u32| *client == 0 || has_sent(*client) == Some(true);
    if found.waiting.iter().any(is_opaque) {
        return Claim::Refused(
            "unix-waiting",
            "a connection to it is not accepted yet, and what was sent on it cannot be seen",
            "try again when the program has accepted it",
        );
    }
    Claim::Mine
}

/// All but what refers to other descriptions.
pub(super) fn ask(fd: &FdView, cx: &Asking<'_>, record: &mut Description) -> Result<(), Error> {
    let pid = cx.view.pid;
    let failed = |errno| Error::call(format!("asking the socket at fd {} of {pid}", fd.fd), errno);
    let sockets = cx.tree.sockets().map_err(failed)?;
    let found = sockets.get(fd.ino as u32).ok_or(Errno::NOENT).map_err(failed)?;
    let of = cx.fetch(fd).map_err(failed)?;
    let owner = rustix::fs::fstat(of).map_err(failed)?;
    let mut unix = Record {
        inode: u64::from(found.inode),
        kind: u32::from(found.kind),
        name: found.name.clone().unwrap_or_default(),
        backlog: found.backlog,
        shutdown: u32::from(found.shutdown),
        queue: cx.transit.queue(found.inode),
        options: options::capture(of, found.kind.into()).map_err(failed)?,
        filter: options::filter(of).map_err(failed)?,
        peer_credentials: peer_credentials(of),
        uid: owner.st_uid,
        gid: owner.st_gid,
        mode: owner.st_mode & 0o7777,
        ..Record::default()
    };
    set_state(&mut unix, found, sockets, of, cx);
    if matches!(unix.state(), State::Idle | State::Listening) && unix.has_path() {
        unix.place = place::find(&unix.name, found.file, cx.view, cx.tree);
    }
    if unix.gone() == Gone::Outside {
        warn_of_peer(fd, pid, &unix);
    }
    for client in found.waiting.iter().filter(|client| sockets.holder(**client).is_none()) {
        let what =
            format!("pid {pid}, fd {}: a connection (socket:[{client}]) that waits to be accepted", fd.fd);
        tracing::warn!("{what} is from outside of the program; it is not in the image");
    }
    record.unix = Some(unix);
    Ok(())
}

fn warn_of_peer(fd: &FdView, pid: i32, unix: &Record) {
    let what = match unix.state() {
        State::Idle => "it is connected again at a restore if it is there",
        _ => "in the restored program it is as if the other end had closed",
    };
    let name = if unix.peer_name.is_empty() { "without a name".to_owned() } else { show(&unix.peer_name) };
    tracing::warn!("pid {pid}, fd {}: its other end ({name}) is outside of the program; {what}", fd.fd);
}

fn set_state(unix: &mut Record, found: &UnixSocket, sockets: &Sockets, of: &OwnedFd, cx: &Asking<'_>) {
    let in_tree = |inode: u32| cx.transit.holder(inode, sockets).is_some();
    let was_made_as_pair = unix.peer_credentials.is_some();
    let (state, gone) = match found.peer {
        _ if found.state == UnixSocket::LISTENING => (State::Listening, Gone::Not),
        None if found.state == UnixSocket::ESTABLISHED && !unix.is_datagram() => {
            (State::Paired, Gone::Closed)
        }
        None => (State::Idle, Gone::Not),
        Some(peer) if peer != 0 && in_tree(peer) => {
            let other = sockets.get(peer);
            let is_mutual = peer != found.inode && other.is_some_and(|s| s.peer == Some(found.inode));
            let has_names = found.name.is_some() && other.is_some_and(|s| s.name.is_some());
            if !unix.is_datagram() || (is_mutual && (was_made_as_pair || !has_names)) {
                unix.pair = u64::from(found.inode.min(peer));
                (State::Paired, Gone::Not)
            } else {
                (State::Idle, Gone::Not)
            }
        }
        Some(_) if sockets.waits_at(found.inode).is_some_and(in_tree) => (State::Waiting, Gone::Not),
        Some(peer) => {
            let is_open = peer != 0 || sockets.waits_at(found.inode).is_some();
            let gone = if is_open { Gone::Outside } else { Gone::Closed };
            let has_pair = !unix.is_datagram() || was_made_as_pair;
            (if has_pair { State::Paired } else { State::Idle }, gone)
        }
    };
    unix.set_state(state);
    unix.set_gone(gone);
    if gone == Gone::Closed && !unix.is_datagram() && has_error(of) {
        unix.set_gone(Gone::Reset);
    }
    if gone != Gone::Not {
        unix.peer_name =
            socket::peer_address(of).map(|address| socket::unix_name(&address)).unwrap_or_default();
    }
}

/// Whether a socket has an error to tell that it has not told yet. Asking for it (`SO_ERROR`) would take it.
fn has_error(of: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(of, PollFlags::empty())];
    let asked = poll(&mut polled, Some(&Timespec::default()));
    asked.is_ok() && polled[0].revents().contains(PollFlags::ERR)
}

fn peer_credentials(of: &OwnedFd) -> Option<Credentials> {
    let bytes = options::option(of, libc::SO_PEERCRED, 12).ok()?;
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
    let (pid, uid, gid) = (word(0)? as i32, word(4)?, word(8)?);
    // Nobody: it is not connected.
    if uid == u32::MAX {
        return None;
    }
    let groups = options::option(of, SO_PEERGROUPS, 4 * 65536).unwrap_or_default();
    let groups = groups.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    Some(Credentials { pid, uid, gid, groups: groups.collect() })
}

/// Puts the ids of descriptions where inode numbers and numbers of our own descriptors were.
pub(super) fn relate(cx: &Relating<'_>, record: &mut Description) -> Result<(), Error> {
    let Some(unix) = &mut record.unix else { return Ok(()) };
    let Ok(sockets) = cx.tree.sockets() else { return Ok(()) };
    let Some(found) = sockets.get(unix.inode as u32) else { return Ok(()) };
    let id_of = |inode: u32| {
        let holder = cx.transit.holder(inode, sockets)?;
        cx.ids.get(&holder).copied()
    };
    match unix.state() {
        State::Listening => {
            unix.waiting = found.waiting.iter().filter_map(|client| id_of(*client)).collect();
        }
        State::Waiting => unix.peer = sockets.waits_at(found.inode).and_then(id_of).unwrap_or(0),
        State::Paired if unix.pair == 0 => {}
        State::Paired | State::Idle => {
            unix.peer = found.peer.filter(|peer| *peer != 0).and_then(id_of).unwrap_or(0);
        }
    }
    let own_pid = std::process::id() as i32;
    for right in unix.queue.iter_mut().flat_map(|message| &mut message.rights) {
        let lost = || Error::proc(own_pid, format!("fd/{right}"), "a descriptor on its way was lost");
        *right = *cx.ids.get(&(own_pid, *right as i32)).ok_or_else(lost)?;
    }
    Ok(())
}
