//! From records to sockets.
//!
//! ```text
//! open     pairs: socketpair(2), or a connection to a listening socket that is there for it alone; others: socket(2)
//! bind     names that others find, listen(2)                           every socket is open
//! finish   queues filled by the other ends, connections made again     every name is taken
//! settle   options, filters, directions shut                           nothing is sent any more
//! ```

use super::place::{self, Way, address};
use super::record::{Credentials, Gone, Record, State};
use super::{as_user, fill, options};
use crate::kinds::fd::restore::{Finishing, Opening};
use crate::kinds::fd::{Description, Opened};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch, StepId};
use rustix::process::{getegid, geteuid};

const F_SETFL: i32 = 4;
/// `SOCK_CLOEXEC`: the numbers that descriptors get in the end are made by dup3(2).
const CLOEXEC: u32 = o::CLOEXEC;

/// The steps that make a socket, or a pair of them.
pub(super) fn open(description: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
    let Some(record) = &description.unix else { return Opened::Number(-1) };
    match record.state() {
        State::Paired => {
            let peer = cx.description(record.peer);
            let own = End { id: description.id, name: &record.name, sees: record.peer_credentials.as_ref() };
            let other = match peer.and_then(|peer| peer.unix.as_ref()) {
                Some(peer) => End { id: record.peer, name: &peer.name, sees: peer.peer_credentials.as_ref() },
                None => End { id: 0, name: &record.peer_name, sees: None },
            };
            open_pair(record, own, other, cx, batch)
        }
        State::Waiting => {
            let socket = new_socket(record.kind, batch);
            let way = Way::enter_private(&[&record.name], batch);
            if !record.name.is_empty() {
                place::bind(socket.into(), &record.name, batch);
            }
            way.leave(batch);
            Opened::Step(socket)
        }
        State::Idle | State::Listening => Opened::Step(new_socket(record.kind, batch)),
    }
}

/// One end of a pair.
struct End<'a> {
    id: u32,
    name: &'a [u8],
    /// Who its peer is to it (`SO_PEERCRED`).
    sees: Option<&'a Credentials>,
}

fn new_socket(kind: u32, batch: &mut Batch) -> StepId {
    batch.step("socket", nr::SOCKET, [libc::AF_UNIX.into(), (kind | CLOEXEC).into(), 0.into()])
}

fn open_pair(record: &Record, own: End<'_>, other: End<'_>, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
    if record.is_datagram() || (own.name.is_empty() && other.name.is_empty()) {
        let ends = batch.room(8);
        let ids = [own.id, other.id];
        let kind = record.kind | CLOEXEC;
        as_user::run(own.sees.or(other.sees), batch, |batch| {
            let args = [libc::AF_UNIX.into(), kind.into(), 0.into(), ends.into()];
            batch.step("socketpair", nr::SOCKETPAIR, args);
        });
        if other.id == 0 && !other.name.is_empty() {
            // What the other end was called is still told by getpeername(2).
            name_privately(Arg::Loaded(ends, 4), other.name, batch);
        }
        return Opened::Pair(ends, ids);
    }
    // The end that was accepted has the name of the listening socket, and so may others.
    let others = cx.descriptions.iter().filter(|d| d.id != own.id && d.id != other.id);
    let is_shared = |name: &[u8]| others.clone().any(|d| d.unix.as_ref().is_some_and(|u| u.name == name));
    let own_is_accepted = other.name.is_empty() || (!own.name.is_empty() && is_shared(own.name));
    if own_is_accepted {
        let [accepted, connected] = connect(record.kind, &own, &other, batch);
        Opened::Two([accepted, connected], [own.id, other.id])
    } else {
        let [accepted, connected] = connect(record.kind, &other, &own, batch);
        Opened::Two([connected, accepted], [own.id, other.id])
    }
}

/// Connects through a listening socket that goes away again. Its queue has room for one connection: when ours is made,
/// none from outside can be there, whoever may know its name.
fn connect(kind: u32, accepted: &End<'_>, connected: &End<'_>, batch: &mut Batch) -> [StepId; 2] {
    let way = Way::enter_private(&[connected.name, accepted.name], batch);
    let client = new_socket(kind | o::NONBLOCK, batch);
    if !connected.name.is_empty() {
        place::bind(client.into(), connected.name, batch);
        let path = batch.c_string(connected.name);
        // The other end may have the same name.
        batch.step_may_fail("unlink", nr::UNLINKAT, [libc::AT_FDCWD.into(), path.into(), 0.into()]);
    }
    let listening = new_socket(kind, batch);
    place::bind(listening.into(), accepted.name, batch);
    let path = batch.c_string(accepted.name);
    // Another user is to connect to it.
    batch.step_may_fail("chmod", nr::FCHMODAT, [libc::AT_FDCWD.into(), path.into(), 0o777.into()]);
    as_user::run(connected.sees, batch, |batch| {
        batch.step("listen", nr::LISTEN, [listening.into(), 0.into()]);
    });
    let (name, len) = address(accepted.name, batch);
    as_user::run(accepted.sees, batch, |batch| {
        batch.step("connect", nr::CONNECT, [client.into(), name.into(), len.into()]);
    });
    let server = batch.step("accept4", nr::ACCEPT4, [listening.into(), 0.into(), 0.into(), CLOEXEC.into()]);
    batch.step("close", nr::CLOSE, [listening.into()]);
    way.leave(batch);
    [server, client]
}

/// Gives a socket a name that leads nowhere.
fn name_privately(socket: Arg, name: &[u8], batch: &mut Batch) {
    let way = Way::enter_private(&[name], batch);
    let (address, len) = address(name, batch);
    // An abstract one may be somebody's.
    batch.step_may_fail("bind", nr::BIND, [socket, address.into(), len.into()]);
    way.leave(batch);
}

