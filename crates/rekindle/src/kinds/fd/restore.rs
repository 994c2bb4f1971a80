//! From descriptions to the descriptors of a tree of processes.
//!
//! ```text
//! in the root, at birth        the restorer's standard streams are set aside, everything else is closed;
//!                              children are born with that
//! in each process, in order    what it holds is opened, what others hold is fetched from them
//! in each process, in order    what refers to other descriptions is completed
//! in each process              what was set aside is closed
//! ```
//!
//! Numbers for what is set aside are such as no process of the tree uses, and lie above the lowest free number at any time,
//! which is what `open` gives.

mod finishing;

pub use finishing::Finishing;

use super::terminal::supply::{Key, Supply};
use super::{Description, Descriptor, Files, Opened, locks, owner};
use crate::error::Error;
use crate::record::ProcessPlan;
use rekindle_sys::clone::Corpse;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch, StepId};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where a description is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The process that holds it, by its place in the plan.
    process: usize,
    /// The number that it has there.
    number: i32,
    /// Whether the number is only for the time of the restore.
    passing: bool,
}

/// Which process opens which description, and which numbers are used meanwhile.
pub struct Layout<'a> {
    descriptions: &'a [Description],
    processes: &'a [ProcessPlan],
    by_id: HashMap<u32, &'a Description>,
    /// Those that come into being together, in order.
    groups: HashMap<(&'a str, u64), Vec<&'a Description>>,
    places: HashMap<u32, Place>,
    /// The restorer's standard streams.
    kept: [i32; 3],
    /// What else the restorer has opened for the program: its number there, and the one that all are born with.
    handed: BTreeMap<Key, (i32, i32)>,
    /// Where descriptions wait to be given their own numbers.
    parking: [i32; 2],
    /// Second descriptors of descriptions that need one, in their holders.
    seconds: HashMap<u32, i32>,
    /// Where descriptors of other processes are gathered that are to travel together.
    landing: Vec<i32>,
    /// Files that no path leads to, by the ids of their objects: their numbers in the restorer, and in every process.
    objects: BTreeMap<u32, (i32, i32)>,
    /// What stands for processes that have ended.
    corpse: OnceCell<Option<Corpse>>,
}

/// Passes through the descriptions of all processes, each through every process before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Names are taken: nothing that is only there for the time of the restore has one of them any more.
    Bind,
    /// What refers to others is completed: they are all there, and can be found.
    Finish,
    /// What would have kept others from being completed.
    Settle,
    /// Locks are taken: whatever is done to descriptions is done.
    Lock,
    /// All descriptors are in place, and so are threads and rights.
    Last,
}

impl Stage {
    /// All of them but the last, in order.
    pub const ALL: [Self; 4] = [Self::Bind, Self::Finish, Self::Settle, Self::Lock];
}

/// What kinds have at hand when they open a description.
pub struct Opening<'a> {
    /// The files of the plan.
    pub files: &'a Files<'a>,
    /// All descriptions of the plan.
    pub descriptions: &'a [Description],
    /// The process that opens it.
    pub process: &'a ProcessPlan,
    layout: &'a Layout<'a>,
    made: &'a HashMap<u32, i32>,
}

/// The descriptors of a process, to be found in.
struct Own<'a> {
    by_number: HashMap<i32, &'a Descriptor>,
    by_description: HashMap<u32, i32>,
}

/// Descriptors beside those of the program that a process may have open at a time.
const MARGIN: usize = 16;

/// For each group of descriptions that come into being together: the process that opens them.
fn first_of_groups(
    descriptions: &[Description],
    first_user: impl Fn(u32) -> Option<usize>,
    maker: impl Fn(&Description) -> Option<usize>,
) -> HashMap<(&str, u64), usize> {
    let mut of_group: HashMap<(&str, u64), usize> = HashMap::new();
    for description in descriptions {
        if let (Some(group), Some(user)) = (description.group(), first_user(description.id)) {
            let first = of_group.entry(group).or_insert(user);
            *first = user.min(*first);
        }
    }
    for description in descriptions {
        // Made by one that has none of them itself, but comes before all that have.
        let first = description.group().and_then(|group| of_group.get_mut(&group));
        if let (Some(first), Some(maker)) = (first, maker(description)) {
            *first = maker.min(*first);
        }
    }
    of_group
}

