//! The form of a socket in the image, and what a record must not say.

use super::options;
use crate::kinds::fd::{Checking, Description};
use std::collections::BTreeSet;

/// What is particular to a socket of the family `AF_UNIX`.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its inode number.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// What it does.
    #[prost(enumeration = "State", tag = "3")]
    pub state: i32,
    /// Its name: `sun_path` as the program gave it, with a zero in front for an abstract one, without the zero that
    /// ends a path; empty without one.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "crate::json::path")]
    pub name: Vec<u8>,
    /// Where its name leads to it; `None` for an abstract name, and for a path that leads elsewhere by now.
    #[prost(message, optional, tag = "5")]
    pub place: Option<Place>,
    /// How many connections may wait (listen(2)).
    #[prost(uint32, tag = "6")]
    pub backlog: u32,
    /// The descriptions that wait to be accepted, the first first.
    #[prost(uint32, repeated, tag = "7")]
    pub waiting: Vec<u32>,
    /// The description at the other end of a pair; for datagrams, that it sends to.
    #[prost(uint32, tag = "8")]
    pub peer: u32,
    /// The name of a peer that nobody in the tree has a descriptor of.
    #[prost(bytes = "vec", tag = "9")]
    #[serde(serialize_with = "crate::json::path")]
    pub peer_name: Vec<u8>,
    /// Where such a peer was.
    #[prost(enumeration = "Gone", tag = "10")]
    pub gone: i32,
    /// The inode number of the pair: the lesser of its two ends'.
    #[prost(uint64, tag = "11")]
    pub pair: u64,
    /// Which directions are shut: 1 for receiving, 2 for sending.
    #[prost(uint32, tag = "12")]
    pub shutdown: u32,
    /// What it has received and the program has not read.
    #[prost(message, repeated, tag = "13")]
    pub queue: Vec<Message>,
    /// Options that differ from those of a fresh socket, and the sizes of its buffers.
    #[prost(message, repeated, tag = "14")]
    pub options: Vec<SocketOption>,
    /// Its filter (`SO_ATTACH_FILTER`): instructions of 8 bytes each.
    #[prost(bytes = "vec", tag = "15")]
    #[serde(serialize_with = "crate::json::size")]
    pub filter: Vec<u8>,
    /// What it tells of its peer (`SO_PEERCRED`, `SO_PEERGROUPS`).
    #[prost(message, optional, tag = "16")]
    pub peer_credentials: Option<Credentials>,
    /// The owner and the mode that fstat(2) gives.
    #[prost(uint32, tag = "17")]
    pub uid: u32,
    /// See `uid`.
    #[prost(uint32, tag = "18")]
    pub gid: u32,
    /// See `uid`.
    #[prost(uint32, tag = "19")]
    pub mode: u32,
}

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub enum State {
    /// Nothing yet; for datagrams, all they ever do.
    Idle = 0,
    /// It waits for connections.
    Listening = 1,
    /// It is one end of a pair. The other end is in the tree, or was somewhere else.
    Paired = 2,
    /// It is connected to a listening socket of the tree, and waits there to be accepted.
    Waiting = 3,
}

/// Where a peer was that nobody in the tree has a descriptor of. It is as if it had closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub enum Gone {
    /// There is none, or it is in the tree.
    Not = 0,
    /// It had closed.
    Closed = 1,
    /// It had closed with something unread, which the program has not been told yet (`ECONNRESET`).
    Reset = 2,
    /// In a process outside of the tree.
    Outside = 3,
}

/// Where in the file system the name of a socket leads to it.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Place {
    /// The root that an absolute path starts from.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub root: Vec<u8>,
    /// The directory that a relative path starts from; empty for an absolute one.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::path")]
    pub directory: Vec<u8>,
    /// `st_uid` of the file there.
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    /// `st_gid`
    #[prost(uint32, tag = "4")]
    pub gid: u32,
    /// The permissions in `st_mode`.
    #[prost(uint32, tag = "5")]
    pub mode: u32,
    /// The names that lead to the file in the directory of its path, where that one alone does not: it was renamed, or
    /// has links.
    #[prost(bytes = "vec", repeated, tag = "6")]
    #[serde(serialize_with = "crate::json::paths")]
    pub names: Vec<Vec<u8>>,
}

/// A message, or a piece of a stream.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Message {
    /// What it says.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub data: Vec<u8>,
    /// The descriptions that travel with it (`SCM_RIGHTS`).
    #[prost(uint32, repeated, tag = "2")]
    pub rights: Vec<u32>,
    /// Who sent it (`SCM_CREDENTIALS`), for a socket that wants to know.
    #[prost(message, optional, tag = "3")]
    pub credentials: Option<Credentials>,
    /// The name of the sender of a datagram.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "crate::json::path")]
    pub sender: Vec<u8>,
}

/// Who somebody is.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Credentials {
    /// The process.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Its effective user.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Its effective group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Its other groups.
    #[prost(uint32, repeated, tag = "4")]
    pub groups: Vec<u32>,
}

/// An option of the level `SOL_SOCKET`.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct SocketOption {
    /// `SO_*`
    #[prost(int32, tag = "1")]
    pub number: i32,
    /// Its value.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub value: Vec<u8>,
}

