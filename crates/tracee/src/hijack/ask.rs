//! Asking threads what only they can tell: each runs the same table once, and parks.
//!
//! As many at a time as the scratch pages have slots for (a *wave*), as what it costs is mostly waiting for a thread to
//! be put onto a processor:
//!
//! ```text
//! scratch:  host's frame | frame, table | frame, table | ...            written for a wave at once
//!
//! each thread of a wave:  found ── changed ── running: answers, parks ── interrupted ── changed ── given back
//!                                             all are started, then all awaited,        read at once
//!                                             then all interrupted
//! ```
//!
//! Whatever fails in between, every thread of the wave is stopped and itself again before the error is told: the stub
//! and the frames are wiped afterwards. If we die, the kernel marks the word that they park on, and each leads itself
//! back.

use super::Hijack;
use crate::batch::{Answers, Batch};
use crate::boot::ALL_SIGNALS;
use crate::borrowed::Borrowed;
use crate::control;
use crate::error::{TraceeError, call};
use crate::server::{Part, YIELDS};
use crate::steps::await_stop;
use crate::{Result, StoppedTask};
use rekindle_sys::arch::{Regs, StubEntry};
use rekindle_sys::{Errno, futex, nr, ptrace, wait};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A thread that is being asked.
struct Asked {
    borrowed: Borrowed,
    table: u64,
    part: Part,
    state: State,
}

/// How far a thread is from what it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it was found.
    Itself,
    /// Stopped, with registers or mask of ours.
    Changed,
    /// On its way through the table, or parked.
    Running,
    /// The same, and told to stop.
    Interrupted,
}

