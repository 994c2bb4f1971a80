//! Running batches in a process that must go on afterwards as if nothing had happened.
//!
//! One of its threads, the *host*, is borrowed. Its way through the stub:
//!
//! ```text
//! stopped by Frozen ── frame and stub written ── boot: shared memory made ── serve: batches ... ── leave: unmapped
//!   ── own registers and mask again ── stub and frame wiped ── stopped as before
//! ```
//!
//! The stub lies in the unused tail of the vDSO's last page, the frame at the unused end of the stack: neither needs
//! anything mapped, so that every instant has a way back (drawn in `rekindle-sys`, `stub.rs`):
//!
//!  - we die while the host is stopped before `boot`, or in it: it runs on by itself, closes, unmaps, and
//!    `rt_sigreturn` takes it back to its own state;
//!  - while it serves: the command word it waits for is a robust futex of ours. The kernel marks it, the host runs
//!    the recovery table (wake the parked threads, close what is open), leaves, and goes on;
//!  - while another thread answers a question: it parks on a third robust futex, and leaves when that is marked.
//!
//! A thread that was in `nanosleep` or a `poll` with a timeout begins it again on that way back, as `rt_sigreturn`
//! makes the kernel forget how much was left. On the ordinary way back nothing is forgotten: registers are put back
//! by ptrace, and the kernel restarts the call itself.

use crate::batch::{Answers, Batch};
use crate::boot::{ALL_SIGNALS, AREA_LEN, boot};
use crate::borrowed::Borrowed;
use crate::cave::Cave;
use crate::control;
use crate::error::{TraceeError, call};
use crate::freeze::Frozen;
use crate::scratch::{SLOT_LEN, Scratch};
use crate::server::{Part, Server};
use crate::steps::{await_stop, next_syscall_stop, stop_again};
use crate::{Result, StoppedTask};
use rekindle_procfs::maps::Mapping;
use rekindle_sys::arch::{Regs, StubEntry};
use rekindle_sys::futex::{self, RobustList, WAITERS};
use rekindle_sys::shared::SharedArea;
use rekindle_sys::{Errno, nr, ptrace, task, vm, wait};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where in it the recovery table lies.
const RECOVERY_TABLE: usize = 512;
/// Where the room for tables and data begins.
const ARENA: usize = 4096;

/// A process one of whose threads runs batches for us. Dropping it gives the thread back.
pub struct Hijack<'f> {
    frozen: &'f mut Frozen,
    host: Borrowed,
    cave: Cave,
    scratch: Scratch,
    server: Server,
    area: SharedArea,
    /// The area's address in the process.
    remote: u64,
    robust: RobustList,
    left: bool,
}

impl<'f> Hijack<'f> {
    /// Borrows a thread of a frozen process. `mappings` are those of /proc/PID/maps, read after the freeze.
    pub fn begin(frozen: &'f mut Frozen, mappings: &[Mapping]) -> Result<Self> {
        let pid = frozen.pid();
        let task = frozen.tasks().first().ok_or(TraceeError::Gone { pid })?.clone();
        let host = Borrowed::of(&task)?;
        let mut stack_pointers = Vec::new();
        for task in frozen.tasks() {
            stack_pointers.push(task.regs()?.rsp);
        }
        let scratch = Scratch::find(pid, mappings, &stack_pointers)?;
        let cave = Cave::find(pid, mappings)?;
        let mut robust = call(pid, "registering robust futexes", RobustList::register())?;
        let frame_at = scratch.slot(0);
        scratch.write(frame_at, &host.frame(frame_at))?;
        cave.fill()?;

        let mut held = Vec::new();
        let booted = boot(&host, &cave, frame_at, &mut held);
        frozen.owe_signals(held);
        let (area, remote, fd) = match booted {
            Ok(booted) => booted,
            Err(error) => {
                let _ = host.give_back(); // a failure here is the process's death
                let _ = cave.wipe();
                let _ = scratch.restore();
                return Err(error);
            }
        };
        let me = task::gettid() as u32;
        let server =
            Server::new(task.tid(), area.clone(), remote, 0, (ARENA, AREA_LEN - ARENA), me | WAITERS);
        for word in [control::command_word(0), control::command_word(1), control::PARK] {
            robust.add(&area, word);
        }
        let mut hijack = Self { frozen, host, cave, scratch, server, area, remote, robust, left: false };
        hijack.set_recovery(fd);
        hijack.enter_serve()?;
        if let Some(fd) = fd {
            let mut close = Batch::new();
            close.step("closing the shared memory's descriptor", nr::CLOSE, [fd.into()]);
            hijack.run(&close)?;
            hijack.set_recovery(None);
        }
        Ok(hijack)
    }

