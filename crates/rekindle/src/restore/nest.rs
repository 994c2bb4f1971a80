//! The processes of a tree in the making: their births, in an order that gives each its parent, its session and the memory
//! that it has from whom it was forked.
//!
//! ```text
//! born ── emptied of what is not its own ── mapped ── children that inherit nothing are born ── filled ── children that do
//! ```
//!
//! Pages arrive in the order of births, so that a process is complete before one is born that inherits from it.

use super::memory::Rebuild;
use crate::error::Error;
use crate::fault;
use crate::kinds::Phase;
use crate::kinds::clocks::Clocks;
use crate::kinds::fd::restore::Layout;
use crate::kinds::fd::terminal::inner_index;
use crate::kinds::fd::terminal::supply::Key;
use crate::kinds::process::{controlling_terminal, identity};
use crate::record::Plan;
use crate::ties::{Birth, Grouping, Maker, Ties};
use rekindle_sys::clone::Offspring;
use rekindle_sys::nr;
use rekindle_tracee::newborn::Kinship;
use rekindle_tracee::{Batch, Newborn, Nursery};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// See the module's story.
pub(super) struct Nest<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ties: &'a Ties,
    layout: &'a Layout<'a>,
    rebuilds: &'a [Rebuild<'a>],
    /// Place in the plan, by pid.
    places: HashMap<i32, usize>,
    newborns: BTreeMap<i32, Newborn>,
    pub(super) nursery: Nursery,
    /// Those that have called setsid.
    in_session: BTreeSet<i32>,
    /// Births whose turn has come.
    births_done: usize,
    /// Processes that are mapped.
    mapped: usize,
    /// The root has another pid for the time being.
    passing_root: Option<i32>,
}

pub(super) const SIGCHLD: i32 = 17;

