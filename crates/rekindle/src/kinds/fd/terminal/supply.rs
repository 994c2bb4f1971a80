//! Terminals for a program in the making: the restorer opens them before there is a process, and every process is born
//! with them at numbers that the layout of descriptors knows.
//!
//! A pseudo-terminal gets the lowest index that is free. So masters are opened until all that are wanted are there; those
//! between are closed again. That needs decisions, which a batch cannot make.
//!
//! If anything fails, what was opened is closed as this is dropped.

use super::outer::inner_index;
use super::record::{End, Pair, Slave};
use super::unread::{Ends, open_slave};
use crate::error::Error;
use crate::kinds::fd::{Description, reopen_flags};
use crate::record::Plan;
use crate::refusal::show;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::library::fork_helper;
use rekindle_sys::tty::{self, Ask, Tell};
use rekindle_sys::wait::wait_child;
use rekindle_sys::{Errno, Result as Kernel};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;

/// What something is handed over for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A description of the plan.
    Description(u32),
    /// The controlling terminal of a session: a pseudo-terminal of the plan.
    Controlling(u32),
    /// Nothing to read, and a place for what is written in vain.
    Nothing,
}

/// What the restorer has opened for the program.
#[derive(Default)]
pub struct Supply {
    held: BTreeMap<Key, OwnedFd>,
}

/// Who a restored program's terminal is used by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// The program, and we stay with it.
    Foreground,
    /// Others too: we leave.
    Detached,
}

impl Supply {
    /// All that a plan needs. `DoesNotFit` if an index is taken.
    pub fn of(plan: &Plan, company: Company) -> Result<Self, Error> {
        let mut supply = Self::default();
        supply.make_pairs(plan)?;
        supply.open_outer(plan, company)?;
        Ok(supply)
    }

