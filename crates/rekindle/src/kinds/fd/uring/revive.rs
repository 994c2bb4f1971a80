//! Rings brought to where they were, once their processes have their threads and their rights.
//!
//! ```text
//! counted up ── mapped in each process ── files, buffers, eventfd ── what was in flight ── contents
//! ```
//!
//! The kernel's counters go up by one for each operation submitted, and for each that tells: so many operations that do
//! nothing are submitted, the first ones silent, as some were not told of. They cost some 130 ns each; the
//! counters are 32 bits wide. Where only the process itself may submit, it does; else we do it.

use super::Record;
use super::hole::{self, Part};
use super::memory::{Memory, Word};
use crate::error::Error;
use crate::fault;
use crate::kinds::fd::restore::Layout;
use crate::kinds::mem::advice;
use crate::kinds::mem::mapping::Backing;
use crate::record::{Plan, ProcessPlan};
use rekindle_sys::uring::{self, CQE_LEN, SQE_LEN, register};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Batch, Newborn};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::time::{Duration, Instant};

/// Brings all rings of a plan back.
pub fn revive(newborns: &mut [Newborn], plan: &Plan, layout: &Layout<'_>) -> Result<(), Error> {
    for description in &plan.descriptions {
        let (Some(record), Some((holder, number))) = (&description.uring, layout.holder_of(description.id))
        else {
            continue;
        };
        let Some(newborn) = newborns.get_mut(holder) else { continue };
        let call = |errno| Error::call("reaching a new io_uring", errno);
        let ring = fetch(newborn.pid(), number).map_err(call)?;
        let memory = Memory::map(&ring, record.sq_entries, record.cq_entries).map_err(call)?;
        Revival { record, memory, ring, number, newborn: &mut *newborn }.count_up()?;
        for (newborn, process) in newborns.iter_mut().zip(&plan.processes) {
            map(newborn, process, description.id, record)?;
        }
        let ring = fetch(newborns[holder].pid(), number).map_err(call)?;
        let memory = Memory::map(&ring, record.sq_entries, record.cq_entries).map_err(call)?;
        let mut revival = Revival { record, memory, ring, number, newborn: &mut newborns[holder] };
        revival.register(&plan.processes[holder])?;
        revival.begin_again()?;
        revival.fill();
    }
    fault::point("restore-rings")
}

fn fetch(pid: i32, number: i32) -> Result<OwnedFd, Errno> {
    let pidfd = pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
}

/// Maps a ring wherever a process has it mapped.
fn map(newborn: &mut Newborn, process: &ProcessPlan, id: u32, record: &Record) -> Result<(), Error> {
    let own = process.descriptors.iter().find(|descriptor| descriptor.description == id);
    let Some(own) = own else { return Ok(()) };
    let is_of_it =
        |m: &&crate::kinds::mem::mapping::Record| m.backing() == Backing::Ring && m.ring == record.inode;
    for mapping in process.mappings.iter().filter(is_of_it) {
        let part =
            Part { start: mapping.start, end: mapping.end, prot: mapping.prot, offset: mapping.offset };
        hole::map(newborn, own.fd, &part)?;
        let mut batch = Batch::new();
        let (flags, len) = (mapping.vm_flags(), mapping.length());
        if flags.has(*b"dd") {
            let args = [mapping.start.into(), len.into(), advice::DONTDUMP.into()];
            batch.step("MADV_DONTDUMP", nr::MADVISE, args);
        }
        advice::after_contents(&flags, mapping.prot, mapping.start, len, &mut batch);
        newborn.run(&batch)?;
    }
    Ok(())
}

/// A ring on its way.
struct Revival<'a> {
    record: &'a Record,
    memory: Memory,
    ring: OwnedFd,
    /// Its number in the process that holds it.
    number: i32,
    newborn: &'a mut Newborn,
}

/// How long the kernel's thread gets to do what is submitted.
const PATIENCE: Duration = Duration::from_secs(10);
/// Steps of a batch that submits.
const STEPS: u64 = 512;
const CQE_SKIP_SUCCESS: u8 = 1 << 6;