/// The length of `sun_path` (unix(7)).
pub(super) const NAME_MAX: usize = 108;
/// The most that the queue of one socket may hold: it is written in one record, and sent by single calls.
pub(super) const QUEUE_MAX: usize = 768 * 1024;
/// How many names may lead to the file of one socket.
pub(super) const NAMES_MAX: usize = 16;
/// `NGROUPS_MAX`
const GROUPS_MAX: usize = 65536;

impl Record {
    /// Whether it is a path.
    pub(super) fn has_path(&self) -> bool {
        self.name.first().is_some_and(|first| *first != 0)
    }

    /// Whether it keeps the boundaries of what is sent.
    pub(super) fn is_stream(&self) -> bool {
        self.kind == libc::SOCK_STREAM as u32
    }

    pub(super) fn is_datagram(&self) -> bool {
        self.kind == libc::SOCK_DGRAM as u32
    }

    /// How many descriptors travel with one of its messages, at most.
    pub fn travellers(&self) -> usize {
        self.queue.iter().map(|message| message.rights.len()).max().unwrap_or(0)
    }

    /// Whether another descriptor is needed until it is complete: one for the other end, which sends what is in the
    /// queue; or one for the file that its name leads to, by which others find it.
    pub fn needs_second(&self) -> bool {
        match self.state() {
            State::Paired => self.peer == 0,
            State::Idle | State::Listening => self.has_path(),
            State::Waiting => false,
        }
    }
}

/// Refuses what no checkpoint writes.
pub(super) fn check(description: &Description, cx: &Checking<'_>) -> Result<(), String> {
    let Some(record) = &description.unix else { return Err("it says nothing of its socket".into()) };
    let is_known = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET]
        .iter()
        .any(|kind| *kind as u32 == record.kind);
    if !is_known || State::try_from(record.state).is_err() || Gone::try_from(record.gone).is_err() {
        return Err("it is a socket of no known kind".into());
    }
    check_names(record)?;
    check_ties(description.id, record, cx)?;
    check_queue(record, cx)?;
    let mut numbers = BTreeSet::new();
    if !record.options.iter().all(|option| options::is_sane(option) && numbers.insert(option.number)) {
        return Err("it has an option that makes no sense".into());
    }
    if record.filter.len() > options::FILTER_MAX * 8
        || !record.filter.len().is_multiple_of(8)
        || record.shutdown > 3
    {
        return Err("its filter makes no sense".into());
    }
    match &record.peer_credentials {
        Some(credentials) if credentials.groups.len() > GROUPS_MAX => Err("it has too many groups".into()),
        _ => Ok(()),
    }
}