/// The steps that take a name, and listen.
pub(super) fn bind(record: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    let socket = Arg::from(cx.number);
    let takes_name = match record.state() {
        State::Idle | State::Listening => true,
        State::Paired => record.is_datagram(),
        State::Waiting => false,
    };
    if !takes_name || record.name.is_empty() {
        return;
    }
    let hold = |batch: &mut Batch| {
        let Some(second) = cx.second.filter(|_| record.state() != State::Paired && record.has_path()) else {
            return;
        };
        let path = batch.c_string(&record.name);
        let flags = o::PATH | o::NOFOLLOW | o::CLOEXEC;
        let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
        let file = batch.step("opening a socket's file", nr::OPENAT, args);
        batch.step("dup3", nr::DUP3, [file.into(), second.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [file.into()]);
    };
    match &record.place {
        Some(place) => place::bind_in_place(socket, record, place, batch, hold),
        None => {
            let way = Way::enter_private(&[&record.name], batch);
            place::bind(socket, &record.name, batch);
            if record.has_path() {
                hold(batch);
            }
            way.leave(batch);
        }
    }
    if record.state() == State::Listening {
        as_user::run(record.peer_credentials.as_ref(), batch, |batch| {
            batch.step("listen", nr::LISTEN, [socket, record.backlog.into()]);
        });
    }
}

/// The steps that fill its queue, and connect it, or others to it.
pub(super) fn finish(id: u32, record: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    match record.state() {
        State::Paired => match cx.second.filter(|_| record.peer == 0) {
            Some(second) => {
                fill::by_peer(record, second.into(), cx, batch);
                if record.gone() == Gone::Reset {
                    // The other end is closed with this unread.
                    let byte = batch.data(&[0]);
                    let args = [cx.number.into(), byte.into(), 1.into(), libc::MSG_NOSIGNAL.into()];
                    batch.step("sending what is not read", nr::SENDTO, args);
                }
            }
            None if record.queue.is_empty() => {}
            None => cx.with(record.peer, batch, |peer, batch| fill::by_peer(record, peer, cx, batch)),
        },
        State::Idle if record.is_datagram() => {
            fill::by_senders(id, record, cx, batch);
            connect_datagrams(record, cx, batch);
        }
        State::Listening => {
            for client in &record.waiting {
                let user = user_of(*client, cx);
                cx.with(*client, batch, |client, batch| {
                    // A connection from outside may have come before: then it fails, instead of waiting.
                    batch.step("F_SETFL", nr::FCNTL, [client, F_SETFL.into(), o::NONBLOCK.into()]);
                    as_user::run(user.as_ref(), batch, |batch| connect_to(client, id, record, cx, batch));
                });
            }
        }
        State::Idle | State::Waiting => {}
    }
}

/// Who a process that holds a description acts as.
fn user_of(id: u32, cx: &Finishing<'_>) -> Option<Credentials> {
    let of = &cx.tasks_of_holder(id).first()?.credentials;
    // Real, effective, saved, filesystem.
    let (uid, gid) = (*of.uid.get(1)?, *of.gid.get(1)?);
    Some(Credentials { pid: 0, uid, gid, groups: of.groups.clone() })
}

/// connect(2) to a socket of the tree by its name.
fn connect_to(socket: Arg, id: u32, target: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    let name = fill::name_of(id, target, cx);
    let (address, len) = address(&name, batch);
    batch.step("connect", nr::CONNECT, [socket, address.into(), len.into()]);
}

fn connect_datagrams(record: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    let socket = Arg::from(cx.number);
    if let Some(peer) = cx.description(record.peer).and_then(|peer| peer.unix.as_ref()) {
        return connect_to(socket, record.peer, peer, cx, batch);
    }
    if record.gone() == Gone::Not || record.peer_name.is_empty() {
        return;
    }
    // First to one that closes at once, so that a send says the peer is gone; then, if it is there, to the real one.
    let passing = new_socket(record.kind, batch);
    let way = Way::enter_private(&[&record.peer_name], batch);
    let (address, len) = address(&record.peer_name, batch);
    batch.step_may_fail("bind", nr::BIND, [passing.into(), address.into(), len.into()]);
    batch.step_may_fail("connect", nr::CONNECT, [socket, address.into(), len.into()]);
    way.leave(batch);
    batch.step("close", nr::CLOSE, [passing.into()]);
    if record.gone() == Gone::Outside {
        batch.step_may_fail("connect", nr::CONNECT, [socket, address.into(), len.into()]);
    }
}

/// The steps that set its options, shut its directions, and give it its flags and owner.
pub(super) fn settle(description: &Description, record: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    let socket = Arg::from(cx.number);
    options::restore(record, socket, batch);
    let is_shut_by_close = record.gone() != Gone::Not && !record.is_datagram();
    if record.shutdown != 0 && !is_shut_by_close {
        batch.step("shutdown", nr::SHUTDOWN, [socket, (record.shutdown - 1).into()]);
    }
    let flags = description.flags & !(o::ACCMODE | o::CLOEXEC);
    batch.step("F_SETFL", nr::FCNTL, [socket, F_SETFL.into(), flags.into()]);
    if (record.uid, record.gid) != (geteuid().as_raw(), getegid().as_raw()) {
        batch.step("fchown of a socket", nr::FCHOWN, [socket, record.uid.into(), record.gid.into()]);
    }
    if record.mode != 0o777 {
        batch.step("fchmod of a socket", nr::FCHMOD, [socket, record.mode.into()]);
    }
}