impl Revival<'_> {
    /// Counts up to where the first of those in flight is to be submitted.
    fn count_up(mut self) -> Result<(), Error> {
        let Record { submitted, completed, .. } = *self.record;
        let target = submitted.wrapping_sub(self.record.in_flight.len() as u32);
        let silent = u64::from(target.wrapping_sub(completed));
        // A count of those that told may have come around when that of all had not.
        let all = u64::from(target) + if silent > u64::from(target) { 1 << 32 } else { 0 };
        self.memory.set_array(&(0..self.record.sq_entries).collect::<Vec<_>>());
        self.submit(silent, CQE_SKIP_SUCCESS)?;
        self.submit(all - silent, 0)?;
        let got = (self.memory.get(Word::SqHead), self.memory.get(Word::CqTail));
        if got == (target, completed) {
            Ok(())
        } else {
            Err(Error::call("counting up an io_uring", Errno::IO))
        }
    }

    /// Submits `count` operations that do nothing.
    fn submit(&mut self, mut count: u64, flags: u8) -> Result<(), Error> {
        let mut nop = [0; SQE_LEN];
        nop[1] = flags;
        self.memory.set_sqes(&nop.repeat(self.record.sq_entries as usize));
        let at_a_time = u64::from(self.record.sq_entries);
        // What is told must be taken: by us, between batches.
        let batches = if flags == 0 { u64::from(self.record.cq_entries) / at_a_time } else { STEPS };
        let alone = self.record.submits_alone() && !self.record.is_polled();
        while count > 0 {
            let now = count.min(if alone { at_a_time * batches } else { at_a_time });
            let tail = self.memory.get(Word::SqTail).wrapping_add(now as u32);
            self.memory.set(Word::SqTail, tail);
            if alone {
                self.submit_inside(now)?;
            } else {
                self.submit_outside(now as u32, tail)?;
            }
            self.memory.set(Word::CqHead, self.memory.get(Word::CqTail));
            count -= now;
        }
        Ok(())
    }

    fn submit_inside(&mut self, count: u64) -> Result<(), Error> {
        let at_a_time = u64::from(self.record.sq_entries);
        let mut batch = Batch::new();
        for _ in 0..count.div_ceil(at_a_time) {
            let args = [self.number.into(), at_a_time.into()];
            batch.step("counting up an io_uring", nr::IO_URING_ENTER, args);
        }
        self.newborn.run(&batch)?;
        Ok(())
    }

    fn submit_outside(&mut self, count: u32, tail: u32) -> Result<(), Error> {
        let failed = |errno| Error::call("counting up an io_uring", errno);
        let begin = Instant::now();
        loop {
            let flags = if self.record.is_polled() { uring::ENTER_SQ_WAKEUP } else { 0 };
            uring::enter(&self.ring, count, flags).map_err(failed)?;
            if self.memory.get(Word::SqHead) == tail {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(failed(Errno::TIMEDOUT));
            }
            std::thread::yield_now(); // the kernel's thread is at it
        }
    }

    /// Files, buffers and the eventfd. Before anything is in flight that uses them; after the completions of nothing, which an
    /// eventfd would tell.
    fn register(&mut self, process: &ProcessPlan) -> Result<(), Error> {
        let mut batch = Batch::new();
        let number_of = |id: u32| {
            let own = process.descriptors.iter().find(|descriptor| descriptor.description == id);
            own.map_or(-1, |descriptor| descriptor.fd)
        };
        let register = |batch: &mut Batch, label, what: u32, bytes: &[u8], len: usize| {
            let data = batch.data(bytes);
            let args = [self.number.into(), what.into(), data.into(), len.into()];
            batch.step(label, nr::IO_URING_REGISTER, args);
        };
        if self.record.files_len > 0 {
            let mut files = vec![-1_i32; self.record.files_len as usize];
            for file in &self.record.files {
                files[file.index as usize] = number_of(file.description);
            }
            let bytes: Vec<u8> = files.iter().flat_map(|file| file.to_le_bytes()).collect();
            register(&mut batch, "registering files", register::FILES, &bytes, files.len());
        }
        if !self.record.buffers.is_empty() {
            let bytes: Vec<u8> = self.record.buffers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let len = self.record.buffers.len() / 2;
            register(&mut batch, "registering buffers", register::BUFFERS, &bytes, len);
        }
        if self.record.eventfd != 0 {
            let eventfd = number_of(self.record.eventfd).to_le_bytes();
            register(&mut batch, "registering an eventfd", register::EVENTFD, &eventfd, 1);
        }
        self.newborn.run(&batch)?;
        Ok(())
    }

    /// Submits what was in flight, by the first thread of the process, in places that get their contents afterwards.
    fn begin_again(&mut self) -> Result<(), Error> {
        let operations = &self.record.in_flight;
        if operations.is_empty() {
            return Ok(());
        }
        let (mask, head) = (self.record.sq_entries - 1, self.memory.get(Word::SqHead));
        let mut sqes = vec![0; self.record.sq_entries as usize * SQE_LEN];
        for (operation, place) in operations.iter().zip(0..) {
            let at = (head.wrapping_add(place) & mask) as usize * SQE_LEN;
            sqes[at..at + SQE_LEN].copy_from_slice(operation);
        }
        self.memory.set_sqes(&sqes);
        let count = operations.len() as u32;
        let tail = head.wrapping_add(count);
        self.memory.set(Word::SqTail, tail);
        if self.record.is_polled() {
            return self.submit_outside(count, tail);
        }
        let mut batch = Batch::new();
        let args = [self.number.into(), count.into()];
        batch.step("beginning operations again", nr::IO_URING_ENTER, args);
        self.newborn.run(&batch)?;
        Ok(())
    }

    /// What the queues held, and what the program has written there. Completions of what has just been begun again, if
    /// there are any already, lie behind those of before.
    fn fill(self) {
        let Record { completed, cq_entries, .. } = *self.record;
        self.memory.set_sqes(&self.record.whole_sqes());
        self.memory.set_array(&self.record.array);
        let fresh = self.memory.get(Word::CqTail).wrapping_sub(completed);
        let cqes = self.record.whole_cqes();
        for place in 0..cq_entries.saturating_sub(fresh) {
            let position = completed.wrapping_sub(1).wrapping_sub(place);
            let at = (position & (cq_entries - 1)) as usize * CQE_LEN;
            self.memory.set_cqe(position, &cqes[at..at + CQE_LEN]);
        }
        self.memory.set(Word::CqHead, self.record.cq_head);
        self.memory.set(Word::Dropped, self.record.dropped);
        self.memory.set(Word::Lost, self.record.lost);
        self.memory.set(Word::CqFlags, self.record.cq_flags);
        // Last: the kernel's thread takes what is submitted at once.
        self.memory.set(Word::SqTail, self.record.sq_tail);
    }
}