impl<'a> Layout<'a> {
    /// That of a plan that has been checked. `sources` are the files that no path leads to: ids of objects, and numbers in
    /// the restorer.
    pub fn of(descriptions: &'a [Description], processes: &'a [ProcessPlan], sources: &[(u32, i32)]) -> Self {
        let mut users: HashMap<u32, Vec<(usize, i32)>> = HashMap::new();
        for (index, process) in processes.iter().enumerate() {
            for descriptor in &process.descriptors {
                users.entry(descriptor.description).or_default().push((index, descriptor.fd));
            }
        }
        let first_user = |id: u32| users.get(&id).and_then(|list| list.first()).map(|(process, _)| *process);
        let index_of: HashMap<i32, usize> =
            processes.iter().map(|p| p.process.identity.pid).zip(0..).collect();
        let maker = |description: &Description| index_of.get(&description.maker()?).copied();
        let of_group = first_of_groups(descriptions, first_user, maker);
        let used: BTreeSet<i32> = processes
            .iter()
            .flat_map(|process| &process.descriptors)
            .map(|descriptor| descriptor.fd)
            .chain(descriptions.iter().flat_map(Description::numbers))
            .collect();
        let most = processes.iter().map(|process| process.descriptors.len()).max().unwrap_or(0);
        let homeless =
            descriptions.len() - descriptions.iter().filter(|d| first_user(d.id).is_some()).count();
        // No number may be one of the restorer's that is still needed.
        let last_source = sources.iter().map(|(_, number)| *number + 1).max().unwrap_or(0);
        let from = last_source.max((most + homeless + MARGIN) as i32);
        let mut free = (from..).filter(|number| !used.contains(number));
        let mut next = || free.next().unwrap_or(i32::MAX);
        let (kept, parking) = ([(); 3].map(|()| next()), [(); 2].map(|()| next()));
        let objects = sources.iter().map(|(id, source)| (*id, (*source, next()))).collect();
        let mut places = HashMap::new();
        for description in descriptions {
            let group = description.group().and_then(|group| of_group.get(&group).copied());
            // One that nobody has a descriptor for is on its way through a socket: the root opens it.
            let user = group.or_else(|| first_user(description.id)).unwrap_or(0);
            let process = maker(description).filter(|maker| *maker < user).unwrap_or(user);
            let own =
                users.get(&description.id).and_then(|list| list.iter().find(|(user, _)| *user == process));
            let place = match own {
                Some((_, number)) => Place { process, number: *number, passing: false },
                None => Place { process, number: next(), passing: true },
            };
            places.insert(description.id, place);
        }
        let needy = descriptions.iter().filter(|description| description.needs_second());
        let seconds = needy.map(|description| (description.id, next())).collect();
        let travellers = descriptions.iter().map(Description::travellers).max().unwrap_or(0);
        let landing = (0..if processes.len() > 1 { travellers } else { 0 }).map(|_| next()).collect();
        let by_id = descriptions.iter().map(|description| (description.id, description)).collect();
        let mut groups: HashMap<(&str, u64), Vec<&Description>> = HashMap::new();
        for (group, description) in descriptions.iter().filter_map(|d| Some((d.group()?, d))) {
            groups.entry(group).or_default().push(description);
        }
        Self {
            descriptions,
            processes,
            by_id,
            groups,
            places,
            kept,
            handed: BTreeMap::new(),
            parking,
            seconds,
            landing,
            objects,
            corpse: OnceCell::new(),
        }
    }