impl<'a> Nest<'a> {
    /// An empty one.
    pub(super) fn of(
        plan: &'a Plan,
        ties: &'a Ties,
        layout: &'a Layout<'a>,
        rebuilds: &'a [Rebuild<'a>],
        nursery: Nursery,
    ) -> Self {
        let places =
            plan.processes.iter().enumerate().map(|(index, p)| (p.process.identity.pid, index)).collect();
        Self {
            plan,
            ties,
            layout,
            rebuilds,
            places,
            newborns: BTreeMap::new(),
            nursery,
            in_session: BTreeSet::new(),
            births_done: 0,
            mapped: 0,
            passing_root: None,
        }
    }

    fn pid(&self, index: usize) -> i32 {
        self.plan.processes[index].process.identity.pid
    }

    /// The pid that a process has now.
    pub(super) fn pid_now(&self, index: usize) -> i32 {
        match self.passing_root {
            Some(passing) if index == 0 => passing,
            _ => self.pid(index),
        }
    }

    pub(super) fn at_pid(&mut self, pid: i32) -> Result<&mut Newborn, Error> {
        self.newborns.get_mut(&pid).ok_or_else(|| Error::Nonsense(format!("process {pid} is not born yet")))
    }

    /// A process that has been born.
    pub(super) fn at(&mut self, index: usize) -> Result<&mut Newborn, Error> {
        self.at_pid(self.pid(index))
    }

    /// Executes a batch in a process.
    pub(super) fn run(&mut self, index: usize, batch: &Batch) -> Result<(), Error> {
        if !batch.is_empty() {
            self.at(index)?.run(batch)?;
        }
        Ok(())
    }

    /// The root is born, with its own pid or, if that is still taken, with another.
    pub(super) fn bear_root(
        &mut self,
        kinship: Kinship,
        pid_is_free: bool,
        clocks: Clocks,
    ) -> Result<(), Error> {
        let pid = self.pid(0);
        let root = self.nursery.clone_root(if pid_is_free { pid } else { 0 }, kinship)?;
        if !pid_is_free {
            self.passing_root = Some(root.pid());
        }
        self.newborns.insert(pid, root);
        fault::point("restore-born")?;
        let mut batch = Batch::new();
        if let Some(record) = &self.plan.info.clocks {
            record.restore(clocks, &mut batch)?;
        }
        self.plan.processes[0].process.restore(Phase::Space, &mut batch);
        self.layout.clear(&mut batch);
        // It is born with the restorer's controlling terminal.
        if self.has_no_terminal(pid) {
            controlling_terminal::give_up(&mut batch);
        }
        self.births_done = 1;
        self.map(0, batch)
    }

    /// The root gets its own pid.
    pub(super) fn pass_on(&mut self) -> Result<(), Error> {
        let pid = self.pid(0);
        let before = self.newborns.remove(&pid).ok_or_else(|| Error::Nonsense("there is no root".into()))?;
        let twin = self.nursery.pass_on(before, pid)?;
        self.newborns.insert(pid, twin);
        self.passing_root = None;
        Ok(())
    }

    /// Whether a process has been born and mapped.
    pub(super) fn has(&self, index: usize) -> bool {
        index < self.mapped
    }

    /// Births up to a process, which is mapped then. Those before it have been filled.
    pub(super) fn advance_to(&mut self, index: usize) -> Result<(), Error> {
        while self.mapped <= index {
            let birth = self.next_birth()?;
            self.bear(&birth)?;
            if let Some(place) = self.places.get(&birth.pid).copied() {
                self.map(place, Batch::new())?;
            }
        }
        Ok(())
    }

    /// All births that are left.
    pub(super) fn advance_to_end(&mut self) -> Result<(), Error> {
        if let Some(last) = self.plan.processes.len().checked_sub(1) {
            self.advance_to(last)?;
        }
        while self.births_done < self.ties.births.len() {
            let birth = self.next_birth()?;
            self.bear(&birth)?;
        }
        fault::point("restore-all-born")
    }

    fn next_birth(&mut self) -> Result<Birth, Error> {
        let birth = self.ties.births.get(self.births_done).copied();
        self.births_done += 1;
        birth.ok_or_else(|| Error::Nonsense("a process is nobody's child".into()))
    }

    /// What is not a process's own goes, then its mappings come; and children that have nothing of its memory, as long as
    /// there is little to fork.
    fn map(&mut self, index: usize, mut batch: Batch) -> Result<(), Error> {
        let rebuild = &self.rebuilds[index];
        if rebuild.is_shared() {
            self.mapped += 1;
            return self.run(index, &batch);
        }
        let own = self.at(index)?.own_mapping();
        rebuild.empty(own, index > 0, &mut batch);
        self.run(index, &batch)?;
        if index == 0 {
            fault::point("restore-emptied")?;
        }
        let mut batch = Batch::new();
        rebuild.map_vdso(&mut batch);
        if index == 0 {
            rebuild.map_arena(&mut batch);
        }
        rebuild.map(&mut batch);
        self.run(index, &batch)?;
        self.mapped += 1;
        self.bear_those_who_inherit_nothing(self.pid(index))?;
        if index == 0 { fault::point("restore-mapped") } else { Ok(()) }
    }

    fn bear_those_who_inherit_nothing(&mut self, parent: i32) -> Result<(), Error> {
        if self.passing_root.is_some() {
            return Ok(()); // it will be another process
        }
        let ties = self.ties;
        let children = ties.births.iter().filter(|birth| birth.maker == Maker::Parent(parent));
        let (early, late): (Vec<&Birth>, Vec<&Birth>) = children.partition(|birth| birth.before_setsid);
        for group in [early, late] {
            for birth in &group {
                if !self.inherits(birth) {
                    self.bear(birth)?;
                }
            }
            // One that is to come before the parent's setsid waits for memory: so do all that come after.
            if group.iter().any(|birth| !self.newborns.contains_key(&birth.pid)) {
                break;
            }
        }
        Ok(())
    }

    /// Whether one needs what its maker will be filled with; a stand-in does so for those that it makes.
    fn inherits(&self, birth: &Birth) -> bool {
        birth.stand_in || self.places.get(&birth.pid).is_some_and(|place| self.rebuilds[*place].inherits())
    }

    fn bear(&mut self, birth: &Birth) -> Result<(), Error> {
        if self.newborns.contains_key(&birth.pid) {
            return Ok(());
        }
        let shares = self.identity(birth.pid).map_or(0, |identity| identity.shares);
        let (maker, offspring) = match birth.maker {
            Maker::Restorer => return Err(Error::Nonsense("it has two roots".into())),
            Maker::Parent(maker) => (maker, Offspring::Child(shares)),
            Maker::Sibling(maker) => (maker, Offspring::Sibling(shares)),
            Maker::Adopted { host, .. } => (host, Offspring::Child(0)),
        };
        if !birth.before_setsid {
            self.lead_session(maker)?;
        }
        if shares & libc::CLONE_IO.cast_unsigned() != 0 {
            self.have_io_context(maker)?;
        }
        let exit_signal = self.exit_signal(birth.pid);
        let newborn = match birth.maker {
            Maker::Adopted { host, parent } => self.bear_adopted(birth.pid, host, parent)?,
            _ => self.clone_by(maker, birth.pid, offspring, exit_signal)?,
        };
        self.newborns.insert(birth.pid, newborn);
        if self.has_no_terminal(birth.pid) && !self.has_no_terminal(maker) {
            let mut batch = Batch::new();
            controlling_terminal::give_up(&mut batch);
            self.at_pid(birth.pid)?.run(&batch)?;
        }
        if birth.stand_in {
            self.lead_session(birth.pid)?;
        }
        Ok(())
    }

    /// There is nothing to share before it has been needed (kernel/fork.c, `copy_io`). What its priority is comes later.
    fn have_io_context(&mut self, pid: i32) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.step("ioprio_set", nr::IOPRIO_SET, [IOPRIO_WHO_PROCESS.into(), 0.into(), 0.into()]);
        self.at_pid(pid)?.run(&batch)?;
        Ok(())
    }

    /// Has a process clone another one.
    pub(super) fn clone_by(
        &mut self,
        maker: i32,
        pid: i32,
        offspring: Offspring,
        exit_signal: i32,
    ) -> Result<Newborn, Error> {
        let Self { newborns, nursery, .. } = self;
        let by = newborns.get_mut(&maker);
        let by = by.ok_or_else(|| Error::Nonsense(format!("process {maker} is not born yet")))?;
        Ok(nursery.clone_by(by, pid, offspring, exit_signal)?)
    }

    fn identity(&self, pid: i32) -> Option<&'a identity::Record> {
        self.places.get(&pid).map(|index| &self.plan.processes[*index].process.identity)
    }

    fn exit_signal(&self, pid: i32) -> i32 {
        let process =
            self.places.get(&pid).map(|index| self.plan.processes[*index].process.identity.exit_signal);
        let zombie =
            || self.plan.zombies.iter().find(|zombie| zombie.pid == pid).map(|zombie| zombie.exit_signal);
        process.or_else(zombie).unwrap_or(SIGCHLD)
    }

    fn lead_session(&mut self, pid: i32) -> Result<(), Error> {
        if self.ties.session_leaders.contains(&pid) && self.in_session.insert(pid) {
            let mut batch = Batch::new();
            batch.step("setsid", nr::SETSID, []);
            if let Some(terminal) = self.terminal_of(pid) {
                controlling_terminal::take(terminal, &mut batch);
            }
            self.at_pid(pid)?.run(&batch)?;
        }
        Ok(())
    }

    /// The number at which everybody has the pseudo-terminal of the program that is the controlling one of a process.
    fn terminal_of(&self, pid: i32) -> Option<i32> {
        let process = &self.plan.processes[*self.places.get(&pid)?].process;
        let index = inner_index(self.plan, &process.controlling_terminal)?;
        self.layout.handed(Key::Controlling(index))
    }

    /// Whether a process is known to have no controlling terminal, though the leader of its session may have one.
    fn has_no_terminal(&self, pid: i32) -> bool {
        let Some(index) = self.places.get(&pid) else { return true };
        let process = &self.plan.processes[*index].process;
        process.controlling_terminal.device == Some(0) && process.identity.sid != pid
    }

    /// Process groups that were in the foreground of their terminals are so again.
    fn set_foregrounds(&mut self) -> Result<(), Error> {
        let plan = self.plan;
        let members = plan.members();
        for process in &plan.processes {
            let (identity, terminal) = (&process.process.identity, &process.process.controlling_terminal);
            let is_there = |group: &i32| {
                members.iter().any(|member| member.pgid == *group && member.sid == identity.pid)
            };
            if identity.sid == identity.pid
                && let Some(fd) = self.terminal_of(identity.pid)
                && let Some(group) = terminal.foreground.filter(is_there)
            {
                let mut batch = Batch::new();
                controlling_terminal::set_foreground(fd, group, &mut batch);
                self.at_pid(identity.pid)?.run(&batch)?;
            }
        }
        Ok(())
    }

    /// Sessions that nobody needed so far, and all process groups.
    pub(super) fn group(&mut self) -> Result<(), Error> {
        let ties = self.ties;
        for leader in &ties.session_leaders {
            self.lead_session(*leader)?;
        }
        for grouping in &ties.groupings {
            let mut batch = Batch::new();
            match *grouping {
                Grouping::Lead(pid) => {
                    batch.step("setpgid", nr::SETPGID, [0.into(), 0.into()]);
                    self.at_pid(pid)?.run(&batch)?;
                }
                Grouping::Join(pid, group) => {
                    batch.step(
                        format!("joining process group {group}"),
                        nr::SETPGID,
                        [0.into(), group.into()],
                    );
                    self.at_pid(pid)?.run(&batch)?;
                }
                Grouping::LeadByChild(pid, group) => {
                    let mut child = self.clone_by(pid, group, Offspring::Child(0), SIGCHLD)?;
                    batch.step("setpgid", nr::SETPGID, [0.into(), 0.into()]);
                    child.run(&batch)?;
                    self.newborns.insert(group, child);
                }
            }
        }
        self.set_foregrounds()?;
        fault::point("restore-grouped")
    }

    /// Those that only stood in end, and are taken notice of; zombies become what they were.
    pub(super) fn end_the_dead(&mut self) -> Result<(), Error> {
        for pid in self.ties.passing_pids() {
            let parent = self.parent_of_passing(pid);
            let Some(newborn) = self.newborns.remove(&pid) else { continue };
            self.let_pass(newborn, parent)?;
        }
        for zombie in &self.plan.zombies {
            let Some(mut newborn) = self.newborns.remove(&zombie.pid) else { continue };
            let mut batch = Batch::new();
            zombie.restore(&mut batch);
            newborn.run(&batch)?;
            newborn.end(zombie.status)?;
        }
        fault::point("restore-dead-ended")
    }

    /// One that only was there for others ends, and its parent takes notice.
    pub(super) fn let_pass(&mut self, passing: Newborn, parent: i32) -> Result<(), Error> {
        let pid = passing.pid();
        passing.end(0)?;
        let mut batch = Batch::new();
        batch.step("reaping a stand-in", nr::WAIT4, [pid.into(), 0.into(), WALL.into(), 0.into()]);
        self.at_pid(parent)?.run(&batch)?;
        Ok(())
    }

    fn parent_of_passing(&self, pid: i32) -> i32 {
        let births = self.ties.births.iter().find(|birth| birth.stand_in && birth.pid == pid);
        let by_birth = births.and_then(|birth| match birth.maker {
            Maker::Parent(parent) => Some(parent),
            Maker::Restorer | Maker::Sibling(_) | Maker::Adopted { .. } => None,
        });
        let by_group = || {
            self.ties.groupings.iter().find_map(|grouping| match grouping {
                Grouping::LeadByChild(parent, child) if *child == pid => Some(*parent),
                _ => None,
            })
        };
        by_birth.or_else(by_group).unwrap_or(0)
    }

    /// The steps that take back the signals which the end of children has left behind: of each child one, unless it is
    /// of the kind that does not queue up.
    pub(super) fn forget_ends(signals: &[i32], batch: &mut Batch) {
        let no_time = batch.data(&[0; 16]);
        for signal in signals.iter().filter(|signal| (1..=64).contains(*signal)) {
            let mask = batch.data(&(1_u64 << (signal - 1)).to_le_bytes());
            let args = [mask.into(), 0.into(), no_time.into(), 8.into()];
            batch.step_may_fail("forgetting the end of a child", nr::RT_SIGTIMEDWAIT, args);
        }
    }

    /// All processes, in the order of the plan.
    pub(super) fn into_newborns(mut self) -> Result<Vec<Newborn>, Error> {
        let pids: Vec<i32> = (0..self.plan.processes.len()).map(|index| self.pid(index)).collect();
        let missing = |pid: i32| Error::Nonsense(format!("process {pid} is not born"));
        pids.into_iter().map(|pid| self.newborns.remove(&pid).ok_or_else(|| missing(pid))).collect()
    }
}

/// ioprio_set(2).
const IOPRIO_WHO_PROCESS: i32 = 1;

/// `__WALL`: children of any kind (wait4(2)).
const WALL: i32 = 0x4000_0000;