fn check_names(record: &Record) -> Result<(), String> {
    let names = record.queue.iter().map(|message| &message.sender).chain([&record.name, &record.peer_name]);
    for name in names {
        let is_abstract = name.first() == Some(&0);
        if name.len() > NAME_MAX || (!is_abstract && name.contains(&0)) {
            return Err("a name is none that a socket can have".into());
        }
    }
    let Some(place) = &record.place else { return Ok(()) };
    let is_absolute = |path: &[u8]| path.starts_with(b"/") && !path.contains(&0);
    let fits = if record.name.starts_with(b"/") {
        is_absolute(&place.root) && place.directory.is_empty()
    } else {
        is_absolute(&place.directory)
    };
    let is_sane = |name: &Vec<u8>| {
        !matches!(name.as_slice(), b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
    };
    let names_fit = place.names.len() <= NAMES_MAX && place.names.iter().all(is_sane);
    if fits && names_fit && record.has_path() && place.mode <= 0o7777 {
        Ok(())
    } else {
        Err("the place of its name makes no sense".into())
    }
}

/// What it says of other sockets, they must say of it.
fn check_ties(id: u32, record: &Record, cx: &Checking<'_>) -> Result<(), String> {
    let socket = |id: u32| cx.descriptions.get(&id).and_then(|description| description.unix.as_ref());
    let peer = socket(record.peer).filter(|peer| peer.kind == record.kind);
    let peer_fits = match record.state() {
        State::Paired if record.peer == 0 => record.gone() != Gone::Not && record.pair == 0,
        State::Paired => peer.is_some_and(|peer| {
            let is_mutual = peer.state() == State::Paired && peer.peer == id && record.peer != id;
            is_mutual && peer.pair == record.pair && record.pair != 0
        }),
        State::Idle if record.is_datagram() => record.peer == 0 || peer.is_some(),
        State::Waiting => record.peer != 0 && peer.is_some_and(|peer| peer.waiting.contains(&id)),
        State::Idle | State::Listening => record.peer == 0,
    };
    let mut clients = BTreeSet::new();
    let clients_fit = record.waiting.iter().all(|client| {
        let fits = socket(*client).is_some_and(|c| c.state() == State::Waiting && c.peer == id);
        fits && clients.insert(*client)
    });
    let listens = record.state() == State::Listening;
    let may_listen = !listens || (!record.is_datagram() && !record.name.is_empty());
    if peer_fits && clients_fit && may_listen && (listens || record.waiting.is_empty()) {
        Ok(())
    } else {
        Err("it is tied to sockets that know nothing of it".into())
    }
}

fn check_queue(record: &Record, cx: &Checking<'_>) -> Result<(), String> {
    let receives = record.state() == State::Paired || record.is_datagram();
    let total: usize = record.queue.iter().map(|message| message.data.len()).sum();
    let is_sane = |message: &Message| {
        let rights = message.rights.len() <= rekindle_sys::socket::RIGHTS_MAX
            && message.rights.iter().all(|id| cx.descriptions.contains_key(id));
        rights && (!record.is_stream() || !message.data.is_empty())
    };
    if total <= QUEUE_MAX && (receives || record.queue.is_empty()) && record.queue.iter().all(is_sane) {
        Ok(())
    } else {
        Err("its queue makes no sense".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::fd::Files;
    use std::collections::HashMap;

    fn socket(id: u32, unix: Record) -> Description {
        Description { id, kind: "unix".into(), unix: Some(unix), ..Description::default() }
    }

    fn of_state(state: State) -> Record {
        Record { kind: libc::SOCK_STREAM as u32, state: state as i32, ..Record::default() }
    }

    fn end(peer: u32) -> Record {
        Record { peer, pair: 9, ..of_state(State::Paired) }
    }

    /// What is said of the first of them.
    fn verdict(descriptions: &[Description]) -> Result<(), String> {
        let (files, objects, pids) = (Files::new(&[]), BTreeSet::new(), BTreeSet::new());
        let descriptions: HashMap<u32, &Description> = descriptions.iter().map(|d| (d.id, d)).collect();
        let cx = Checking { files: &files, descriptions: &descriptions, objects: &objects, pids: &pids };
        check(descriptions[&1], &cx)
    }

    fn found_as(name: &[u8]) -> Option<Place> {
        Some(Place { directory: b"/".to_vec(), names: vec![name.to_vec()], ..Place::default() })
    }

    #[test]
    fn takes_what_a_checkpoint_writes() {
        let queue = vec![Message { data: b"x".to_vec(), rights: vec![1, 2], ..Message::default() }];
        assert_eq!(verdict(&[socket(1, Record { queue, ..end(2) }), socket(2, end(1))]), Ok(()));
        let listening = Record { name: b"\0a".to_vec(), waiting: vec![2], ..of_state(State::Listening) };
        let waiting = Record { peer: 1, ..of_state(State::Waiting) };
        assert_eq!(verdict(&[socket(1, listening), socket(2, waiting)]), Ok(()));
        let alone = Record { gone: Gone::Closed as i32, ..of_state(State::Paired) };
        assert_eq!(verdict(&[socket(1, alone)]), Ok(()));
        let renamed = Record { name: b"a".to_vec(), place: found_as(b"b"), ..of_state(State::Idle) };
        assert_eq!(verdict(&[socket(1, renamed)]), Ok(()));
    }

    #[test]
    fn refuses_what_none_writes() {
        let idle = || of_state(State::Idle);
        let message = |message: Message| Record { queue: vec![message], ..end(2) };
        let option = |number, len| SocketOption { number, value: vec![0; len] };
        let bad = [
            Record { kind: 77, ..idle() },
            Record { state: 9, ..idle() },
            Record { gone: -1, ..idle() },
            Record { name: vec![b'x'; 109], ..idle() },
            Record { name: b"a\0b".to_vec(), ..idle() },
            Record { name: b"a".to_vec(), place: Some(Place::default()), ..idle() },
            Record { name: b"a".to_vec(), place: found_as(b"../b"), ..idle() },
            Record { name: b"a".to_vec(), place: found_as(b".."), ..idle() },
            Record { shutdown: 4, ..idle() },
            Record { filter: vec![0; 7], ..idle() },
            Record { filter: vec![0; 8 * 4097], ..idle() },
            Record { options: vec![option(libc::SO_SNDBUF, 5)], ..idle() },
            Record { options: vec![option(libc::SO_ERROR, 4)], ..idle() },
            Record { options: vec![option(libc::SO_SNDBUF, 4), option(libc::SO_SNDBUF, 4)], ..idle() },
            of_state(State::Paired),
            Record { pair: 0, ..end(2) },
            Record { pair: 8, ..end(2) },
            end(1),
            end(3),
            Record { peer: 2, ..of_state(State::Waiting) },
            Record { waiting: vec![2], name: b"a".to_vec(), ..of_state(State::Listening) },
            of_state(State::Listening),
            Record { queue: vec![Message::default()], ..idle() },
            message(Message::default()),
            message(Message { data: vec![0; QUEUE_MAX + 1], ..Message::default() }),
            message(Message { data: vec![0], rights: vec![7], ..Message::default() }),
            message(Message { data: vec![0], rights: vec![1; 254], ..Message::default() }),
            message(Message { data: vec![0], sender: vec![1; 200], ..Message::default() }),
        ];
        for record in bad {
            let shown = format!("{record:?}");
            assert!(verdict(&[socket(1, record), socket(2, end(1))]).is_err(), "{shown}");
        }
    }
}