    /// With what the restorer has opened, which stays open until the root is born.
    pub fn with(mut self, supply: &mut Supply) -> Result<Self, Error> {
        let objects = self.objects.values().flat_map(|(source, number)| [*source, *number]);
        let others = self.landing.iter().chain(self.seconds.values()).chain(&self.kept).chain(&self.parking);
        let others = others.copied().chain(objects);
        let highest = self.places.values().map(|place| place.number).chain(others).max();
        let used = self.processes.iter().flat_map(|process| &process.descriptors);
        let used: BTreeSet<i32> = used.map(|descriptor| descriptor.fd).collect();
        let from = highest.unwrap_or(0).saturating_add(1);
        let mut free = (from..).filter(|number| !used.contains(number));
        let numbers: Vec<(Key, i32)> = supply.keys().filter_map(|key| Some((key, free.next()?))).collect();
        // Out of the way of all numbers that they are copied to.
        let ours = supply.lift(free.next().unwrap_or(from))?;
        self.handed =
            numbers.into_iter().filter_map(|(key, number)| Some((key, (*ours.get(&key)?, number)))).collect();
        Ok(self)
    }

    /// The number at which every process finds what the restorer has opened.
    pub fn handed(&self, key: Key) -> Option<i32> {
        self.handed.get(&key).map(|(_, number)| *number)
    }

    /// The steps, in the root, that put the restorer's standard streams aside and close everything else that it was
    /// born with.
    pub fn clear(&self, batch: &mut Batch) {
        for (stream, number) in (0..).zip(self.kept) {
            // The restorer may have been started without one of them.
            let args = [stream.into(), number.into(), 0.into()];
            batch.step_may_fail("setting a standard stream aside", nr::DUP3, args);
        }
        for (source, number) in self.objects.values() {
            let args = [(*source).into(), (*number).into(), 0.into()];
            batch.step("setting a file aside", nr::DUP3, args);
        }
        for (ours, number) in self.handed.values() {
            batch.step("setting a terminal aside", nr::DUP3, [(*ours).into(), (*number).into(), 0.into()]);
        }
        let mut from = 0;
        let others = self.objects.values().chain(self.handed.values()).map(|(_, number)| *number);
        let set_aside: BTreeSet<i32> = self.kept.into_iter().chain(others).collect();
        for number in set_aside {
            if from < number {
                batch.step("close_range", nr::CLOSE_RANGE, [from.into(), (number - 1).into(), 0.into()]);
            }
            from = number + 1;
        }
        batch.step("close_range", nr::CLOSE_RANGE, [from.into(), u32::MAX.into(), 0.into()]);
    }

    /// The steps, in a process, that make its descriptors. Those before it have theirs. `made` are descriptions that the
    /// restorer has made itself, and their numbers there.
    pub fn open(&self, process: usize, files: &Files<'_>, made: &HashMap<u32, i32>, batch: &mut Batch) {
        if self.processes[process].process.identity.shares(libc::CLONE_FILES) {
            return; // they are those of the process that cloned it
        }
        let mut making = Making { layout: self, wanted: BTreeMap::new(), made: BTreeSet::new(), process };
        for descriptor in &self.processes[process].descriptors {
            making.wanted.entry(descriptor.description).or_default().push(*descriptor);
        }
        let plan = &self.processes[process];
        let cx = Opening { files, descriptions: self.descriptions, process: plan, layout: self, made };
        let is_made_here = |d: &&Description| {
            self.is_held_by(d.id, process) || d.kind().is_some_and(|kind| kind.is_at_hand(d))
        };
        let later = |d: &&Description| d.kind().is_some_and(|kind| kind.comes_later(d, &cx));
        let (later, first): (Vec<&Description>, Vec<&Description>) =
            self.descriptions.iter().filter(is_made_here).partition(later);
        for description in first.into_iter().chain(later) {
            making.open(description, &cx, batch);
        }
        making.fetch_others(batch);
        for number in self.parking {
            batch.step_may_fail("closing what was parked", nr::CLOSE, [number.into()]);
        }
    }

