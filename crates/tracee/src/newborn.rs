//! A restored process before its life begins: a child of ours that does nothing but execute batches, in the stub,
//! with all signals blocked.
//!
//! ```text
//! clone3(set_tid) ── serve: batches ── threads cloned, each serving too ── all stopped ── stub unmapped
//!   ── registers set ── all let go at once
//! ```
//!
//! If it is dropped before the release, or if we die, it is killed (`PTRACE_O_EXITKILL`; before that is set, the
//! robust futex makes it exit), so that no half-made process stays.

use crate::batch::{Answers, Batch};
use crate::control;
use crate::error::{TraceeError, call};
use crate::server::{Part, Server};
use crate::task::StoppedTask;
use crate::{Result, steps};
use rekindle_sys::arch::{Regs, StubEntry, stub_code, stub_entry_offset};
pub use rekindle_sys::clone::Kinship;
use rekindle_sys::clone::{Offspring, clone_args, clone_into_stub};
use rekindle_sys::futex::{RobustList, WAITERS};
use rekindle_sys::ptrace::{self, Options};
use rekindle_sys::shared::{CodePage, SharedArea};
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, PAGE_SIZE, nr, signal, task};
use std::fs::File;

/// Where the recovery table lies in the area.
const RECOVERY_TABLE: usize = 512;
/// Where the leader's room for tables and data begins.
const ARENA: usize = 4096;
/// Length of that room, in bytes.
const ARENA_LEN: usize = 1024 * 1024 - ARENA;
/// Length of each thread's block and room.
const THREAD_LEN: usize = 4096;

/// A process in the making.
pub struct Newborn {
    pid: i32,
    leader: Server,
    threads: Vec<Server>,
    area: SharedArea,
    code: CodePage,
    robust: RobustList,
    released: bool,
}

impl Newborn {
    /// The bytes of address space that the stub and its area take in the process, until the release.
    pub fn footprint(threads: usize) -> u64 {
        PAGE_SIZE + area_len(threads) as u64
    }

    /// Clones a process with this pid (0: any, for one that will only [`Self::pass_on`]), whose stub lies at `place`: [`Self::footprint`] bytes that are free in our own
    /// address space and will not be needed in its. `threads` counts those besides the leader.
    pub fn clone(pid: i32, kinship: Kinship, place: u64, threads: usize) -> Result<Self> {
        let len = area_len(threads);
        let code = call(pid, "mapping the stub", CodePage::map_at(place, stub_code()))?;
        let area = call(pid, "making shared memory", shared_memory(len, place + PAGE_SIZE))?;
        let mut robust = call(pid, "registering robust futexes", RobustList::register())?;
        let me = task::gettid() as u32;
        let block = Server::new(pid, area.clone(), area.address(), 0, (ARENA, ARENA_LEN), me | WAITERS);
        let entry = place + stub_entry_offset(StubEntry::Serve);
        exit_when_we_die(&area, 0, &mut robust);
        let cloned = clone_into_stub(pid, kinship, entry, area.address());
        let pid = call(pid, "clone3 with its pid", cloned)?;
        let leader = block.of_task(pid);
        let mut newborn = Self { pid, leader, threads: Vec::new(), area, code, robust, released: false };
        call(pid, "PTRACE_SEIZE", ptrace::seize(pid, Options::EXITKILL | Options::TRACESYSGOOD))?;
        newborn.forget_our_rseq()?;
        Ok(newborn)
    }

