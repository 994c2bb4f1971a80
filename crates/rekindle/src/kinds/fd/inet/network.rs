//! Connections of a tree as a whole: how they are read, and how they vanish and come back without their other ends noticing.
//!
//! ```text
//! checkpoint   locked ── read ── (the image) ── killed ── locked to last ── in repair mode, closed
//! restore      locked ── made, in repair mode ── (the processes) ── unlocked, all locks ── repair mode left
//! ```
//!
//! *Locked* means that the packets of connections whose other end is outside of the tree are dropped, as if the cable were
//! pulled (`nftables.rs`): nothing more is received that is not in the image, no FIN and no reset goes out, and the other
//! end sends again what it gets no answer to. The lock is needed only when the program is to be killed.
//!
//! What becomes of it when we are killed: the lock of a checkpoint or a restore goes with us, as the kernel removes tables
//! with their owner. The lasting one is made when the program has been sent its SIGKILL, never before, so that a program that lives
//! is never behind it; it is for these very connections, and opens by itself after [`PATIENCE`]. In the same way no socket of a
//! living program is put in repair mode to stay: what has it there when it is closed, is ours alone by then.
//!
//! Connections with both ends in the tree need no lock: the two ends are read again until they agree.

use super::datagrams;
use super::nftables::{Ends, Life, Tables};
use super::packet::{self, Numbers};
use super::record::{Address, Record};
use super::repair::{self, Mode, Reading};
use super::stream::{self, Part, Revived, Stream};
use super::{TcpInfo, protocol_name};
use crate::error::Error;
use crate::kinds::fd::fetch::fetch;
use crate::record::{Info, Plan};
use crate::refusal::Refusal;
use crate::view::TreeView;
use rekindle_sys::Errno;
use rekindle_sys::socket::{await_packets_under_way, ioctl_int, local_address, peer_address};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the other end of a connection may find nobody before it is told that there is none. (One that has sent something
/// gives up after about a quarter of an hour itself: tcp(7), `tcp_retries2`.)
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// What becomes of TCP connections to outside of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpPolicy {
    /// They are in the image, and live again.
    #[default]
    Keep,
    /// They are not: the restored program finds them closed.
    Close,
}

/// Whether packets are kept from connections to outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The program goes on with them.
    Open,
    /// The program is to be killed.
    Locked,
}

/// The connections of a frozen tree.
#[derive(Default)]
pub struct Network {
    /// By the inode of the socket.
    held: HashMap<u64, Held>,
    /// Those that the policy gives up.
    given_up: Vec<u64>,
    parts: Vec<Part>,
    tables: Option<Tables>,
}

struct Held {
    reading: Reading,
    ends: Ends,
    info: TcpInfo,
    unsent: u32,
    is_outer: bool,
}

impl Network {
    /// Locks (if asked) and reads all connections of a tree that is frozen.
    pub fn of(tree: &TreeView, policy: TcpPolicy, lock: Lock) -> Result<Self, Error> {
        let mut network = Self::default();
        let mut held = find(tree)?;
        if policy == TcpPolicy::Close {
            network.given_up =
                held.iter().filter(|(_, held)| held.is_outer).map(|(inode, _)| *inode).collect();
            held.retain(|_, held| !held.is_outer);
        }
        network.held = held;
        let outer = network.outer();
        if lock == Lock::Locked && !outer.is_empty() {
            network.tables = Some(self::lock(&outer).map_err(|errno| cannot_lock(tree, errno))?);
        }
        network.read()?;
        Ok(network)
    }

    /// Whether a connection is given up by the policy.
    pub(super) fn gives_up(&self, inode: u64) -> bool {
        self.given_up.contains(&inode)
    }

    /// The connection of a socket, with its state. What is in its queues becomes parts of the image.
    pub(super) fn take(&mut self, inode: u64, description: u32) -> Option<(u32, Stream)> {
        const PART: usize = 1 << 19;
        let held = self.held.get_mut(&inode)?;
        let (sent, received) =
            (std::mem::take(&mut held.reading.sent), std::mem::take(&mut held.reading.received));
        let stream = Stream::of(&held.reading.state, &held.info, sent.len(), held.unsent, received.len());
        for received in received.chunks(PART) {
            self.parts.push(Part { description, received: received.to_vec(), ..Part::default() });
        }
        for sent in sent.chunks(PART) {
            self.parts.push(Part { description, sent: sent.to_vec(), ..Part::default() });
        }
        Some((held.info.state, stream))
    }