    /// The frozen process.
    pub fn frozen(&self) -> &Frozen {
        self.frozen
    }

    /// The host's tid.
    pub fn host_tid(&self) -> i32 {
        self.host.task.tid()
    }

    /// The host's registers as they were before it was borrowed.
    pub fn host_regs(&self) -> &Regs {
        &self.host.regs
    }

    /// Start and end of the one mapping that is ours and not the program's.
    pub fn own_mapping(&self) -> (u64, u64) {
        (self.remote, self.remote + AREA_LEN as u64)
    }

    /// Memory of the program that now holds something of ours: where it begins, and what the program had there.
    pub fn covered_memory(&self) -> (u64, &[u8]) {
        (self.scratch.start, &self.scratch.before)
    }

    /// Executes a batch in the host.
    pub fn run(&mut self, batch: &Batch) -> Result<Answers> {
        self.server.run(batch)
    }

    /// Executes the same batch (one that only asks) in every other thread, each for itself, a few at a time.
    /// Answers come in the order of `tasks`.
    pub fn ask(&mut self, tasks: &[StoppedTask], question: &Batch) -> Result<Vec<Answers>> {
        let mut all = Vec::with_capacity(tasks.len());
        // Slot 0 is the host's. A process with room for one slot only cannot have its threads asked in peace.
        let wave = (self.scratch.slots - 1) as usize;
        if wave == 0 && !tasks.is_empty() {
            let why = "its initial stack has no unused pages";
            return Err(TraceeError::NoRoom { pid: self.frozen.pid(), what: "a second signal frame", why });
        }
        for some in tasks.chunks(wave.max(1)) {
            all.extend(self.ask_wave(some, question)?);
        }
        Ok(all)
    }

    fn ask_wave(&mut self, tasks: &[StoppedTask], question: &Batch) -> Result<Vec<Answers>> {
        let answered_before = self.server.word(control::ANSWERED).load(Ordering::SeqCst);
        let mut wave = Vec::new();
        if let Err(error) = self.start_wave(tasks, question, answered_before, &mut wave) {
            // Those that were started must be themselves again before the stub and their frames are wiped.
            for asked in &wave {
                let stopped = stop_again(asked.borrowed.task.tid(), &mut self.server);
                let _ = stopped.and_then(|()| asked.borrowed.give_back()); // it may have died
            }
            return Err(error);
        }
        let mut answers = Vec::new();
        for asked in wave {
            answers.push(self.finish_asking(asked, question)?);
        }
        Ok(answers)
    }

    fn start_wave(
        &mut self,
        tasks: &[StoppedTask],
        question: &Batch,
        answered_before: u32,
        wave: &mut Vec<Asked>,
    ) -> Result<()> {
        for (i, task) in tasks.iter().enumerate() {
            wave.push(self.start_asking(task, self.scratch.slot(i as u64 + 1), question)?);
        }
        self.await_answers(answered_before.wrapping_add(tasks.len() as u32), tasks)
    }

