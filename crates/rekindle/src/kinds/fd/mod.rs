//! Descriptors, and the open file descriptions they refer to (open(2)).
//!
//! A kind of file is a file here and a line in [`KINDS`]. A description is captured once, however many descriptors in
//! however many processes refer to it (kcmp(2) tells), and comes back as one.
//!
//! ```text
//! checkpoint   claims ── ask ── capture ── relate     /proc and pidfd_getfd; once all descriptions are known
//! restore      check ── open ── finish                the plan; in the process that holds it; once all are open
//! ```
//!
//! At a restore each description has a *holder*: the first process that has a descriptor for it. The holder opens it and
//! gives it its numbers (`dup3`); the others fetch it from there (`pidfd_getfd`).

mod anonymous;
pub mod capture;
mod device;
mod directory;
mod epoll;
mod eventfd;
mod fetch;
pub(crate) mod foreign;
pub mod inet;
mod inotify;
mod kernel_file;
mod locks;
pub mod mqueue;
mod netlink;
mod object;
mod owner;
mod path;
mod pidfd;
mod pipe;
mod regular;
pub mod restore;
mod signalfd;
mod stream;
pub mod terminal;
mod timerfd;
pub mod unix;
pub mod uring;
mod watched;

use super::gone_directory;
use super::mem::file::{self, FileTable};
use super::mem::shared::SharedTable;
use crate::error::Error;
use crate::refusal::show;
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Batch, Data, StepId};
use restore::{Finishing, Opening};
use rustix::fd::OwnedFd;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use unix::Transit;

/// A kind of open file.
pub trait FdKind: Sync {
    /// Its name in records and messages.
    fn name(&self) -> &'static str;
    /// Whether a descriptor of a process is of this kind, and if so, whether it can be captured.
    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim;
    /// What can be told of a description without regard to others. Asked by several threads at a time.
    fn ask(&self, _fd: &FdView, _cx: &Asking<'_>, _record: &mut Description) -> Result<(), Error> {
        Ok(())
    }
    /// What goes into tables that all descriptions have in common, one after the other.
    fn capture(&self, _fd: &FdView, _cx: &mut Capturing<'_>, _record: &mut Description) -> Result<(), Error> {
        Ok(())
    }
    /// What refers to other descriptions, once all have their ids.
    fn relate(&self, _fd: &FdView, _cx: &Relating<'_>, _record: &mut Description) -> Result<(), Error> {
        Ok(())
    }
    /// Refuses a record that no checkpoint writes. `Err` says what is wrong with it.
    fn check(&self, _record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        Ok(())
    }
    /// Whether every process is born with it, so that none has to fetch it from its holder.
    fn is_at_hand(&self, _record: &Description) -> bool {
        false
    }
    /// Whether this machine has what it needs. `Err` is a sentence that says what is missing, and what to do.
    fn fits(&self, _record: &Description) -> Result<(), String> {
        Ok(())
    }
    /// What has the names that they need, of all that are of this kind, in sentences. Asked when the program that the image was
    /// made of is gone.
    fn in_the_way(&self, _records: &[&Description]) -> Vec<String> {
        Vec::new()
    }
    /// Whether it is opened when those that do not come later are there.
    fn comes_later(&self, _record: &Description, _cx: &Opening<'_>) -> bool {
        false
    }
    /// The steps that open it again, in its holder.
    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened;
    /// The steps that take names by which others find it, in its holder, when every process has all its descriptors.
    fn bind(&self, _record: &Description, _cx: &Finishing<'_>, _batch: &mut Batch) {}
    /// The steps that complete it, in its holder, when all names are taken.
    fn finish(&self, _record: &Description, _cx: &Finishing<'_>, _batch: &mut Batch) {}
    /// The last steps, in its holder: what would keep others from being completed.
    fn settle(&self, _record: &Description, _cx: &Finishing<'_>, _batch: &mut Batch) {}
    /// The steps that come last of all, in its holder, when the process is what it was, with all its threads.
    fn last(&self, _record: &Description, _cx: &Finishing<'_>, _batch: &mut Batch) {}
}

/// All kinds. The first that claims a descriptor has it.
pub static KINDS: &[&dyn FdKind] = &[
    &path::Place,
    &kernel_file::KernelFile,
    &terminal::Terminal,
    &stream::Stream,
    &pipe::Pipe,
    &mqueue::Mqueue,
    &unix::Unix,
    &netlink::Netlink,
    &inet::Inet,
    &object::Object,
    &regular::Regular,
    &directory::Directory,
    &device::Device,
    &eventfd::Eventfd,
    &timerfd::Timerfd,
    &signalfd::Signalfd,
    &epoll::Epoll,
    &pidfd::Pidfd,
    &inotify::Inotify,
    &uring::Uring,
];

/// What a kind says of a descriptor.
pub enum Claim {
    /// It is of another kind.
    NotMine,
    /// It can be captured.
    Mine,
    /// It is of this kind, but cannot be captured: code, why, and what to do.
    Refused(&'static str, &'static str, &'static str),
}

/// What kinds look at when they claim a descriptor.
#[derive(Clone, Copy)]
pub struct Survey<'a> {
    /// The process whose descriptor it is.
    pub view: &'a ProcessView,
    /// The tree that the process is of.
    pub tree: &'a TreeView,
}

/// What kinds have at hand when they ask for the state of a description.
pub struct Asking<'a> {
    /// The process whose descriptor is looked at.
    pub view: &'a ProcessView,
    /// The tree that the process is of.
    pub tree: &'a TreeView,
    /// What is on its way through sockets.
    pub transit: &'a Transit,
    /// The descriptor as one of ours, once somebody has needed it.
    fetched: OnceCell<OwnedFd>,
}

impl Asking<'_> {
    /// The descriptor as one of ours: what is done to it is seen by the program.
    fn fetch(&self, fd: &FdView) -> Result<&OwnedFd, Errno> {
        if let Some(fetched) = self.fetched.get() {
            return Ok(fetched);
        }
        let fetched = fetch::fetch(fd, self.view)?;
        Ok(self.fetched.get_or_init(|| fetched))
    }
}

/// What kinds have at hand when they capture a description.
pub struct Capturing<'a> {
    /// The process whose descriptor is looked at.
    pub view: &'a ProcessView,
    /// The tree that the process is of.
    pub tree: &'a TreeView,
    /// Files that descriptions and mappings refer to.
    pub files: &'a mut FileTable,
    /// Memory whose contents are in the image as pages.
    pub shared: &'a mut SharedTable,
    /// The pipes and message queues that have been looked into: device and inode.
    pub pipes_read: &'a mut BTreeSet<(u64, u64)>,
    /// The tree's TCP connections.
    pub network: &'a mut inet::network::Network,
}

/// What kinds have at hand when all descriptions have ids.
pub struct Relating<'a> {
    /// The process whose descriptor is looked at.
    pub view: &'a ProcessView,
    /// The tree that the process is of.
    pub tree: &'a TreeView,
    /// Which description a descriptor refers to: by process and number.
    pub ids: &'a HashMap<(i32, i32), u32>,
    /// What is on its way through sockets. Its descriptors are in `ids` as our own.
    pub transit: &'a Transit,
}