    /// What there is.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.held.keys().copied()
    }

    /// Moves everything to numbers from `lowest` on; tells which.
    pub fn lift(&mut self, lowest: i32) -> Result<BTreeMap<Key, i32>, Error> {
        let mut numbers = BTreeMap::new();
        for (key, fd) in &mut self.held {
            *fd = rustix::io::fcntl_dupfd_cloexec(&*fd, lowest)
                .map_err(|errno| Error::call("moving a terminal out of the way", errno))?;
            numbers.insert(*key, fd.as_raw_fd());
        }
        Ok(numbers)
    }

    fn make_pairs(&mut self, plan: &Plan) -> Result<(), Error> {
        let of_end = |end: End| {
            let is_it = move |it: &&Description| it.terminal.as_ref().is_some_and(|it| it.end() == end);
            plan.descriptions.iter().filter(is_it)
        };
        let index = |description: &Description| description.terminal.as_ref().map_or(0, |it| it.index);
        let required: BTreeMap<u32, &[u8]> =
            of_end(End::Master).map(|master| (index(master), master.link.as_slice())).collect();
        let optional: BTreeSet<u32> =
            of_end(End::HungUp).map(index).filter(|index| !required.contains_key(index)).collect();
        let mut masters = acquire(&required, &optional)?;
        for description in of_end(End::HungUp) {
            self.hang_up(description, masters.get(&index(description)))?;
        }
        // What is hung up by the end of its master is so as soon as that goes.
        masters.retain(|index, _| required.contains_key(index));
        for description in of_end(End::Master) {
            let index = index(description);
            let failed = |errno| Error::call(format!("making terminal /dev/pts/{index} again"), errno);
            if let Some(pair) = description.terminal.as_ref().and_then(|it| it.pair.as_ref())
                && let Some(master) = masters.remove(&index)
            {
                let slaves = of_end(End::Slave).filter(|slave| self::index(slave) == index);
                self.make_pair(plan, pair, index, &master, slaves).map_err(failed)?;
                set_flags(&master, description).map_err(failed)?;
                self.held.insert(Key::Description(description.id), master);
            }
        }
        Ok(())
    }

    fn make_pair<'a>(
        &mut self,
        plan: &Plan,
        pair: &Pair,
        index: u32,
        master: &OwnedFd,
        slaves: impl Iterator<Item = &'a Description>,
    ) -> Kernel<()> {
        tty::tell(master, Tell::Locked, 0)?;
        let own = if pair.slave() == Slave::Fresh { None } else { Some(open_slave(master)?) };
        pair.settings.set_size(master)?;
        let modes = pair.settings.modes().ok_or(Errno::INVAL)?;
        tty::set_settings(master, &modes)?;
        Ends { master, slave: own.as_ref(), modes, packets: false }.fill(&pair.unread)?;
        for slave in slaves {
            // Without O_CLOEXEC, which would show among its flags for good.
            let fd = tty::open_peer(master, reopen_flags(slave.flags) as i32)?;
            self.held.insert(Key::Description(slave.id), fd);
        }
        set_owner(pair, index)?;
        if pair.exclusive
            && let Some(own) = &own
        {
            tty::make_exclusive(own)?;
        }
        let controls = |process: &crate::record::ProcessPlan| {
            inner_index(plan, &process.process.controlling_terminal) == Some(index)
        };
        if plan.processes.iter().any(controls) {
            let fd = match own {
                Some(own) => own,
                None => open_slave(master)?,
            };
            self.held.insert(Key::Controlling(index), fd);
        }
        if pair.packets {
            tty::tell(master, Tell::Packets, 1)?;
        }
        if pair.locked {
            tty::tell(master, Tell::Locked, 1)?;
        }
        Ok(())
    }

    /// A slave is hung up as its master is closed, or by whoever has the right to.
    fn hang_up(&mut self, description: &Description, master: Option<&OwnedFd>) -> Result<(), Error> {
        let failed = |errno| Error::call("making a terminal that is hung up", errno);
        let passing;
        let master = match master {
            Some(master) => master,
            None => {
                passing = open_master(b"/dev/ptmx").map_err(failed)?;
                &passing
            }
        };
        tty::tell(master, Tell::Locked, 0).map_err(failed)?;
        let slave = tty::open_peer(master, reopen_flags(description.flags) as i32).map_err(failed)?;
        // Nobody else has it yet. If we must not, its master's other slave keeps the index, and it is not this one's.
        let helper = fork_helper(|| u8::from(tty::hang_up_in_session(&slave).is_err())).map_err(failed)?;
        let _ = wait_child(helper);
        if tty::settings(&slave) != Err(Errno::IO) {
            return self.hang_up_with_master(description);
        }
        self.held.insert(Key::Description(description.id), slave);
        Ok(())
    }

    /// The slave of a master that goes at once.
    fn hang_up_with_master(&mut self, description: &Description) -> Result<(), Error> {
        let failed = |errno| Error::call("making a terminal that is hung up", errno);
        let master = open_master(b"/dev/ptmx").map_err(failed)?;
        tty::tell(&master, Tell::Locked, 0).map_err(failed)?;
        let slave = tty::open_peer(&master, reopen_flags(description.flags) as i32).map_err(failed)?;
        self.held.insert(Key::Description(description.id), slave);
        Ok(())
    }

    /// Descriptions of their own of the restorer's terminal, so that what the program does to its flags (`O_NONBLOCK`)
    /// does not concern our caller, and the other way round.
    fn open_outer(&mut self, plan: &Plan, company: Company) -> Result<(), Error> {
        let Some(root) = plan.processes.first() else { return Ok(()) };
        let root = &root.process;
        let leads = root.identity.sid == root.identity.pid;
        for description in &plan.descriptions {
            let is_outer = description.terminal.as_ref().is_some_and(|it| it.end() == End::Outer);
            if !is_outer {
                continue;
            }
            if leads && company == Company::Detached {
                // No job of our caller's any more, it would take away from the shell what is typed.
                let nothing = openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty());
                let nothing = nothing.map_err(|errno| Error::call("opening /dev/null", errno))?;
                self.held.insert(Key::Nothing, nothing);
            } else if let Some(fd) = reopen(plan, description) {
                self.held.insert(Key::Description(description.id), fd);
            }
        }
        Ok(())
    }
}

fn index(description: &Description) -> u32 {
    description.terminal.as_ref().map_or(0, |it| it.index)
}

/// Our terminal, opened anew, if all standard streams in question lead to it.
fn reopen(plan: &Plan, description: &Description) -> Option<OwnedFd> {
    let descriptors = plan.processes.iter().flat_map(|process| &process.descriptors);
    let streams: BTreeSet<i32> = descriptors
        .filter(|descriptor| descriptor.description == description.id && descriptor.fd <= 2)
        .map(|descriptor| descriptor.fd)
        .collect();
    let flags = OFlags::from_bits_retain(reopen_flags(description.flags));
    let open = |path: &str| openat(CWD, path, flags, Mode::empty()).ok();
    if streams.is_empty() && description.link == b"/dev/tty" {
        return open("/dev/tty");
    }
    let streams = if streams.is_empty() { BTreeSet::from([description.stream as i32]) } else { streams };
    let devices: BTreeSet<Option<u64>> = streams.iter().map(|stream| terminal_at(*stream)).collect();
    match (streams.first(), devices.len(), devices.first()) {
        (Some(stream), 1, Some(Some(_))) => open(&format!("/proc/self/fd/{stream}")),
        _ if streams.len() == 1 && description.stream > 0 => open("/dev/tty"),
        _ => None,
    }
}

