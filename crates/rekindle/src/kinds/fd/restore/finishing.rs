//! What kinds complete descriptions with: numbers of this process, and what others hold.

use super::super::{Description, Descriptor};
use super::{Layout, Own, find};
use crate::kinds::task::Task;
use rekindle_sys::clone::Corpse;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::{Arg, Batch};

/// What kinds have at hand when they complete a description.
pub struct Finishing<'a> {
    /// All descriptions of the plan.
    pub descriptions: &'a [Description],
    /// The number of the description in this process.
    pub number: i32,
    /// That of its second descriptor, if it needs one.
    pub second: Option<i32>,
    pub(super) layout: &'a Layout<'a>,
    pub(super) process: usize,
    pub(super) own: &'a Own<'a>,
}

impl Finishing<'_> {
    /// A number in this process that leads to a description, if it has one.
    pub fn number_of(&self, id: u32) -> Option<i32> {
        self.own.by_description.get(&id).copied().or_else(|| {
            let place = self.layout.places.get(&id).filter(|place| place.process == self.process)?;
            Some(place.number)
        })
    }

    /// What a number of this process leads to.
    pub fn description_at(&self, fd: i32) -> Option<&Descriptor> {
        self.own.by_number.get(&fd).copied()
    }

    /// Brings a description to this very number of this process for the steps that `with` adds. What the number leads to
    /// is put aside meanwhile.
    pub fn with_at(&self, id: u32, number: i32, batch: &mut Batch, with: impl FnOnce(&mut Batch)) {
        let present = self.description_at(number);
        if present.is_some_and(|present| present.description == id) {
            return with(batch);
        }
        let [landing, aside] = self.layout.parking;
        let own = self.number_of(id);
        if own.is_none() {
            let Some(place) = self.layout.places.get(&id) else { return };
            // The numbers that are free now may be the one to be taken: nothing stays at them.
            self.layout.open_pidfd(place.process, batch);
            self.layout.fetch(place.process, place.number, batch);
            batch.step("close", nr::CLOSE, [aside.into()]);
        }
        let from = own.unwrap_or(landing);
        if present.is_some() {
            batch.step("putting a descriptor aside", nr::DUP3, [number.into(), aside.into(), 0.into()]);
        }
        batch.step("dup3", nr::DUP3, [from.into(), number.into(), 0.into()]);
        with(batch);
        match present {
            Some(present) => {
                let cloexec = if present.cloexec { o::CLOEXEC } else { 0 };
                batch.step("dup3", nr::DUP3, [aside.into(), number.into(), cloexec.into()]);
                batch.step("close", nr::CLOSE, [aside.into()]);
            }
            None => {
                batch.step("close", nr::CLOSE, [number.into()]);
            }
        }
        if own.is_none() {
            batch.step("close", nr::CLOSE, [landing.into()]);
        }
    }

    /// Brings a description to this process for the steps that `with` adds, which get a number for it.
    pub fn with(&self, id: u32, batch: &mut Batch, with: impl FnOnce(Arg, &mut Batch)) {
        if let Some(number) = self.number_of(id) {
            return with(number.into(), batch);
        }
        let Some(place) = self.layout.places.get(&id) else { return };
        let pid = self.layout.pid(place.process);
        let pidfd = batch.step(format!("pidfd_open of {pid}"), nr::PIDFD_OPEN, [pid.into(), 0.into()]);
        let label = format!("fetching fd {} of process {pid}", place.number);
        let fetched = batch.step(label, nr::PIDFD_GETFD, [pidfd.into(), place.number.into(), 0.into()]);
        with(fetched.into(), batch);
        batch.step("close", nr::CLOSE, [fetched.into()]);
        batch.step("close", nr::CLOSE, [pidfd.into()]);
    }

    /// The pid of a process that has ended, and will be waited for when the restore is done. 0 if there cannot be one.
    pub fn corpse(&self) -> i32 {
        let corpse = self.layout.corpse.get_or_init(|| Corpse::make().ok());
        corpse.as_ref().map_or(0, Corpse::pid)
    }

    /// A description of the plan.
    pub fn description(&self, id: u32) -> Option<&Description> {
        find(self.descriptions, id)
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.layout.pid(self.process)
    }

    /// Whether there is a process with this pid in the plan.
    pub fn has_process(&self, pid: i32) -> bool {
        self.layout.processes.iter().any(|process| process.process.identity.pid == pid)
    }

    /// The tasks of the process that holds a description.
    pub fn tasks_of_holder(&self, id: u32) -> &[Task] {
        let holder = self.layout.places.get(&id).and_then(|place| self.layout.processes.get(place.process));
        holder.map_or(&[], |process| &process.tasks)
    }

    /// Holder and number of the second descriptor of a description that needs one.
    pub fn second_of(&self, id: u32) -> Option<(i32, i32)> {
        let (place, number) = (self.layout.places.get(&id)?, self.layout.seconds.get(&id)?);
        Some((self.layout.pid(place.process), *number))
    }

    /// Numbers in this process that lead to descriptions, good until the next time.
    pub fn gather(&self, ids: &[u32], batch: &mut Batch) -> Vec<i32> {
        let mut landing = self.layout.landing.iter();
        let mut number = |id: &u32| {
            self.number_of(*id).unwrap_or_else(|| {
                let number = landing.next().copied().unwrap_or(-1);
                self.with(*id, batch, |from, batch| {
                    batch.step("dup3", nr::DUP3, [from, number.into(), 0.into()]);
                });
                number
            })
        };
        ids.iter().map(&mut number).collect()
    }

    /// Two numbers that are free in this process.
    pub fn spare(&self) -> [i32; 2] {
        self.layout.parking
    }
}
