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
//!  - while another thread answers a question (`ask.rs`): it parks on a third robust futex, and leaves when that is marked.
//!
//! A thread that was in `nanosleep` or a `poll` with a timeout begins it again on that way back, as `rt_sigreturn`
//! makes the kernel forget how much was left. On the ordinary way back nothing is forgotten: registers are put back
//! by ptrace, and the kernel restarts the call itself.

mod ask;

use crate::Result;
use crate::batch::{Answers, Batch};
use crate::boot::{AREA_LEN, boot};
use crate::borrowed::Borrowed;
use crate::cave::Cave;
use crate::control;
use crate::error::{TraceeError, call};
use crate::freeze::Frozen;
use crate::scratch::Scratch;
use crate::server::{Part, Server};
use crate::steps::{await_stop, next_syscall_stop, stop_again};
use rekindle_procfs::maps::Mapping;
use rekindle_sys::arch::{Regs, StubEntry};
use rekindle_sys::futex::{self, RobustList, WAITERS};
use rekindle_sys::shared::SharedArea;
use rekindle_sys::{nr, ptrace, task};
use std::sync::atomic::Ordering;

/// Where in it the recovery table lies.
const RECOVERY_TABLE: usize = 512;
/// Where the room for tables and data begins.
const ARENA: usize = 4096;
/// About what a thread needs in the scratch pages beside its frame, in bytes: a short table and its data.
const TABLE_GUESS: usize = 2048;

/// A process one of whose threads runs batches for us. Dropping it gives the thread back.
pub struct Hijack<'f> {
    frozen: &'f mut Frozen,
    host: Borrowed,
    cave: Cave,
    scratch: Scratch,
    /// Bytes that a signal frame takes there, the host's first of all.
    frame_room: usize,
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
            stack_pointers.push(task.found()?.regs.rsp);
        }
        let frame_room = host.frame_len().next_multiple_of(64);
        let per_thread = (frame_room + TABLE_GUESS) as u64;
        let wanted = per_thread * stack_pointers.len() as u64;
        let scratch = Scratch::find(pid, mappings, &stack_pointers, frame_room as u64, wanted)?;
        let cave = Cave::find(pid, mappings)?;
        let mut robust = call(pid, "registering robust futexes", RobustList::register())?;
        let frame_at = scratch.start;
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
        let mut hijack =
            Self { frozen, host, cave, scratch, frame_room, server, area, remote, robust, left: false };
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
            rsp: self.scratch.start + 8,
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
            rsp: self.scratch.start + 8,
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