/// The terminal that a standard stream of ours leads to.
fn terminal_at(stream: i32) -> Option<u64> {
    let fd = rekindle_sys::library::own_descriptor(stream).ok()?;
    tty::settings(&fd).ok()?;
    Some(rustix::fs::fstat(&fd).ok()?.st_rdev)
}

fn set_flags(fd: &OwnedFd, description: &Description) -> Kernel<()> {
    rustix::fs::fcntl_setfl(fd, OFlags::from_bits_retain(description.flags & !o::ACCMODE))
}

fn set_owner(pair: &Pair, index: u32) -> Kernel<()> {
    let path = format!("/dev/pts/{index}");
    let (uid, gid) = (rustix::fs::Uid::from_raw(pair.uid), rustix::fs::Gid::from_raw(pair.gid));
    rustix::fs::chown(&*path, Some(uid), Some(gid))?;
    rustix::fs::chmod(&*path, Mode::from_raw_mode(pair.mode))
}

fn open_master(path: &[u8]) -> Kernel<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    openat(CWD, std::ffi::OsStr::from_bytes(path), flags, Mode::empty())
}

/// Masters with the indices that are required (with the name to open each by), and if possible the optional ones.
fn acquire(
    required: &BTreeMap<u32, &[u8]>,
    optional: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, OwnedFd>, Error> {
    let mut missing: BTreeSet<u32> = required.keys().chain(optional).copied().collect();
    let mut masters = BTreeMap::new();
    let mut passed = Vec::new();
    while let (Some(next), Some(last)) = (missing.first(), missing.last()) {
        // No other device is opened, whatever the image says.
        let by_name = [b"/dev/ptmx".as_slice(), b"/dev/pts/ptmx"]
            .into_iter()
            .find(|name| required.get(next) == Some(name));
        let failed = |errno| Error::call("opening /dev/ptmx", errno);
        let master = open_master(by_name.unwrap_or(b"/dev/ptmx")).map_err(failed)?;
        let index = tty::ask(&master, Ask::Index).map_err(failed)?.cast_unsigned();
        if index > *last {
            break;
        }
        if missing.remove(&index) {
            masters.insert(index, master);
        } else {
            passed.push(master);
        }
    }
    let taken: Vec<String> =
        missing.iter().filter(|index| required.contains_key(index)).map(|index| taken(*index)).collect();
    if taken.is_empty() { Ok(masters) } else { Err(Error::DoesNotFit(taken)) }
}

fn taken(index: u32) -> String {
    let who = match holder(index) {
        Some((pid, name)) => format!("`{name}` (pid {pid})"),
        None => "somebody".to_owned(),
    };
    format!(
        "terminal /dev/pts/{index} is taken by {who}; restore when it is free, or with a /dev/pts of its own"
    )
}

/// The process that has the master of a pseudo-terminal, or failing that its slave.
fn holder(index: u32) -> Option<(i32, String)> {
    let slave = format!("/dev/pts/{index}");
    let mut by_slave = None;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in fds.flatten() {
            let Ok(link) = std::fs::read_link(entry.path()) else { continue };
            let link = link.as_os_str().as_bytes();
            let is_master = link.ends_with(b"/ptmx") && has_index(pid, &entry.file_name(), index);
            let found = || {
                let status = crate::view::parse(pid, "status", rekindle_procfs::status::parse).ok()?;
                Some((pid, show(&status.name)))
            };
            if is_master && pid != std::process::id().cast_signed() {
                return found();
            }
            if link.starts_with(slave.as_bytes()) && link.get(slave.len()).is_none_or(|next| *next == b' ') {
                by_slave = found();
            }
        }
    }
    by_slave
}

fn has_index(pid: i32, fd: &std::ffi::OsStr, index: u32) -> bool {
    let info = std::fs::read(format!("/proc/{pid}/fdinfo/{}", fd.to_string_lossy())).ok();
    let info = info.and_then(|bytes| rekindle_procfs::fdinfo::parse(&bytes).ok());
    info.is_some_and(|info| {
        info.value(b"tty-index").is_some_and(|value| value.trim_ascii() == index.to_string().as_bytes())
    })
}