/// What kinds have at hand when a plan is checked.
pub struct Checking<'a> {
    /// The files of the plan.
    pub files: &'a Files<'a>,
    /// Its descriptions, by id.
    pub descriptions: &'a HashMap<u32, &'a Description>,
    /// The ids of its objects that are files.
    pub objects: &'a BTreeSet<u32>,
    /// The pids of its processes, zombies included.
    pub pids: &'a BTreeSet<i32>,
}

/// What an opened description is known by while it is given its numbers.
pub enum Opened {
    /// The result of a step, to be closed afterwards.
    Step(StepId),
    /// A number that stays.
    Number(i32),
    /// Numbers that stay: for the descriptors 0, 1 and 2, and for all others.
    ByDescriptor([i32; 4]),
    /// Two descriptions that come into being together (the ends of a pipe, a pair of sockets): where the call has left
    /// their numbers (two `int`s), and their ids; 0 for one that nobody has.
    Pair(Data, [u32; 2]),
    /// As a pair, with the results of two steps.
    Two([StepId; 2], [u32; 2]),
}

/// The form of an open file description in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Description {
    /// What descriptors refer to it by.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The name of its kind.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// `O_*` as /proc/PID/fdinfo has them, without `O_CLOEXEC`.
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    /// The file offset.
    #[prost(sint64, tag = "4")]
    pub pos: i64,
    /// The file, for kinds that have one.
    #[prost(uint32, tag = "5")]
    pub file: u32,
    /// The standard stream of the restorer that takes its place (0, 1 or 2), for streams.
    #[prost(uint32, tag = "6")]
    pub stream: u32,
    /// Where the link in /proc/PID/fd led, for readers.
    #[prost(bytes = "vec", tag = "7")]
    #[serde(serialize_with = "crate::json::path")]
    pub link: Vec<u8>,
    /// The pipe, for ends of one.
    #[prost(message, optional, tag = "8")]
    pub pipe: Option<pipe::Record>,
    /// The terminal.
    #[prost(message, optional, tag = "9")]
    pub terminal: Option<terminal::Record>,
    /// The counter, for eventfds.
    #[prost(message, optional, tag = "10")]
    pub eventfd: Option<eventfd::Record>,
    /// The timer, for timerfds.
    #[prost(message, optional, tag = "11")]
    pub timerfd: Option<timerfd::Record>,
    /// The signals, for signalfds.
    #[prost(message, optional, tag = "12")]
    pub signalfd: Option<signalfd::Record>,
    /// What it watches, for epolls.
    #[prost(message, optional, tag = "13")]
    pub epoll: Option<epoll::Record>,
    /// What it watches, for inotify instances.
    #[prost(message, optional, tag = "14")]
    pub inotify: Option<inotify::Record>,
    /// The process, for pidfds.
    #[prost(message, optional, tag = "15")]
    pub pidfd: Option<pidfd::Record>,
    /// The socket, for those of the family `AF_UNIX`.
    #[prost(message, optional, tag = "16")]
    pub unix: Option<unix::Record>,
    /// The internet socket.
    #[prost(message, optional, tag = "17")]
    pub inet: Option<inet::Record>,
    /// The file, for memfds and deleted files.
    #[prost(message, optional, tag = "18")]
    pub object: Option<object::Record>,
    /// Who gets signals about it, if somebody does.
    #[prost(message, optional, tag = "19")]
    pub owner: Option<owner::Record>,
    /// The socket to the kernel, for those of netlink.
    #[prost(message, optional, tag = "22")]
    pub netlink: Option<netlink::Record>,
    /// The directory, if it has been deleted.
    #[prost(message, optional, tag = "24")]
    pub gone: Option<gone_directory::Record>,
    /// The POSIX message queue.
    #[prost(message, optional, tag = "28")]
    pub mqueue: Option<mqueue::Record>,
    /// The ring, for those of io_uring.
    #[prost(message, optional, tag = "30")]
    pub uring: Option<uring::Record>,
    /// Locks that it has, or that processes have taken through it.
    #[prost(message, repeated, tag = "20")]
    pub locks: Vec<locks::Record>,
}

