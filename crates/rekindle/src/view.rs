//! What /proc tells of a process, read once and taken apart. Reading it changes nothing and stops nothing.

mod descriptors;
mod mappings;
mod rest;
mod threads;

pub(crate) use threads::{Namespace, THREAD_NAMESPACES};

use crate::error::Error;
use crate::kinds::fd::terminal::Terminals;
use crate::kinds::fd::unix::Sockets;
use crate::kinds::fd::uring::Rings;
use crate::kinds::process::zombie;
use crate::parallel;
use crate::ties::{Member, Ties};
use crate::waits::Wait;
use rekindle_procfs as procfs;
use rekindle_procfs::fdinfo::FdInfo;
use rekindle_procfs::limits::Limits;
use rekindle_procfs::smaps;
use rekindle_procfs::stat::Stat;
use rekindle_procfs::status::Status;
use rekindle_sys::Errno;
use rekindle_sys::clone::Corpse;
use rekindle_sys::fs::{open_flags as o, read_whole};
use rekindle_sys::task::{Kcmp, kcmp};
use rekindle_tracee::tree::children_of;
use rekindle_tracee::{Frozen, FrozenTree};
use rest::Rest;
use rustix::fs::CWD;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// What is done about sockets whose other ends are in processes outside of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterPeers {
    /// In the restored program it is as if the other end had closed. Sockets for datagrams are connected again, by name.
    #[default]
    Close,
    /// The checkpoint is refused.
    Refuse,
}

/// What is done about connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unaccepted {
    /// The checkpoint is refused.
    #[default]
    Refuse,
    /// They are left out: when the program is killed their other ends are told that they have been reset.
    LeaveOut,
}

/// What a caller wishes about things in a tree that are not the tree's alone.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Connections that wait to be accepted.
    pub unaccepted: Unaccepted,
    /// Directories in and below which the names of watched files are looked for, where nothing else tells them.
    pub search_below: Vec<PathBuf>,
}

/// A process and all its descendants, as /proc shows them.
pub struct TreeView {
    /// The processes in the order in which a restore makes them: the root first, parents before children.
    pub processes: Vec<ProcessView>,
    /// Children that have ended, and that their parents have not taken notice of.
    pub zombies: Vec<zombie::Record>,
    /// How they are tied together; empty if they cannot be made again so.
    pub ties: Ties,
    /// A sentence for each process that cannot be placed, with its pid.
    pub misplaced: Vec<(i32, String)>,
    /// The pseudo-terminals that are part of it.
    pub terminals: Terminals,
    /// The pipes and FIFOs that its processes have open: whether for reading, and whether for writing, by device and inode.
    pipe_ends: HashMap<(u64, u64), [bool; 2]>,
    /// What is done about sockets whose other ends are outside of the tree.
    pub outer_peers: OuterPeers,
    /// What else the caller has to say.
    pub wishes: Wishes,
    /// The sockets of the machine, once somebody has asked.
    sockets: OnceLock<Result<Sockets, Errno>>,
    /// A process that has ended, to compare with.
    nobody: OnceLock<Option<Corpse>>,
}

impl TreeView {
    /// That of a process and its descendants, which may come and go meanwhile.
    pub fn read(root: i32) -> Result<Self, Error> {
        Self::read_as(root, ProcessView::read)
    }

    /// As [`Self::read`], but for the flags of mappings where these will be read anyway once it stands still.
    pub fn glance(root: i32) -> Result<Self, Error> {
        Self::read_as(root, ProcessView::glance)
    }

    fn read_as(root: i32, read: fn(i32) -> Result<ProcessView, Error>) -> Result<Self, Error> {
        let mut processes = vec![read(root)?];
        let mut zombies = Vec::new();
        let mut looked_at = 0;
        while let Some(parents) = processes.get(looked_at..).filter(|parents| !parents.is_empty()) {
            let children: Vec<i32> = parents
                .iter()
                .flat_map(|parent| children_of(parent.pid).unwrap_or_default())
                // Whoever makes the checkpoint is no part of the program.
                .filter(|child| *child != std::process::id().cast_signed())
                .collect();
            looked_at = processes.len();
            for found in parallel::map(&children, |child, _: &mut ()| zombie_or_process(*child, read))? {
                match found {
                    Found::Zombie(zombie) => zombies.push(zombie),
                    Found::Process(view) => processes.push(*view),
                    Found::Nothing => {}
                }
            }
        }
        Ok(Self::of(processes, zombies))
    }