    /// Keeps a datagram that waits to be received.
    pub(super) fn keep(&mut self, datagram: Part) {
        self.parts.push(datagram);
    }

    /// What is in the queues of all connections that were taken, and of datagram sockets.
    pub fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// Lets connections vanish with their program, which has been sent its SIGKILL: without a word to their other ends, and
    /// so that nobody else says one until they are restored from this image.
    pub fn vanish(self, image: &Info) -> Result<(), Error> {
        let outer = self.outer();
        let locked = if let (Some(mut tables), false) = (self.tables, outer.is_empty()) {
            tables
                .drop_packets_of(&lasting_name(image), Life::Lasting(PATIENCE), &outer)
                .map(|()| Some(tables))
        } else {
            Ok(None)
        };
        for held in self.held.into_values() {
            // One that has been reset meanwhile is in no need of it.
            let _ = repair::set_mode(held.reading.socket(), Mode::On);
            drop(held.reading.into_socket());
        }
        locked.map(drop).map_err(|errno| Error::call("keeping the network locked", errno))
    }

    fn outer(&self) -> Vec<Ends> {
        self.held.values().filter(|held| held.is_outer).map(|held| held.ends.clone()).collect()
    }

    fn read(&mut self) -> Result<(), Error> {
        const TRIES: u32 = 200;
        let mut held: Vec<(u64, Held)> = self.held.drain().collect();
        let mut result = Err(Errno::AGAIN);
        for _ in 0..if held.is_empty() { 0 } else { TRIES } {
            result = read_once(&mut held);
            match result {
                // Both ends were busy with each other.
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
        let empty = held.is_empty();
        self.held = held.into_iter().collect();
        if empty { Ok(()) } else { result.map_err(|errno| Error::call("reading TCP connections", errno)) }
    }
}

/// The connections of a tree, not read yet.
fn find(tree: &TreeView) -> Result<HashMap<u64, Held>, Error> {
    let mut all = HashMap::new();
    for view in &tree.processes {
        for fd in view.fds.iter().filter(|fd| fd.file_type() == libc::S_IFSOCK) {
            // What a listener of Multipath TCP has accepted keeps its name, even if it is of plain TCP (net/socket.c).
            let names: [&[u8]; 4] = [b"TCP", b"TCPv6", b"MPTCP", b"MPTCPv6"];
            let may_be = protocol_name(fd, view).is_ok_and(|name| names.contains(&name.as_slice()));
            if !may_be || all.contains_key(&fd.ino) {
                continue;
            }
            let failed = |errno| {
                Error::call(format!("looking into the socket at fd {} of {}", fd.fd, view.pid), errno)
            };
            let socket = fetch(fd, view).map_err(failed)?;
            if let Some(held) = Held::of(socket).map_err(failed)? {
                all.insert(fd.ino, held);
            }
        }
    }
    let met: HashSet<(Address, Address)> = all.values().map(|held: &Held| held.ends.as_beyond()).collect();
    for held in all.values_mut() {
        held.is_outer = !met.contains(&held.ends.as_here());
    }
    Ok(all)
}

impl Held {
    /// `None` for one that is connected to nobody.
    fn of(socket: OwnedFd) -> Result<Option<Self>, Errno> {
        let Ok(peer) = peer_address(&socket) else { return Ok(None) };
        if super::identity(rustix::fd::AsFd::as_fd(&socket))?.2 != super::TCP {
            return Ok(None);
        }
        let info = TcpInfo::of(rustix::fd::AsFd::as_fd(&socket))?;
        let ends = Address::of(&local_address(&socket)?).zip(Address::of(&peer));
        let Some((local, peer)) = ends.filter(|_| stream::STATES.contains(&info.state)) else {
            return Ok(None);
        };
        let reading = Reading::of(socket)?;
        Ok(Some(Self { reading, ends: Ends { local, peer }, info, unsent: 0, is_outer: true }))
    }
}

/// Reads all connections, and compares the two ends of those that have both here: neither may have acknowledged what the other
/// has not received. `EAGAIN` if something has happened meanwhile.
fn read_once(all: &mut Vec<(u64, Held)>) -> Result<(), Errno> {
    const SIOCOUTQNSD: u32 = 0x894b;
    let (mut readings, mut others) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for (inode, held) in all.drain(..) {
        let Held { reading, ends, info: _, unsent: _, is_outer } = held;
        let info = TcpInfo::of(reading.socket());
        readings.push(reading);
        others.push((inode, ends, info, is_outer));
    }
    let sized: Result<(), Errno> = readings.iter_mut().try_for_each(Reading::make_room);
    let result = sized.and_then(|()| repair::read(&mut readings));
    let mut agree = true;
    for (reading, (inode, ends, info, is_outer)) in readings.into_iter().zip(others) {
        let after = TcpInfo::of(reading.socket());
        // Asked last: what has gone out in between counts as sent, or the other end would acknowledge what never was.
        let unsent = ioctl_int(reading.socket(), SIOCOUTQNSD);
        let info = info?;
        agree &= after?.state == info.state;
        let unsent = unsent?.max(0).cast_unsigned();
        all.push((inode, Held { reading, ends, info, unsent, is_outer }));
    }
    result?;
    let inner: HashMap<(Address, Address), Stream> = all
        .iter()
        .filter(|(_, held)| !held.is_outer)
        .map(|(_, held)| (held.ends.as_here(), held.stream()))
        .collect();
    for ((local, peer), stream) in &inner {
        if let Some(other) = inner.get(&(peer.clone(), local.clone())) {
            let behind = other.receive_end().wrapping_sub(stream.send_start).cast_signed();
            let ahead = stream.sent_end().wrapping_sub(other.receive_end()).cast_signed();
            agree &= behind >= 0 && ahead >= 0;
        }
    }
    if agree { Ok(()) } else { Err(Errno::AGAIN) }
}

impl Held {
    fn stream(&self) -> Stream {
        let (sent, received) = (self.reading.sent.len(), self.reading.received.len());
        Stream::of(&self.reading.state, &self.info, sent, self.unsent, received)
    }
}

/// Locks until we unlock, or end; when this returns, no packet that came before is still under way.
fn lock(all: &[Ends]) -> Result<Tables, Errno> {
    let mut tables = Tables::open()?;
    sweep(&mut tables);
    tables.drop_packets_of(&passing_name(), Life::Ours, all)?;
    await_packets_under_way();
    Ok(tables)
}

/// Removes what is left of locks that have opened by themselves: of images that nobody has restored.
fn sweep(tables: &mut Tables) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let names = tables.names().unwrap_or_default();
    let is_over = |name: &&str| made_at(name).is_some_and(|made| now > made + PATIENCE + PATIENCE);
    let over: Vec<&str> = names.iter().map(String::as_str).filter(is_over).collect();
    if !over.is_empty() {
        let _ = tables.remove(&over); // they are in nobody's way
    }
}

/// When the image was made whose lasting lock has this name.
fn made_at(name: &str) -> Option<Duration> {
    let (pid, time) = name.strip_prefix("rekindle-")?.split_once('-')?;
    pid.parse::<i32>().ok()?;
    u64::from_str_radix(time, 16).ok().map(Duration::from_nanos)
}

fn passing_name() -> String {
    format!("rekindle-lock-{}", std::process::id())
}

/// The name of the lock that stays from the checkpoint to the restore of an image.
fn lasting_name(image: &Info) -> String {
    format!("rekindle-{}-{:x}", image.root_pid, image.created_ns)
}

fn cannot_lock(tree: &TreeView, errno: Errno) -> Error {
    let pid = tree.processes.first().map_or(0, |root| root.pid);
    Error::Refused(vec![Refusal {
        code: "network-lock",
        pid,
        subject: "its TCP connections".into(),
        why: format!(
            "packets cannot be kept from them until it is restored, so that they would break ({})",
            rekindle_sys::errno_text(errno)
        ),
        remedy: "use a kernel with nf_tables, give rekindle CAP_NET_ADMIN, or give them up with --tcp close"
            .into(),
    }])
}

/// The connections of an image in the making.
pub struct Reviving<'a> {
    tables: Option<Tables>,
    lasting: String,
    all: Vec<(Revived<'a>, bool)>,
    /// Sockets with datagrams in their queues: descriptions, and what was made of them.
    filled: Vec<(u32, OwnedFd)>,
}

/// Lets through what still is kept from connections of an image that nobody will make any more, so that their other ends hear
/// of it. What fails here passes by itself: the lock lasts [`PATIENCE`] at most.
pub fn unlock(image: &Info) {
    if let Ok(mut tables) = Tables::open() {
        let _ = tables.remove(&[&lasting_name(image)]);
    }
}

impl<'a> Reviving<'a> {
    /// Locks, and makes all connections of a plan again, in repair mode.
    pub fn begin(plan: &'a Plan) -> Result<Self, Error> {
        let connections: Vec<(u32, &Record, &Stream)> = plan
            .descriptions
            .iter()
            .filter_map(|description| {
                let record = description.inet.as_ref()?;
                Some((description.id, record, record.stream.as_ref()?))
            })
            .collect();
        let ends: Vec<Option<Ends>> = connections.iter().map(|(_, record, _)| record.ends()).collect();
        let met: HashSet<(Address, Address)> = ends.iter().flatten().map(Ends::as_beyond).collect();
        let is_outer = |own: &Ends| !met.contains(&own.as_here());
        let outer: Vec<Ends> = ends.iter().flatten().filter(|own| is_outer(own)).cloned().collect();
        let lasting = lasting_name(&plan.info);
        let tables = match outer.is_empty() {
            true => None,
            false => Some(lock(&outer).map_err(|errno| Error::call("locking the network", errno))?),
        };
        let mut parts: HashMap<u32, Vec<&Part>> = HashMap::new();
        for part in &plan.parts {
            parts.entry(part.description).or_default().push(part);
        }
        let mut all = Vec::with_capacity(connections.len());
        for ((id, record, stream), ends) in connections.into_iter().zip(&ends) {
            let parts = parts.get(&id).map_or(&[][..], Vec::as_slice);
            let revived = Revived::make(id, record, stream, parts)?;
            all.push((revived, ends.as_ref().is_some_and(is_outer)));
        }
        let filled = datagrams::fill_all(&plan.descriptions, &parts)?;
        Ok(Self { tables, lasting, all, filled })
    }