    /// The steps, in a process, that complete the descriptions it holds. Every process has its descriptors, and has been
    /// through the stages before.
    pub fn finish(&self, process: usize, stage: Stage, batch: &mut Batch) {
        let own = Own::of(&self.processes[process].descriptors);
        for description in self.descriptions.iter().filter(|d| self.is_held_by(d.id, process)) {
            let (Some(kind), Some(place)) = (description.kind(), self.places.get(&description.id)) else {
                continue;
            };
            let second = self.seconds.get(&description.id).copied();
            let (descriptions, number) = (self.descriptions, place.number);
            let cx = Finishing { descriptions, number, second, layout: self, process, own: &own };
            match stage {
                Stage::Bind => kind.bind(description, &cx, batch),
                Stage::Finish => kind.finish(description, &cx, batch),
                Stage::Settle => kind.settle(description, &cx, batch),
                Stage::Lock => {
                    locks::restore(description, &cx, batch);
                    if place.passing {
                        owner::restore(description, &cx, batch); // it is not at hand any more at the end
                    }
                }
                Stage::Last if !place.passing => {
                    kind.last(description, &cx, batch);
                    owner::restore(description, &cx, batch);
                }
                Stage::Last => {}
            }
        }
    }

    /// The steps, in a process, that close what was only set aside.
    pub fn close(&self, process: usize, batch: &mut Batch) {
        let passing = self.places.values().filter(|place| place.process == process && place.passing);
        let held = self.seconds.iter().filter(|(id, _)| self.is_held_by(**id, process));
        let passing = passing.map(|place| place.number).chain(held.map(|(_, number)| *number));
        let others = self.objects.values().chain(self.handed.values()).map(|(_, number)| *number);
        let landing = self.landing.iter().copied().chain(others);
        for number in self.kept.into_iter().chain(self.parking).chain(landing).chain(passing) {
            batch.step_may_fail("closing what was set aside", nr::CLOSE, [number.into()]);
        }
    }

    /// The steps, in a process, that take its own locks. It closes nothing any more.
    pub fn lock(&self, process: usize, batch: &mut Batch) {
        let mut done = BTreeSet::new();
        for descriptor in &self.processes[process].descriptors {
            let description = self.by_id.get(&descriptor.description);
            if let Some(description) = description.filter(|d| !d.locks.is_empty() && done.insert(d.id)) {
                locks::restore_of_process(description, self.pid(process), descriptor.fd, batch);
            }
        }
    }

    /// The number, in every process, of a file that no path leads to.
    pub fn object(&self, id: u32) -> Option<i32> {
        self.objects.get(&id).map(|(_, number)| *number)
    }

    /// A path by which a process opens such a file.
    pub fn path_of_object(&self, id: u32) -> Vec<u8> {
        format!("/proc/self/fd/{}", self.object(id).unwrap_or(-1)).into_bytes()
    }