impl Description {
    /// What descriptions that come into being together have in common; `None` for one that comes alone. They are all
    /// opened by one process.
    fn group(&self) -> Option<(&str, u64)> {
        let pipe = self.pipe.as_ref().map(|pipe| pipe.inode ^ pipe.device.rotate_left(32));
        let pair = || self.unix.as_ref().map(|unix| unix.pair).filter(|pair| *pair != 0);
        pipe.or_else(pair).map(|inode| (self.kind.as_str(), inode))
    }

    /// The process that made it, where others are told so.
    fn maker(&self) -> Option<i32> {
        self.unix.as_ref()?.peer_credentials.as_ref().map(|credentials| credentials.pid)
    }

    /// Whether a second descriptor is needed until it is complete: for the other end of a pair that nobody has (the
    /// second of those that come into being together), or for one that a kind makes itself.
    fn needs_second(&self) -> bool {
        self.unix.as_ref().is_some_and(unix::Record::needs_second)
    }

    /// How many descriptors travel together through it, at most.
    fn travellers(&self) -> usize {
        self.unix.as_ref().map_or(0, unix::Record::travellers)
    }

    /// The numbers under which it refers to others, whoever has them.
    fn numbers(&self) -> impl Iterator<Item = i32> {
        self.epoll.iter().flat_map(|epoll| &epoll.entries).map(|entry| entry.fd)
    }

    fn kind(&self) -> Option<&'static dyn FdKind> {
        KINDS.iter().find(|kind| kind.name() == self.kind).copied()
    }
}

/// The form of a descriptor in the image.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Descriptor {
    /// Its number.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// The description it refers to.
    #[prost(uint32, tag = "2")]
    pub description: u32,
    /// `FD_CLOEXEC`
    #[prost(bool, tag = "3")]
    pub cloexec: bool,
}

/// The files of an image, by id.
pub struct Files<'a> {
    by_id: HashMap<u32, &'a file::Record>,
}

impl<'a> Files<'a> {
    /// Those of these records.
    pub fn new(records: &'a [file::Record]) -> Self {
        Self { by_id: records.iter().map(|record| (record.id, record)).collect() }
    }

    /// The path to open a file by; empty for an id that the plan has been checked not to contain.
    pub fn path(&self, id: u32) -> &'a [u8] {
        self.by_id.get(&id).map_or(&[], |record| record.path_to_open())
    }

    /// The record of a file.
    pub fn get(&self, id: u32) -> Option<&'a file::Record> {
        self.by_id.get(&id).copied()
    }

    /// Whether there is a file of this id.
    pub fn has(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }
}