    /// What of a glance counts once the tree is frozen: the mappings of those that rest.
    pub fn into_resting(self) -> Resting {
        let at_rest = |view: ProcessView| Some((view.pid, Mutex::new(Some((view.rest?, view.mappings)))));
        Resting(self.processes.into_iter().filter_map(at_rest).collect())
    }

    /// That of a tree that stands still; `earlier`, some of its processes rested.
    pub fn of_frozen(tree: &FrozenTree, earlier: &Resting) -> Result<Self, Error> {
        let pids: Vec<i32> = tree.processes().iter().map(Frozen::pid).collect();
        let views =
            parallel::map(&pids, |pid, _: &mut ()| ProcessView::read_frozen(*pid, earlier.take(*pid)))?;
        let moved: Vec<i32> = views.iter().filter(|view| view.rest.is_none()).map(|view| view.pid).collect();
        let mut processes = Vec::with_capacity(views.len());
        for mut view in views {
            // Whoever has the same memory may have changed it.
            let has_its_own = |other: &i32| kcmp(*other, view.pid, Kcmp::Vm, 0, 0).is_ok_and(Ordering::is_ne);
            if view.rest.is_some() && !moved.iter().all(has_its_own) {
                view.mappings = mappings::read(view.pid)?;
            }
            processes.push(view);
        }
        let zombies =
            tree.zombies().iter().map(|pid| zombie::Record::read(*pid)).collect::<Result<_, _>>()?;
        Ok(Self::of(processes, zombies))
    }

    fn of(mut processes: Vec<ProcessView>, zombies: Vec<zombie::Record>) -> Self {
        let members = members(&processes, &zombies);
        let (ties, misplaced) = match Ties::of(&members) {
            Ok(ties) => (ties, Vec::new()),
            Err(misplaced) => (Ties::default(), misplaced),
        };
        let place: HashMap<i32, usize> =
            ties.births.iter().enumerate().map(|(place, birth)| (birth.pid, place)).collect();
        processes.sort_by_key(|view| place.get(&view.pid).copied().unwrap_or(0));
        let pipe_ends = pipe_ends(&processes);
        let terminals = Terminals::of(&processes);
        Self {
            processes,
            zombies,
            ties,
            misplaced,
            terminals,
            pipe_ends,
            outer_peers: OuterPeers::Close,
            wishes: Wishes::default(),
            sockets: OnceLock::new(),
            nobody: OnceLock::new(),
        }
    }

    /// The same, with another answer to sockets whose other ends are outside.
    pub fn with_outer_peers(self, outer_peers: OuterPeers) -> Self {
        Self { outer_peers, ..self }
    }

    /// The same, with what else the caller has to say.
    pub fn with_wishes(self, wishes: &Wishes) -> Self {
        Self { wishes: wishes.clone(), ..self }
    }

    /// The sockets of the family `AF_UNIX` on the machine, and which of them the tree has.
    pub fn sockets(&self) -> Result<&Sockets, Errno> {
        self.sockets.get_or_init(|| Sockets::ask(&self.processes)).as_ref().map_err(|errno| *errno)
    }

    /// The pid of a process that has nothing any more, if one can be made.
    pub fn nobody(&self) -> Option<i32> {
        self.nobody.get_or_init(|| Corpse::make().ok()).as_ref().map(Corpse::pid)
    }

    /// The process that another one's memory comes from when it is cloned: whoever clones it, or whom that stands in for.
    pub fn donor(&self, pid: i32) -> Option<i32> {
        self.ties.donor(pid)
    }

    /// The pids of its processes, also of those that have ended.
    pub fn pids(&self) -> BTreeSet<i32> {
        self.processes
            .iter()
            .map(|view| view.pid)
            .chain(self.zombies.iter().map(|zombie| zombie.pid))
            .collect()
    }

    /// Whether the tree has both ends of the pipe that a descriptor is an end of.
    pub fn has_both_ends(&self, fd: &FdView) -> bool {
        self.pipe_ends.get(&(fd.dev, fd.ino)) == Some(&[true, true])
    }
}