    /// The descriptions that are made already, and their numbers in this process.
    pub fn made(&self) -> HashMap<u32, i32> {
        let number = |socket: BorrowedFd<'_>| socket.as_raw_fd();
        let connections = self.all.iter().map(|(revived, _)| (revived.id, number(revived.socket())));
        connections.chain(self.filled.iter().map(|(id, socket)| (*id, socket.as_raw_fd()))).collect()
    }

    /// Unlocks, and lets all connections live. The processes have them, and run next.
    pub fn finish(self) -> Result<(), Error> {
        if let Some(mut tables) = self.tables {
            let own = passing_name();
            let names = [own.as_str(), &self.lasting];
            tables.remove(&names).map_err(|errno| Error::call("unlocking the network", errno))?;
        }
        for (revived, _) in &self.all {
            revived.go_on()?;
        }
        for (revived, is_outer) in &self.all {
            if *is_outer && stream::was_ended(revived.record().state) {
                end_again(revived)?;
            }
        }
        for (revived, _) in &self.all {
            revived.complete()?;
        }
        Ok(())
    }
}

/// The FIN that had come from the other end, and that it does not send again.
fn end_again(revived: &Revived<'_>) -> Result<(), Error> {
    let Some(ends) = revived.record().ends() else { return Ok(()) };
    let stream = revived.stream;
    let window = stream.window.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |n| u32::from_ne_bytes(*n));
    let numbers = Numbers {
        sequence: stream.receive_end(),
        acknowledged: stream.send_start,
        window: (window >> stream.send_scale).min(0xffff) as u16,
    };
    let failed = |errno| Error::call(format!("ending the connection {}", revived.record().title()), errno);
    packet::end(&ends, numbers).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root, and passes without.
    #[test]
    fn sweeps_only_locks_that_are_over() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (old, new) = ("rekindle-1-1".to_owned(), format!("rekindle-1-{now:x}"));
        let mut tables = Tables::open().unwrap();
        for name in [&old, &new] {
            match tables.drop_packets_of(name, Life::Lasting(Duration::from_secs(9)), &[]) {
                Err(Errno::PERM) => return,
                made => made.unwrap(),
            }
        }
        sweep(&mut tables);
        let names = tables.names().unwrap();
        tables.remove(&[&new]).unwrap();
        assert!(!names.contains(&old) && names.contains(&new));
        assert_eq!(made_at("rekindle-lock-12"), None);
    }
}
