//! What was in the queue of a socket is sent to it again, as it was sent before: by its peer, or by somebody of the
//! sender's name; in as many messages; with the descriptors that travelled with it.
//!
//! No send may wait: there is nobody who reads. `MSG_DONTWAIT` makes an error of what would.

use super::options::make_room;
use super::place::{Way, address};
use super::record::{Credentials, Message, Record, State};
use crate::kinds::fd::restore::Finishing;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch, Data};

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// A piece of a stream that the kernel takes whole or not at all (`unix_stream_sendmsg`).
const PIECE: usize = 32 * 1024;

/// Fills the queue of a socket through the other end of its pair.
pub(super) fn by_peer(record: &Record, peer: Arg, cx: &Finishing<'_>, batch: &mut Batch) {
    if record.queue.is_empty() {
        return;
    }
    make_room_for(&record.queue, peer, batch);
    for message in &record.queue {
        if record.is_stream() {
            send_piece(message, peer, cx, batch);
        } else {
            send(message, &message.data, peer, None, cx, batch);
        }
    }
}

/// Fills the queue of a socket for datagrams, each from a socket of the name that its sender had.
pub(super) fn by_senders(id: u32, record: &Record, cx: &Finishing<'_>, batch: &mut Batch) {
    if record.queue.is_empty() {
        return;
    }
    let name = name_of(id, record, cx);
    let to = address(&name, batch);
    for run in record.queue.chunk_by(|a, b| a.sender == b.sender) {
        let sender = &run[0].sender;
        let of_tree = cx.descriptions.iter().find(|d| {
            !sender.is_empty() && d.unix.as_ref().is_some_and(|u| u.is_datagram() && u.name == *sender)
        });
        let send_all = |from: Arg, batch: &mut Batch| {
            make_room_for(run, from, batch);
            for message in run {
                send(message, &message.data, from, Some(to), cx, batch);
            }
        };
        if let Some(of_tree) = of_tree {
            cx.with(of_tree.id, batch, send_all);
            continue;
        }
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let passing = batch.step("socket", nr::SOCKET, [libc::AF_UNIX.into(), kind.into(), 0.into()]);
        if !sender.is_empty() {
            let way = Way::enter_private(&[sender], batch);
            let (address, len) = address(sender, batch);
            // An abstract name may be somebody's by now: then the message has no name.
            batch.step_may_fail("bind", nr::BIND, [passing.into(), address.into(), len.into()]);
            way.leave(batch);
        }
        send_all(passing.into(), batch);
        batch.step("close", nr::CLOSE, [passing.into()]);
    }
}

/// The name by which a socket of the tree can be reached: its own; by way of a descriptor, where that is a path.
pub(super) fn name_of(id: u32, record: &Record, cx: &Finishing<'_>) -> Vec<u8> {
    match cx.second_of(id) {
        Some((pid, second)) if record.has_path() && record.state() != State::Paired => {
            format!("/proc/{pid}/fd/{second}").into_bytes()
        }
        _ => record.name.clone(),
    }
}

fn make_room_for(messages: &[Message], sender: Arg, batch: &mut Batch) {
    let bytes: usize = messages.iter().map(|message| message.data.len()).sum();
    make_room(sender, bytes, messages.len() + bytes / PIECE, batch);
}

/// Sends a piece of a stream. Descriptors travel with the first byte.
fn send_piece(message: &Message, peer: Arg, cx: &Finishing<'_>, batch: &mut Batch) {
    let plain = Message { rights: Vec::new(), ..message.clone() };
    for (index, piece) in message.data.chunks(PIECE).enumerate() {
        let of = if index == 0 { message } else { &plain };
        send(of, piece, peer, None, cx, batch);
    }
}

fn send(
    message: &Message,
    data: &[u8],
    from: Arg,
    to: Option<(Data, usize)>,
    cx: &Finishing<'_>,
    batch: &mut Batch,
) {
    let label = "filling the queue of a socket";
    let payload = batch.data(data);
    if message.rights.is_empty() && message.credentials.is_none() {
        let (name, name_len) = to.map_or((Arg::from(0), 0), |(name, len)| (name.into(), len));
        let args = [from, payload.into(), data.len().into(), FLAGS.into(), name, name_len.into()];
        batch.step(label, nr::SENDTO, args);
        return;
    }
    let borrowed = cx.gather(&message.rights, batch);
    let control = control(&borrowed, message.credentials.as_ref(), cx);
    // struct iovec
    let part = batch.data(&[0_u64.to_ne_bytes(), (data.len() as u64).to_ne_bytes()].concat());
    batch.point_at(part, 0, payload);
    // struct msghdr
    let words = [0, to.map_or(0, |(_, len)| len), 0, 1, 0, control.len(), 0];
    let header = batch.data(&words.map(|word| (word as u64).to_ne_bytes()).concat());
    if let Some((name, _)) = to {
        batch.point_at(header, 0, name);
    }
    batch.point_at(header, 16, part);
    let control = batch.data(&control);
    batch.point_at(header, 32, control);
    batch.step(label, nr::SENDMSG, [from, header.into(), FLAGS.into()]);
}

/// Control messages (cmsg(3)): length, level, kind, data, padded to 8.
fn control(rights: &[i32], credentials: Option<&Credentials>, cx: &Finishing<'_>) -> Vec<u8> {
    let mut control = Vec::new();
    let mut add = |kind: i32, data: &[u8]| {
        control.extend_from_slice(&(16 + data.len()).to_ne_bytes());
        control.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        control.extend_from_slice(&kind.to_ne_bytes());
        control.extend_from_slice(data);
        control.resize(control.len().next_multiple_of(8), 0);
    };
    if !rights.is_empty() {
        let numbers: Vec<u8> = rights.iter().flat_map(|number| number.to_ne_bytes()).collect();
        add(libc::SCM_RIGHTS, &numbers);
    }
    if let Some(Credentials { pid, uid, gid, groups: _ /* none travel */ }) = credentials {
        // A process that has ended cannot be named; this one stands in for it.
        let pid = if cx.has_process(*pid) { *pid } else { cx.pid() };
        add(libc::SCM_CREDENTIALS, &[pid as u32, *uid, *gid].map(u32::to_ne_bytes).concat());
    }
    control
}