fn pipe_ends(processes: &[ProcessView]) -> HashMap<(u64, u64), [bool; 2]> {
    let mut pipe_ends: HashMap<(u64, u64), [bool; 2]> = HashMap::new();
    let fds = processes.iter().flat_map(|view| &view.fds);
    for fd in fds.filter(|fd| fd.file_type() == libc::S_IFIFO && fd.info.flags & o::PATH == 0) {
        let ends = pipe_ends.entry((fd.dev, fd.ino)).or_default();
        let mode = fd.info.flags & o::ACCMODE;
        ends[0] |= mode != 1;
        ends[1] |= mode != 0;
    }
    pipe_ends
}

fn members(processes: &[ProcessView], zombies: &[zombie::Record]) -> Vec<Member> {
    let processes = processes.iter().map(|view| {
        let stat = &view.stat;
        Member { pid: view.pid, ppid: stat.ppid, pgid: stat.pgrp, sid: stat.session }
    });
    processes.chain(zombies.iter().map(zombie::Record::member)).collect()
}

enum Found {
    Zombie(zombie::Record),
    Process(Box<ProcessView>),
    /// It has ended meanwhile.
    Nothing,
}

fn zombie_or_process(pid: i32, read: fn(i32) -> Result<ProcessView, Error>) -> Result<Found, Error> {
    match look_at(pid, read) {
        Err(Error::NoSuchProcess { .. }) => Ok(Found::Nothing),
        found => found,
    }
}

fn look_at(pid: i32, read: fn(i32) -> Result<ProcessView, Error>) -> Result<Found, Error> {
    const PF_EXITING: u32 = 4;
    let stat = parse(pid, "stat", procfs::stat::parse)?;
    let is_alone = stat.num_threads <= 1;
    let is_zombie = matches!(stat.state, procfs::State::Zombie | procfs::State::Dead) && is_alone;
    if is_alone && !is_zombie && stat.flags & PF_EXITING != 0 {
        Ok(Found::Nothing) // as good as ended: it has neither memory nor files any more
    } else if is_zombie {
        zombie::Record::read(pid).map(Found::Zombie)
    } else {
        read(pid).map(|view| Found::Process(Box::new(view)))
    }
}

/// The mappings of processes that were at rest, by pid; each is taken once.
#[derive(Default)]
pub struct Resting(HashMap<i32, Mutex<Option<RestingMappings>>>);

/// The mappings of a process, and the rest that they were read in.
type RestingMappings = (Rest, Vec<smaps::Entry>);

impl Resting {
    fn take(&self, pid: i32) -> Option<RestingMappings> {
        self.0.get(&pid)?.lock().ok()?.take()
    }
}

/// A process as /proc shows it.
pub struct ProcessView {
    /// The process.
    pub pid: i32,
    /// /proc/PID/status
    pub status: Status,
    /// /proc/PID/stat
    pub stat: Stat,
    /// /proc/PID/smaps; after a glance: /proc/PID/maps
    pub mappings: Vec<smaps::Entry>,
    /// /proc/PID/fd and fdinfo, by number
    pub fds: Vec<FdView>,
    /// /proc/PID/limits
    pub limits: Limits,
    /// /proc/PID/task, in order of tid
    pub threads: Vec<ThreadView>,
    /// The timed sleeps that its tasks were in before it was frozen.
    pub waits: HashMap<i32, Wait>,
    /// The sleeps that all its threads were in, if they were, before its mappings were read.
    rest: Option<Rest>,
    /// What its rings of io_uring told it, once it was frozen.
    pub rings: Rings,
}

/// A thread as /proc shows it.
pub struct ThreadView {
    /// The thread.
    pub tid: i32,
    /// /proc/PID/task/TID/status
    pub status: Status,
    /// Where the links [`THREAD_NAMESPACES`] of /proc/PID/task/TID/ns lead.
    pub(crate) namespaces: [Namespace; THREAD_NAMESPACES.len()],
}

/// An open descriptor as /proc shows it.
#[derive(Clone, Debug)]
pub struct FdView {
    /// Its number.
    pub fd: i32,
    /// What the link says: a path, `pipe:[123]`, `anon_inode:[eventfd]`...
    pub link: Vec<u8>,
    /// /proc/PID/fdinfo/N
    pub info: FdInfo,
    /// `st_mode` of the file
    pub mode: u32,
    /// `st_dev`
    pub dev: u64,
    /// `st_ino`
    pub ino: u64,
    /// `st_nlink`
    pub nlink: u64,
    /// `st_rdev`
    pub rdev: u64,
    /// `st_size`
    pub size: u64,
    /// Modification time, in seconds and nanoseconds.
    pub mtime: (i64, i64),
}