    /// The steps, in a process, after which it can no longer write to such a file.
    pub fn make_read_only(&self, id: u32, batch: &mut Batch) {
        let Some(number) = self.object(id) else { return };
        let path = batch.c_string(&self.path_of_object(id));
        let args = [libc::AT_FDCWD.into(), path.into(), o::CLOEXEC.into(), 0.into()];
        let opened = batch.step("opening an executable again", nr::OPENAT, args);
        batch.step("dup3", nr::DUP3, [opened.into(), number.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [opened.into()]);
    }

    /// A number that is free in every process until descriptors are made, and after.
    pub fn spare(&self) -> i32 {
        self.parking[0]
    }

    fn is_held_by(&self, id: u32, process: usize) -> bool {
        self.places.get(&id).is_some_and(|place| place.process == process)
    }

    /// The process that holds a description, by its place in the plan, and its number there.
    pub fn holder_of(&self, id: u32) -> Option<(usize, i32)> {
        self.places.get(&id).filter(|place| !place.passing).map(|place| (place.process, place.number))
    }

    fn pid(&self, process: usize) -> i32 {
        self.processes[process].process.identity.pid
    }

    /// Parks a pidfd of a process, in the second place.
    fn open_pidfd(&self, process: usize, batch: &mut Batch) {
        let pid = self.pid(process);
        let pidfd = batch.step(format!("pidfd_open of {pid}"), nr::PIDFD_OPEN, [pid.into(), 0.into()]);
        batch.step("dup3", nr::DUP3, [pidfd.into(), self.parking[1].into(), 0.into()]);
        batch.step("close", nr::CLOSE, [pidfd.into()]);
    }

    /// Parks a descriptor of the process whose pidfd is parked, in the first place.
    fn fetch(&self, process: usize, number: i32, batch: &mut Batch) {
        let [landing, pidfd] = self.parking;
        let label = format!("fetching fd {number} of process {}", self.pid(process));
        let fetched = batch.step(label, nr::PIDFD_GETFD, [pidfd.into(), number.into(), 0.into()]);
        batch.step("dup3", nr::DUP3, [fetched.into(), landing.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [fetched.into()]);
    }

    /// Moves what was just opened out of the way: the numbers that were free may be among those yet to be given.
    fn park<const N: usize>(&self, opened: [Arg; N], batch: &mut Batch) {
        for (from, to) in opened.into_iter().zip(self.parking) {
            batch.step("dup3", nr::DUP3, [from, to.into(), 0.into()]);
        }
        for from in opened {
            batch.step("close", nr::CLOSE, [from]);
        }
    }
}

impl<'a> Own<'a> {
    fn of(descriptors: &'a [Descriptor]) -> Self {
        Self {
            by_number: descriptors.iter().map(|descriptor| (descriptor.fd, descriptor)).collect(),
            // The first of several.
            by_description: descriptors.iter().rev().map(|found| (found.description, found.fd)).collect(),
        }
    }
}

/// The descriptors of one process in the making.
struct Making<'a> {
    layout: &'a Layout<'a>,
    /// Those that are not made yet, by description.
    wanted: BTreeMap<u32, Vec<Descriptor>>,
    /// Descriptions that have been opened along with others.
    made: BTreeSet<u32>,
    process: usize,
}

impl Making<'_> {
    fn open(&mut self, description: &Description, cx: &Opening<'_>, batch: &mut Batch) {
        let Some(kind) = description.kind().filter(|_| !self.made.contains(&description.id)) else { return };
        match kind.open(description, cx, batch) {
            Opened::Number(number) => self.give(description.id, number, batch),
            Opened::ByDescriptor(numbers) => self.give_each(description.id, numbers, batch),
            Opened::Step(step) => {
                self.layout.park([step.into()], batch);
                self.give(description.id, self.layout.parking[0], batch);
            }
            Opened::Pair(ends, ids) => {
                self.give_two([Arg::Loaded(ends, 0), Arg::Loaded(ends, 4)], ids, batch);
            }
            Opened::Two(steps, ids) => self.give_two(steps.map(Arg::from), ids, batch),
        }
    }

    fn give_two(&mut self, opened: [Arg; 2], ids: [u32; 2], batch: &mut Batch) {
        self.layout.park(opened, batch);
        for (id, parked) in ids.into_iter().zip(self.layout.parking) {
            self.give(id, parked, batch);
            self.made.insert(id);
        }
        if ids[1] == 0
            && let Some(number) = self.layout.seconds.get(&ids[0])
        {
            let parked = self.layout.parking[1];
            batch.step("setting an end aside", nr::DUP3, [parked.into(), (*number).into(), 0.into()]);
        }
    }

    /// Gives a description its numbers.
    fn give(&mut self, id: u32, from: i32, batch: &mut Batch) {
        for descriptor in self.wanted.remove(&id).unwrap_or_default() {
            let cloexec = if descriptor.cloexec { o::CLOEXEC } else { 0 };
            let label = format!("fd {}", descriptor.fd);
            batch.step(label, nr::DUP3, [from.into(), descriptor.fd.into(), cloexec.into()]);
        }
        if let Some(place) = self.layout.places.get(&id)
            && place.passing
            && place.process == self.process
        {
            batch.step("setting a descriptor aside", nr::DUP3, [from.into(), place.number.into(), 0.into()]);
        }
    }