impl Hijack<'_> {
    /// Executes the same batch (one that only asks) in every other thread, each for itself, as many at a time as there
    /// is room for. Answers come in the order of `tasks`.
    pub fn ask(&mut self, tasks: &[StoppedTask], question: &Batch) -> Result<Vec<Answers>> {
        let mut all = Vec::with_capacity(tasks.len());
        let with_parking = self.with_parking(question);
        let table_len = lay_out(&with_parking, 0).bytes.len();
        let slot_len = (self.frame_room + table_len).next_multiple_of(64);
        let wave = (self.scratch.len() - self.frame_room) / slot_len;
        if wave == 0 && !tasks.is_empty() {
            let why = "its initial stack has no unused pages";
            return Err(TraceeError::NoRoom { pid: self.frozen.pid(), what: "a second signal frame", why });
        }
        for some in tasks.chunks(wave.max(1)) {
            let mut wave = self.prepare(some, &with_parking, slot_len)?;
            let answered =
                self.run_wave(&mut wave).and_then(|()| self.collect(&wave, question, &with_parking));
            let given_back = self.give_back(&mut wave);
            all.extend(answered?);
            given_back?;
        }
        Ok(all)
    }

    /// Lays out frames and tables of a wave, and writes them. The threads are as they were found.
    fn prepare(&self, tasks: &[StoppedTask], question: &Batch, slot_len: usize) -> Result<Vec<Asked>> {
        let first = self.scratch.start + self.frame_room as u64;
        let mut wave = Vec::with_capacity(tasks.len());
        let mut bytes = Vec::with_capacity(tasks.len() * slot_len);
        for (index, task) in tasks.iter().enumerate() {
            let borrowed = Borrowed::of(task)?;
            bytes.resize(index * slot_len, 0);
            let slot = first + bytes.len() as u64;
            bytes.extend_from_slice(&borrowed.frame(slot));
            bytes.resize(index * slot_len + self.frame_room, 0);
            let table = first + bytes.len() as u64;
            let part = lay_out(question, table);
            bytes.extend_from_slice(&part.bytes);
            wave.push(Asked { borrowed, table, part, state: State::Itself });
        }
        self.scratch.write(first, &bytes)?;
        Ok(wave)
    }

    /// Has all answers written, and stops every thread again.
    fn run_wave(&mut self, wave: &mut [Asked]) -> Result<()> {
        let answered = self.server.word(control::ANSWERED).load(Ordering::SeqCst);
        for asked in &mut *wave {
            self.start(asked)?;
        }
        self.await_answers(answered.wrapping_add(wave.len() as u32), wave)?;
        for asked in &mut *wave {
            asked.interrupt()?;
        }
        for asked in wave {
            asked.await_stop(self)?;
        }
        Ok(())
    }

    fn start(&self, asked: &mut Asked) -> Result<()> {
        let task = &asked.borrowed.task;
        let regs = Regs {
            rip: self.cave.entry(StubEntry::Once),
            rsp: asked.table - self.frame_room as u64 + 8,
            r12: asked.table,
            r13: 2,
            r14: 0,
            r15: 0,
            orig_rax: u64::MAX,
            ..asked.borrowed.regs
        };
        asked.state = State::Changed;
        task.set_regs(&regs)?;
        task.set_sigmask(ALL_SIGNALS)?;
        call(task.tid(), "PTRACE_CONT", ptrace::cont(task.tid(), 0))?;
        asked.state = State::Running;
        Ok(())
    }

    /// The question, then: count me as having answered, and wait to be taken out. Both are system calls that fail
    /// harmlessly when the area has been unmapped in the meantime (after our death).
    fn with_parking(&self, question: &Batch) -> Batch {
        const FUTEX_WAIT: i32 = 0;
        const FUTEX_WAKE_OP: i32 = 5;
        /// `FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)`: add 1; never mind the comparison.
        const ADD_ONE: u32 = (1 << 28) | (1 << 12);
        let mut batch = Batch { steps: Vec::new(), data: question.data.clone(), pointers: Vec::new() };
        for step in &question.steps {
            batch.step_may_fail(step.label.clone(), step.nr, step.args);
        }
        let answered = self.server.remote_block() + control::ANSWERED as u64;
        let park = self.server.remote_block() + control::PARK as u64;
        let armed = self.server.word(control::PARK).load(Ordering::SeqCst);
        let args =
            [answered.into(), FUTEX_WAKE_OP.into(), 1.into(), 0.into(), answered.into(), ADD_ONE.into()];
        batch.step_may_fail("counting an answer", nr::FUTEX, args);
        batch.step_may_fail("parking", nr::FUTEX, [park.into(), FUTEX_WAIT.into(), armed.into(), 0.into()]);
        batch
    }

    fn await_answers(&mut self, wanted: u32, wave: &[Asked]) -> Result<()> {
        let mut yields = 0;
        loop {
            let now = self.server.word(control::ANSWERED).load(Ordering::SeqCst);
            if now == wanted {
                return Ok(());
            }
            if yields < YIELDS {
                yields += 1;
                std::thread::yield_now();
                continue;
            }
            let pid = self.frozen.pid();
            let word = self.server.word(control::ANSWERED);
            call(pid, "waiting for its threads", futex::wait(word, now, Duration::from_millis(20)))?;
            if word.load(Ordering::SeqCst) != now {
                continue;
            }
            // None has answered for long: one may have died, or been stopped by a signal that cannot be blocked.
            for tid in wave.iter().map(Asked::tid) {
                match wait::poll(tid) {
                    Ok(Some(event)) => self.server.resume_other(tid, event)?,
                    Ok(None) | Err(Errno::CHILD) => {}
                    Err(errno) => return Err(TraceeError::Call { tid, what: "wait4", errno }),
                }
            }
        }
    }

    fn collect(&self, wave: &[Asked], question: &Batch, with_parking: &Batch) -> Result<Vec<Answers>> {
        let start = self.scratch.start + self.frame_room as u64;
        let end = wave.last().map_or(start, |last| last.table + last.part.bytes.len() as u64);
        let mut bytes = vec![0; (end - start) as usize];
        self.scratch.read(start, &mut bytes)?;
        let answers = wave.iter().map(|asked| {
            let mut answers = Answers::before(question);
            asked.part.read_back(&bytes[(asked.table - start) as usize..], with_parking, &mut answers);
            answers
        });
        Ok(answers.collect())
    }

    /// Makes every thread of a wave itself again. All are tried; the first failure is told.
    fn give_back(&mut self, wave: &mut [Asked]) -> Result<()> {
        let mut result = Ok(());
        for asked in wave {
            result = result.and(asked.give_back(self));
        }
        result
    }
}

impl Asked {
    fn tid(&self) -> i32 {
        self.borrowed.task.tid()
    }

    fn interrupt(&mut self) -> Result<()> {
        call(self.tid(), "PTRACE_INTERRUPT", ptrace::interrupt(self.tid()))?;
        self.state = State::Interrupted;
        Ok(())
    }

    fn await_stop(&mut self, hijack: &mut Hijack<'_>) -> Result<()> {
        await_stop(self.tid(), &mut hijack.server)?;
        self.state = State::Changed;
        Ok(())
    }

    fn give_back(&mut self, hijack: &mut Hijack<'_>) -> Result<()> {
        if self.state == State::Running {
            self.interrupt()?;
        }
        if self.state == State::Interrupted {
            self.await_stop(hijack)?;
        }
        if self.state == State::Changed {
            self.borrowed.give_back()?;
        }
        self.state = State::Itself;
        Ok(())
    }
}

/// The table, for an address in the process.
fn lay_out(question: &Batch, address: u64) -> Part {
    Part::lay_out(question, &Answers::before(question), usize::MAX, address)
}