impl FdView {
    /// Reads what /proc shows of one.
    pub fn read(pid: i32, fd: i32) -> Result<Self, Error> {
        descriptors::read_one(pid, fd)
    }

    /// The type bits of the mode (inode(7)).
    pub fn file_type(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

impl ProcessView {
    /// Reads all of it. A thread or a descriptor that goes away meanwhile is left out.
    pub fn read(pid: i32) -> Result<Self, Error> {
        Self::read_with(pid, |_| Ok((mappings::read(pid)?, None)))
    }

    /// As [`Self::read`], but for the flags and counters of mappings while it does not rest.
    pub fn glance(pid: i32) -> Result<Self, Error> {
        Self::read_with(pid, |threads| match Rest::of(pid, threads) {
            Some(rest) => Ok((mappings::read(pid)?, Some(rest))),
            None => Ok((mappings::glance(pid)?, None)),
        })
    }

    /// Reads all of a process that stands still, but for mappings that are as they were `earlier`, when it rested.
    fn read_frozen(pid: i32, earlier: Option<RestingMappings>) -> Result<Self, Error> {
        Self::read_with(pid, |threads| {
            if let Some((rest, known)) = earlier.filter(|(rest, _)| rest.lasts(pid, threads)) {
                let now = mappings::glance(pid)?;
                if now.iter().map(|entry| &entry.mapping).eq(known.iter().map(|entry| &entry.mapping)) {
                    return Ok((known, Some(rest)));
                }
            }
            Ok((mappings::read(pid)?, None))
        })
    }

    fn read_with(
        pid: i32,
        mappings: impl FnOnce(&[ThreadView]) -> Result<(Vec<smaps::Entry>, Option<Rest>), Error>,
    ) -> Result<Self, Error> {
        let status = parse(pid, "status", procfs::status::parse)?;
        let threads = threads::read(pid)?;
        let (mappings, rest) = mappings(&threads)?;
        Ok(Self {
            pid,
            status,
            stat: parse(pid, "stat", procfs::stat::parse)?,
            mappings,
            fds: descriptors::read(pid)?,
            limits: parse(pid, "limits", procfs::limits::parse)?,
            threads,
            waits: HashMap::new(),
            rest,
            rings: Rings::default(),
        })
    }

    /// Its pid, and the tids of its threads.
    pub fn task_ids(&self) -> (i32, Vec<i32>) {
        (self.pid, self.threads.iter().map(|thread| thread.tid).collect())
    }

    /// A thread of it.
    pub fn thread(&self, tid: i32) -> Option<&ThreadView> {
        let index = self.threads.binary_search_by_key(&tid, |thread| thread.tid).ok()?;
        self.threads.get(index)
    }

    /// The plain mappings, without their accounting.
    pub fn plain_mappings(&self) -> Vec<procfs::maps::Mapping> {
        self.mappings.iter().map(|entry| entry.mapping.clone()).collect()
    }

    /// Reads a file below /proc/PID that other kinds have no use for.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, Error> {
        read(self.pid, name)
    }

    /// Where a link below /proc/PID leads.
    pub fn link(&self, name: &str) -> Result<Vec<u8>, Error> {
        std::fs::read_link(format!("/proc/{}/{name}", self.pid))
            .map(|path| path.into_os_string().into_vec())
            .map_err(|error| Error::proc(self.pid, name, error))
    }
}

fn read(pid: i32, name: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match read_whole(CWD, &format!("/proc/{pid}/{name}"), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(Errno::NOENT | Errno::SRCH) => Err(Error::NoSuchProcess { pid }),
        Err(errno) => Err(Error::proc(pid, name, rekindle_sys::errno_text(errno))),
    }
}

/// Reads a file below /proc/PID and takes it apart.
pub(crate) fn parse<T>(
    pid: i32,
    name: &str,
    parser: fn(&[u8]) -> Result<T, procfs::ParseError>,
) -> Result<T, Error> {
    parser(&read(pid, name)?).map_err(|error| Error::proc(pid, name, error))
}