    /// As [`Self::give`], from a number for each standard stream, and one for all other descriptors.
    fn give_each(&mut self, id: u32, numbers: [i32; 4], batch: &mut Batch) {
        let wanted = self.wanted.remove(&id).unwrap_or_default();
        for descriptor in &wanted {
            let stream = usize::try_from(descriptor.fd).unwrap_or(3).min(3);
            self.wanted.insert(id, vec![*descriptor]);
            self.give(id, numbers[stream], batch);
        }
    }

    /// Fetches what other processes hold, one holder after the other.
    fn fetch_others(&mut self, batch: &mut Batch) {
        let mut by_holder: BTreeMap<usize, Vec<(u32, i32)>> = BTreeMap::new();
        for id in self.wanted.keys() {
            if let Some(place) = self.layout.places.get(id) {
                by_holder.entry(place.process).or_default().push((*id, place.number));
            }
        }
        for (holder, descriptions) in by_holder {
            self.layout.open_pidfd(holder, batch);
            for (id, number) in descriptions {
                self.layout.fetch(holder, number, batch);
                self.give(id, self.layout.parking[0], batch);
            }
        }
    }
}

impl Opening<'_> {
    /// Those that come into being together with a description, itself among them.
    pub fn family<'s>(&'s self, record: &'s Description) -> &'s [&'s Description] {
        record.group().and_then(|group| self.layout.groups.get(&group)).map_or(&[], Vec::as_slice)
    }

    /// The number under which a standard stream of the restorer is at hand.
    pub fn stream(&self, stream: u32) -> i32 {
        self.layout.kept.get(stream as usize).copied().unwrap_or(-1)
    }

    /// The number that a description has in its holder.
    pub fn number_of(&self, id: u32) -> i32 {
        self.layout.places.get(&id).map_or(-1, |place| place.number)
    }

    /// The number at which something is that the restorer has opened.
    pub fn handed(&self, key: Key) -> Option<i32> {
        self.layout.handed(key)
    }

    /// Two numbers that are free.
    pub fn spare(&self) -> [i32; 2] {
        self.layout.parking
    }

    /// The number of a file that no path leads to.
    pub fn object(&self, id: u32) -> Option<i32> {
        self.layout.object(id)
    }

    /// A path by which such a file is opened.
    pub fn path_of_object(&self, id: u32) -> Vec<u8> {
        self.layout.path_of_object(id)
    }

    /// The pid of a process that has ended, and will be waited for when the restore is done. 0 if there cannot be one.
    pub fn corpse(&self) -> i32 {
        let corpse = self.layout.corpse.get_or_init(|| Corpse::make().ok());
        corpse.as_ref().map_or(0, Corpse::pid)
    }

    /// Fetches a description that the restorer has made itself.
    pub fn made(&self, id: u32, batch: &mut Batch) -> Option<StepId> {
        let (number, restorer) = (*self.made.get(&id)?, std::process::id());
        let pidfd = batch.step("pidfd_open of the restorer", nr::PIDFD_OPEN, [restorer.into(), 0.into()]);
        let label = format!("fetching fd {number} of the restorer");
        let fetched = batch.step(label, nr::PIDFD_GETFD, [pidfd.into(), number.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [pidfd.into()]);
        Some(fetched)
    }

    /// A description of the plan.
    pub fn description(&self, id: u32) -> Option<&Description> {
        find(self.descriptions, id)
    }
}

/// A description by its id. Mostly they are in order, from 1 on.
fn find(descriptions: &[Description], id: u32) -> Option<&Description> {
    let guess = (id as usize).checked_sub(1).and_then(|index| descriptions.get(index));
    let is_it = |description: &&Description| description.id == id;
    guess.filter(is_it).or_else(|| descriptions.iter().find(is_it)).filter(|_| id != 0)
}