    fn start_asking(&self, task: &StoppedTask, slot: u64, question: &Batch) -> Result<Asked> {
        let borrowed = Borrowed::of(task)?;
        let mut slot_bytes = borrowed.frame(slot);
        slot_bytes.resize(slot_bytes.len().next_multiple_of(64), 0);
        let table = slot + slot_bytes.len() as u64;
        let question = self.with_parking(question);
        let part = Part::lay_out(&question, &Answers::before(&question), SLOT_LEN as usize, table);
        slot_bytes.extend_from_slice(&part.bytes);
        if slot_bytes.len() as u64 > SLOT_LEN {
            let why = "the processor's registers are too large";
            return Err(TraceeError::NoRoom { pid: self.frozen.pid(), what: "a second signal frame", why });
        }
        self.scratch.write(slot, &slot_bytes)?;
        let regs = Regs {
            rip: self.cave.entry(StubEntry::Once),
            rsp: slot + 8,
            r12: table,
            r13: 2,
            r14: 0,
            r15: 0,
            orig_rax: u64::MAX,
            ..borrowed.regs
        };
        task.set_regs(&regs)?;
        task.set_sigmask(ALL_SIGNALS)?;
        call(task.tid(), "PTRACE_CONT", ptrace::cont(task.tid(), 0))?;
        Ok(Asked { borrowed, table, part })
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

    fn await_answers(&mut self, wanted: u32, tasks: &[StoppedTask]) -> Result<()> {
        loop {
            let now = self.server.word(control::ANSWERED).load(Ordering::SeqCst);
            if now == wanted {
                return Ok(());
            }
            let pid = self.frozen.pid();
            let word = self.server.word(control::ANSWERED);
            call(pid, "waiting for its threads", futex::wait(word, now, Duration::from_millis(20)))?;
            if word.load(Ordering::SeqCst) != now {
                continue;
            }
            // None has answered for long: one may have died, or been stopped by a signal that cannot be blocked.
            for task in tasks {
                match wait::poll(task.tid()) {
                    Ok(Some(event)) => self.server.resume_other(task.tid(), event)?,
                    Ok(None) | Err(Errno::CHILD) => {}
                    Err(errno) => return Err(TraceeError::Call { tid: task.tid(), what: "wait4", errno }),
                }
            }
        }
    }

    fn finish_asking(&mut self, asked: Asked, question: &Batch) -> Result<Answers> {
        let task = &asked.borrowed.task;
        stop_again(task.tid(), &mut self.server)?;
        let mut bytes = vec![0; asked.part.bytes.len()];
        call(task.tid(), "reading its answer", vm::read(task.tid(), asked.table, &mut bytes))?;
        let mut answers = Answers::before(question);
        asked.part.read_back(&bytes, &self.with_parking(question), &mut answers);
        asked.borrowed.give_back()?;
        Ok(answers)
    }

    /// Gives the host back: unmaps what is ours, puts registers and mask back, wipes stub and frames.
    pub fn end(mut self) -> Result<()> {
        self.leave()
    }

    fn leave(&mut self) -> Result<()> {
        if self.left {
            return Ok(());
        }
        self.left = true;
        self.free_parked_threads()?;
        let tid = self.host.task.tid();
        stop_again(tid, &mut self.server)?;
        let regs = Regs {
            rip: self.cave.entry(StubEntry::Leave),
            rsp: self.scratch.slot(0) + 8,
            r14: self.remote,
            r15: AREA_LEN as u64,
            orig_rax: u64::MAX,
            ..self.host.regs
        };
        self.host.task.set_regs(&regs)?;
        self.robust.remove(&self.area, 0..AREA_LEN);
        // The entry into munmap, and the exit from it.
        next_syscall_stop(tid, &mut self.server)?;
        next_syscall_stop(tid, &mut self.server)?;
        // The kernel restarts an interrupted call only on its way out of a stop like the one we found the task in.
        call(tid, "PTRACE_INTERRUPT", ptrace::interrupt(tid))?;
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
        await_stop(tid, &mut self.server)?;
        self.host.give_back()?;
        let signals = self.server.take_held_signals();
        self.frozen.owe_signals(signals);
        self.cave.wipe()?;
        self.scratch.restore()
    }

    /// Threads that are still parked (a question failed half-way) leave by themselves once they are let go.
    fn free_parked_threads(&self) -> Result<()> {
        let park = self.server.word(control::PARK);
        park.store(0, Ordering::SeqCst);
        call(self.frozen.pid(), "waking its threads", futex::wake(park, i32::MAX))
    }

    fn enter_serve(&mut self) -> Result<()> {
        let tid = self.host.task.tid();
        let regs = Regs {
            rip: self.cave.entry(StubEntry::Serve),
            rsp: self.scratch.slot(0) + 8,
            rbx: self.remote,
            r13: 0,
            r14: self.remote,
            r15: AREA_LEN as u64,
            orig_rax: u64::MAX,
            ..self.host.regs
        };
        self.host.task.set_regs(&regs)?;
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))
    }

    /// What the host does when we die: wake the threads that are parked, close `fd`.
    fn set_recovery(&mut self, fd: Option<i32>) {
        const FUTEX_WAKE: i32 = 1;
        let mut batch = Batch::new();
        let park = self.server.remote_block() + control::PARK as u64;
        batch.step_may_fail(
            "waking parked threads",
            nr::FUTEX,
            [park.into(), FUTEX_WAKE.into(), i32::MAX.into()],
        );
        if let Some(fd) = fd {
            batch.step_may_fail("closing", nr::CLOSE, [fd.into()]);
        }
        let address = self.remote + RECOVERY_TABLE as u64;
        let part = Part::lay_out(&batch, &Answers::before(&batch), ARENA - RECOVERY_TABLE, address);
        self.area.write(RECOVERY_TABLE, &part.bytes);
        self.area.store_u64(control::RECOVERY, address);
    }
}

impl Drop for Hijack<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            // The process has been killed, or the kernel refuses what it granted a moment ago.
            tracing::warn!("giving back a thread: {error}");
        }
    }
}

/// A thread that is answering.
struct Asked {
    borrowed: Borrowed,
    table: u64,
    part: Part,
}