    /// The child was born with our C library's restartable-sequences area registered: the kernel would write to it
    /// long after its memory is gone.
    fn forget_our_rseq(&mut self) -> Result<()> {
        const RSEQ_FLAG_UNREGISTER: i32 = 1;
        steps::stop_again(self.pid, &mut self.leader)?;
        let inherited = StoppedTask::new(self.pid, None).rseq();
        call(self.pid, "PTRACE_CONT", ptrace::cont(self.pid, 0))?;
        if let Some(area) = inherited.filter(|area| area.address != 0) {
            let mut batch = Batch::new();
            let (size, signature) = (area.size.into(), area.signature.into());
            let args = [area.address.into(), size, RSEQ_FLAG_UNREGISTER.into(), signature];
            batch.step("unregistering our restartable sequences", nr::RSEQ, args);
            self.run(&batch)?;
        }
        Ok(())
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Start and end of the stub and its area in the process.
    pub fn own_mapping(&self) -> (u64, u64) {
        (self.code.address(), self.area.address() + self.area.len() as u64)
    }

    /// Executes a batch in the leader.
    pub fn run(&mut self, batch: &Batch) -> Result<Answers> {
        self.leader.run(batch)
    }

    /// Clones threads with these tids; each executes its batch of `first`, then waits for more.
    pub fn start_threads(&mut self, tids: &[i32], first: &[Batch]) -> Result<()> {
        let mut clone = Batch::new();
        for (i, (tid, batch)) in tids.iter().zip(first).enumerate() {
            let block = ARENA + ARENA_LEN + i * THREAD_LEN;
            let arena = (block + control::LEN, THREAD_LEN - control::LEN);
            let mut server =
                Server::new(*tid, self.area.clone(), self.area.address(), block, arena, WAITERS | 1);
            server.prepare_first(batch)?;
            self.threads.push(server);
            let set_tid = clone.data(&tid.to_le_bytes());
            // The new thread pops the address of its block, and uses no stack beyond that.
            let stack_top = self.area.address() + (block + control::SELF) as u64;
            let args = clone_args(Offspring::Thread, self.area.address(), stack_top - 64, 64);
            let args = clone.data(&args);
            clone.point_at(args, SET_TID_OFFSET, set_tid);
            clone.step_clones(format!("clone3 with tid {tid}"), nr::CLONE3, [args.into(), 88.into()]);
        }
        self.leader.run(&clone)?;
        for (server, batch) in self.threads.iter_mut().zip(first) {
            call(
                server.tid(),
                "PTRACE_SEIZE",
                ptrace::seize(server.tid(), Options::EXITKILL | Options::TRACESYSGOOD),
            )?;
            server.finish_first(batch)?;
        }
        Ok(())
    }

    /// Executes a batch in a thread, by its place among those of [`Self::start_threads`].
    pub fn run_in_thread(&mut self, index: usize, batch: &Batch) -> Result<Answers> {
        match self.threads.get_mut(index) {
            Some(server) => server.run(batch),
            None => Err(TraceeError::Gone { pid: self.pid }),
        }
    }

    /// Makes a twin with the pid that is wanted in the end, which has all that this process has so far, and takes its
    /// place; the process that was ends.
    pub fn pass_on(&mut self, pid: i32) -> Result<()> {
        let block = twin_block(&self.area);
        let arena = (block + control::LEN, ARENA_LEN - control::LEN);
        let me = task::gettid() as u32;
        let mut twin = Server::new(pid, self.area.clone(), self.area.address(), block, arena, me | WAITERS);
        let nothing = Batch::new();
        twin.prepare_first(&nothing)?;
        exit_when_we_die(&self.area, block, &mut self.robust);
        let mut batch = Batch::new();
        let set_tid = batch.data(&pid.to_le_bytes());
        let stack_top = self.area.address() + (block + control::SELF) as u64;
        let args = batch.data(&clone_args(Offspring::Twin, self.area.address(), stack_top - 64, 64));
        batch.point_at(args, SET_TID_OFFSET, set_tid);
        batch.step_clones("clone3 with its pid", nr::CLONE3, [args.into(), 88.into()]);
        self.leader.run(&batch)?;
        let before = std::mem::replace(&mut self.pid, pid);
        self.leader = twin;
        kill_and_reap(before, &[]);
        call(pid, "PTRACE_SEIZE", ptrace::seize(pid, Options::EXITKILL | Options::TRACESYSGOOD))?;
        self.leader.finish_first(&nothing)?;
        Ok(())
    }

    /// Stops all tasks, the leader first. None executes anything of the program yet.
    pub fn stop(&mut self) -> Result<Vec<StoppedTask>> {
        let mut tasks = Vec::new();
        for server in std::iter::once(&mut self.leader).chain(&mut self.threads) {
            steps::stop_again(server.tid(), server)?;
            tasks.push(StoppedTask::new(server.tid(), None));
        }
        Ok(tasks)
    }

    /// Makes a stopped task enter a system call and be interrupted in it at once, so that the kernel holds what it
    /// needs to restart that call: what `ERESTART_RESTARTBLOCK` in the registers then refers to. Tells what the call
    /// returned.
    pub fn enter_and_interrupt(&mut self, task: &StoppedTask, nr: u64, args: [u64; 6]) -> Result<i64> {
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        let before = task.regs()?;
        let rip = self.code.address() + stub_entry_offset(StubEntry::Boot);
        task.set_regs(&Regs { rip, rax: nr, rdi, rsi, rdx, r10, r8, r9, orig_rax: u64::MAX, ..before })?;
        let tid = task.tid();
        let mut held = Vec::new();
        steps::step_to_syscall_stop(tid, &mut held)?;
        call(tid, "PTRACE_INTERRUPT", ptrace::interrupt(tid))?;
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
        steps::wait_for_stop(tid, &mut held)?;
        Ok(task.regs()?.syscall_result())
    }

    /// Room in the area for data of [`Self::enter_and_interrupt`]: copies `bytes` there and gives their address.
    pub fn stage(&self, bytes: &[u8]) -> u64 {
        self.area.write(ARENA, bytes);
        self.area.address() + ARENA as u64
    }

    /// Unmaps the stub and all that is ours, as the stopped leader's last system call. Nothing of the process can
    /// execute then until its registers are set.
    pub fn unmap_stub(&mut self, leader: &StoppedTask) -> Result<()> {
        let (start, end) = self.own_mapping();
        let rip = self.code.address() + stub_entry_offset(StubEntry::Leave);
        let regs = leader.regs()?;
        leader.set_regs(&Regs { rip, r14: start, r15: end - start, orig_rax: u64::MAX, ..regs })?;
        let tid = leader.tid();
        let mut held = Vec::new();
        steps::step_to_syscall_stop(tid, &mut held)?;
        steps::step_to_syscall_stop(tid, &mut held)?;
        let unmapped = leader.regs()?.syscall_result();
        if unmapped != 0 {
            return call(tid, "unmapping the stub", Err(Errno::from_raw_os_error(-unmapped as i32)));
        }
        call(tid, "PTRACE_INTERRUPT", ptrace::interrupt(tid))?;
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
        steps::wait_for_stop(tid, &mut held)
    }

    /// Lets all tasks go. From here on the process lives by itself; it is a child of ours.
    pub fn release(mut self, tasks: &[StoppedTask]) -> Result<i32> {
        for task in tasks.iter().rev() {
            match ptrace::detach(task.tid(), 0) {
                Ok(()) => {}
                // Ended already, by one that was let go before; a thread's end is ours to take notice of.
                Err(Errno::SRCH) => drop(wait::poll(task.tid())),
                Err(errno) => return call(task.tid(), "PTRACE_DETACH", Err(errno)),
            }
        }
        self.released = true;
        Ok(self.pid)
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let threads: Vec<i32> = self.threads.iter().map(Server::tid).collect();
        kill_and_reap(self.pid, &threads);
    }
}

/// Ends a process of ours. Threads report their end to their tracer; the leader only when all others have.
fn kill_and_reap(pid: i32, threads: &[i32]) {
    let _ = signal::kill(pid, 9); // it may be dead already
    for tid in threads.iter().copied().chain([pid]) {
        while let Ok(event) = wait::wait(tid) {
            if matches!(event, Event::Exited(_) | Event::Killed(_)) {
                break;
            }
        }
    }
}

/// Offset of `set_tid` in `struct clone_args`.
const SET_TID_OFFSET: usize = 64;

/// Bytes of the area: the leader's block and room, those of the threads, those of the leader's twin.
fn area_len(threads: usize) -> usize {
    ARENA + ARENA_LEN + threads * THREAD_LEN + ARENA_LEN
}

/// Where in the area the twin's block is.
fn twin_block(area: &SharedArea) -> usize {
    area.len() - ARENA_LEN
}

fn shared_memory(len: usize, address: u64) -> rekindle_sys::Result<SharedArea> {
    let file = File::from(rustix::fs::memfd_create("rekindle", rustix::fs::MemfdFlags::CLOEXEC)?);
    rustix::fs::ftruncate(&file, len as u64)?;
    SharedArea::map_at(&file, len, address)
}

/// Until ptrace kills the child with us, this does: the table it runs when the kernel marks our futexes.
fn exit_when_we_die(area: &SharedArea, block: usize, robust: &mut RobustList) {
    let mut batch = Batch::new();
    batch.step("exiting", nr::EXIT_GROUP, [1.into()]);
    let address = area.address() + RECOVERY_TABLE as u64;
    let part = Part::lay_out(&batch, &Answers::before(&batch), ARENA - RECOVERY_TABLE, address);
    area.write(RECOVERY_TABLE, &part.bytes);
    area.store_u64(block + control::RECOVERY, address);
    for word in [control::command_word(0), control::command_word(1)] {
        robust.add(area, block + word);
    }
}