/// The flags to open a file with again: the lasting ones.
fn reopen_flags(flags: u32) -> u32 {
    // O_ASYNC has no effect there, and could not be set any more after it (open(2), BUGS).
    flags & !(o::CREAT | o::EXCL | o::TRUNC | o::CLOEXEC | o::ASYNC) | o::NOCTTY
}

/// `openat` of a file of the image, as the kinds with a path do.
fn open_file(record: &Description, files: &Files<'_>, flags: u32, batch: &mut Batch) -> StepId {
    let path = files.path(record.file);
    let name = batch.c_string(path);
    let label = format!("opening {}", show(path));
    batch.step(label, nr::OPENAT, [libc::AT_FDCWD.into(), name.into(), flags.into(), 0.into()])
}

/// As [`open_file`], with the flags and the offset that the description had.
fn open_at_offset(record: &Description, files: &Files<'_>, batch: &mut Batch) -> StepId {
    let fd = open_file(record, files, reopen_flags(record.flags), batch);
    if record.flags & o::PATH == 0 {
        batch.step("lseek", nr::LSEEK, [fd.into(), record.pos.into(), libc::SEEK_SET.into()]);
    }
    fd
}

/// Notes the file of a description, as the kinds with a path do.
fn capture_file(fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
    // The link leads to the very file, whatever its path leads to by now.
    let very_file = PathBuf::from(format!("/proc/{}/fd/{}", cx.view.pid, fd.fd));
    record.file = cx.files.id_of_link(&fd.link, &very_file)?;
    Ok(())
}

/// No descriptor has a number this high (fs.nr_open is below it, fs/file.c).
const FD_MAX: i32 = 1 << 30;

/// Checks what a plan says of descriptions and descriptors: kinds known, files there, numbers once each.
pub fn check<'a>(
    descriptions: &[Description],
    tables: impl Iterator<Item = &'a [Descriptor]>,
    files: &Files<'_>,
    objects: &BTreeSet<u32>,
    pids: &BTreeSet<i32>,
) -> Result<(), Error> {
    let nonsense = |what: String| Err(Error::Nonsense(what));
    let by_id: HashMap<u32, &Description> = descriptions.iter().map(|d| (d.id, d)).collect();
    if by_id.len() != descriptions.len() || by_id.contains_key(&0) {
        return nonsense("its descriptions have the wrong ids".into());
    }
    let cx = Checking { files, descriptions: &by_id, objects, pids };
    for description in descriptions {
        let Some(kind) = description.kind() else {
            return nonsense(format!("a descriptor is of the unknown kind `{}`", description.kind));
        };
        if description.file != 0 && !files.has(description.file) {
            let file = description.file;
            return nonsense(format!("a descriptor refers to file {file}, which it does not describe"));
        }
        let owner = description.owner.map_or(Ok(()), |owner| owner.check());
        let locks = || description.locks.iter().try_for_each(locks::Record::check);
        if let Err(why) = owner.and_then(|()| locks()).and_then(|()| kind.check(description, &cx)) {
            return nonsense(format!("description {} ({}): {why}", description.id, description.kind));
        }
    }
    for descriptors in tables {
        let mut numbers = BTreeSet::new();
        for descriptor in descriptors {
            let is_new = numbers.insert(descriptor.fd);
            if !(0..FD_MAX).contains(&descriptor.fd)
                || !is_new
                || !by_id.contains_key(&descriptor.description)
            {
                return nonsense(format!("descriptor {} makes no sense", descriptor.fd));
            }
        }
    }
    Ok(())
}

/// What this machine lacks for descriptions of a plan that has been checked.
pub fn obstacles(descriptions: &[Description]) -> impl Iterator<Item = String> {
    descriptions.iter().filter_map(|description| description.kind()?.fits(description).err())
}

/// What on this machine has the names that descriptions of a plan need, when the program that it was made of is gone.
pub fn in_the_way(descriptions: &[Description]) -> Vec<String> {
    let of_kind = |kind: &dyn FdKind| -> Vec<&Description> {
        descriptions.iter().filter(|description| description.kind == kind.name()).collect()
    };
    KINDS.iter().flat_map(|kind| kind.in_the_way(&of_kind(*kind))).collect()
}

/// Whether a file is of a type: opening one of another might wait for ever, or do something to a device.
fn check_type(record: &Description, cx: &Checking<'_>, mode: u32) -> Result<(), String> {
    let is_it = cx.files.get(record.file).is_some_and(|file| file.mode & libc::S_IFMT == mode);
    if is_it { Ok(()) } else { Err("it is not of a file of its kind".into()) }
}
