//! Restored processes before their life begins: they do nothing but execute batches, in the stub, with all signals
//! blocked. The root of their tree is a child of ours; the others are cloned by one that is there already, of which they
//! inherit memory, session and what else a fork passes on.
//!
//! ```text
//! clone3(set_tid) ── serve: batches ── children and threads cloned, each serving too ── all stopped ── stub unmapped
//!   ── registers set ── all let go at once
//! ```
//!
//! If one is dropped before the release, or if we die, it is killed (`PTRACE_O_EXITKILL`; before that is set, the
//! robust futex makes it exit), so that no half-made process stays.
//!
//! All share one stub and one area of memory, which lie at the same address in each and in us:
//!
//! ```text
//! page of code │ root's block ─ empty table ─ recovery table │ room for a batch │ block │ block, room of a thread │ ...
//! ```
//!
//! The room for a batch is used by one of them at a time, as we have them run their batches one after the other.

use crate::batch::{Answers, Batch};
use crate::control::{self, ENTRY_LEN};
use crate::error::{TraceeError, call};
use crate::server::{Part, Server};
use crate::task::StoppedTask;
use crate::{Result, steps};
use rekindle_sys::arch::{Entry, Regs, StubEntry, TABLE_END, stub_code, stub_entry_offset};
pub use rekindle_sys::clone::Kinship;
use rekindle_sys::clone::{Offspring, clone_args, clone_into_stub};
use rekindle_sys::futex::{self, OWNER_DIED, RobustList, WAITERS};
use rekindle_sys::ptrace::{self, Options};
use rekindle_sys::shared::{CodePage, SharedArea};
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, PAGE_SIZE, nr, signal, task};
use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Where a table without entries lies in the area: what a new process runs first.
const EMPTY_TABLE: usize = RECOVERY_TABLE - ENTRY_LEN;
/// Where the recovery table lies in the area.
const RECOVERY_TABLE: usize = 512;
/// Where the room for tables and data begins.
const ARENA: usize = 4096;
/// Length of that room, in bytes.
const ARENA_LEN: usize = 1024 * 1024 - ARENA;
/// Length of the block of a process.
const BLOCK_LEN: usize = control::LEN;
/// Length of each thread's block and room.
const THREAD_LEN: usize = 4096;

/// Where newborn processes come into being: the stub, and the area by which we talk to them.
pub struct Nursery {
    ground: Rc<Ground>,
    robust: RobustList,
}

struct Ground {
    code: CodePage,
    area: SharedArea,
    /// Where in the area the next block goes.
    next: Cell<usize>,
    /// How tasks are traced.
    options: Cell<Options>,
}

impl Ground {
    fn take(&self, len: usize) -> usize {
        let at = self.next.get();
        self.next.set(at + len);
        at
    }

    /// Start and end of the stub and the area.
    fn range(&self) -> (u64, u64) {
        (self.code.address(), self.area.address() + self.area.len() as u64)
    }
}

impl Nursery {
    /// The bytes of address space that the stub and its area take, until the release. `processes` counts all that will
    /// be cloned, `threads` the threads of all of them besides their leaders.
    pub fn footprint(processes: usize, threads: usize) -> u64 {
        PAGE_SIZE + area_len(processes, threads) as u64
    }

    /// Opens it at `place`: [`Self::footprint`] bytes that are free in our own address space and will not be needed in
    /// theirs.
    pub fn open(place: u64, processes: usize, threads: usize) -> Result<Self> {
        let me = task::gettid();
        let len = area_len(processes, threads);
        let code = call(me, "mapping the stub", CodePage::map_at(place, stub_code()))?;
        let area = call(me, "making shared memory", shared_memory(len, place + PAGE_SIZE))?;
        let robust = call(me, "registering robust futexes", RobustList::register())?;
        let end = Entry { nr: TABLE_END, ..Entry::default() };
        area.write(EMPTY_TABLE, end.as_bytes());
        let next = Cell::new(ARENA + ARENA_LEN);
        let options = Cell::new(Options::EXITKILL | Options::TRACESYSGOOD);
        Ok(Self { ground: Rc::new(Ground { code, area, next, options }), robust })
    }

    /// Lets processes that are yet to be cloned install seccomp filters that do not apply to them before their release
    /// (needs `CAP_SYS_ADMIN`, and no filter of our own).
    pub fn suspend_seccomp(&mut self) {
        self.ground.options.set(self.ground.options.get() | Options::SUSPEND_SECCOMP);
    }

    /// Clones the root, with this pid (0: any, for one that will only be passed on).
    pub fn clone_root(&mut self, pid: i32, kinship: Kinship) -> Result<Newborn> {
        let area = &self.ground.area;
        let block = Server::new(pid, area.clone(), area.address(), 0, (ARENA, ARENA_LEN), armed());
        let entry = self.ground.code.address() + stub_entry_offset(StubEntry::Serve);
        exit_when_we_die(area, 0, &mut self.robust);
        let pid = once_free(pid, || {
            let cloned = clone_into_stub(pid, kinship, entry, area.address());
            call(pid, "clone3 with its pid", cloned)
        })?;
        let mut newborn = Newborn::of(pid, block.of_task(pid), &self.ground);
        call(pid, "PTRACE_SEIZE", ptrace::seize(pid, self.ground.options.get()))?;
        newborn.forget_our_rseq()?;
        Ok(newborn)
    }

    /// Has `maker` clone a process with this pid. `exit_signal` is what its parent gets when it ends; a sibling's is
    /// its maker's.
    pub fn clone_by(
        &mut self,
        maker: &mut Newborn,
        pid: i32,
        offspring: Offspring,
        exit_signal: i32,
    ) -> Result<Newborn> {
        let area = self.ground.area.clone();
        let block = self.ground.take(BLOCK_LEN);
        let mut server = Server::new(pid, area.clone(), area.address(), block, (ARENA, ARENA_LEN), armed());
        server.prepare_table(area.address() + EMPTY_TABLE as u64);
        exit_when_we_die(&area, block, &mut self.robust);
        let mut batch = Batch::new();
        let set_tid = batch.data(&pid.to_le_bytes());
        let stack_top = area.address() + (block + control::SELF) as u64;
        let args = batch.data(&clone_args(offspring, exit_signal, stack_top - 64, 64));
        batch.point_at(args, SET_TID_OFFSET, set_tid);
        batch.step_clones(format!("clone3 with pid {pid}"), nr::CLONE3, [args.into(), 88.into()]);
        if let Err(error) = once_free(pid, || maker.run(&batch)) {
            // A step that failed has cloned nothing. Else a child may wait that nobody holds: it is told that we are gone.
            if !matches!(error, TraceeError::Step { .. }) {
                for word in [control::command_word(0), control::command_word(1)] {
                    let word = area.word(block + word);
                    word.store(OWNER_DIED, Ordering::SeqCst);
                    let _ = futex::wake(word, 1); // there may be nobody
                }
            }
            return Err(error);
        }
        let mut newborn = Newborn::of(pid, server, &self.ground);
        call(pid, "PTRACE_SEIZE", ptrace::seize(pid, self.ground.options.get()))?;
        newborn.leader.await_first()?;
        self.robust.remove(&area, block..block + BLOCK_LEN);
        Ok(newborn)
    }

    /// Makes a twin of the root with the pid that is wanted in the end, which has all that the root has so far, and
    /// takes its place; the process that was ends.
    pub fn pass_on(&mut self, root: Newborn, pid: i32) -> Result<Newborn> {
        let mut before = root;
        let twin = self.clone_by(&mut before, pid, Offspring::Sibling(0), 0)?;
        drop(before);
        Ok(twin)
    }
}

const SIGSTOP: i32 = 19;

/// How long the number of a task that has ended may take to be free, and how often to look.
const NUMBER_PATIENCE: Duration = Duration::from_secs(1);
const NUMBER_PERIOD: Duration = Duration::from_micros(200);

/// Clones a process with this pid, again as long as the number belongs to nobody and yet is not free: a task leaves /proc
/// before it gives its number back (kernel/exit.c, `release_task`).
fn once_free<T>(pid: i32, mut clone: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + NUMBER_PATIENCE;
    loop {
        let cloned = clone();
        let is_taken = matches!(
            cloned,
            Err(TraceeError::Call { errno: Errno::EXIST, .. } | TraceeError::Step { errno: Errno::EXIST, .. })
        );
        if !is_taken || Path::new(&format!("/proc/{pid}")).exists() || Instant::now() >= deadline {
            return cloned;
        }
        std::thread::sleep(NUMBER_PERIOD);
    }
}

/// What a command word holds while there is nothing to do.
fn armed() -> u32 {
    task::gettid() as u32 | WAITERS
}

/// A process in the making.
pub struct Newborn {
    pid: i32,
    leader: Server,
    threads: Vec<Server>,
    ground: Rc<Ground>,
    /// It lives by itself, or is dead already.
    over: bool,
}

impl Newborn {
    fn of(pid: i32, leader: Server, ground: &Rc<Ground>) -> Self {
        Self { pid, leader, threads: Vec::new(), ground: Rc::clone(ground), over: false }
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
        self.ground.range()
    }

    /// Executes a batch in the leader.
    pub fn run(&mut self, batch: &Batch) -> Result<Answers> {
        self.leader.run(batch)
    }

    /// Clones threads with these tids; each executes its batch of `first`, then waits for more.
    pub fn start_threads(&mut self, tids: &[i32], first: &[Batch]) -> Result<()> {
        let mut clone = Batch::new();
        let area = self.ground.area.clone();
        for (tid, batch) in tids.iter().zip(first) {
            let block = self.ground.take(THREAD_LEN);
            let arena = (block + control::LEN, THREAD_LEN - control::LEN);
            let mut server = Server::new(*tid, area.clone(), area.address(), block, arena, WAITERS | 1);
            server.prepare_first(batch)?;
            self.threads.push(server);
            let set_tid = clone.data(&tid.to_le_bytes());
            // The new thread pops the address of its block, and uses no stack beyond that.
            let stack_top = area.address() + (block + control::SELF) as u64;
            let args = clone.data(&clone_args(Offspring::Thread, 0, stack_top - 64, 64));
            clone.point_at(args, SET_TID_OFFSET, set_tid);
            clone.step_clones(format!("clone3 with tid {tid}"), nr::CLONE3, [args.into(), 88.into()]);
        }
        self.leader.run(&clone)?;
        for (server, batch) in self.threads.iter_mut().zip(first) {
            call(server.tid(), "PTRACE_SEIZE", ptrace::seize(server.tid(), self.ground.options.get()))?;
            server.finish_first(batch)?;
            // One after the other they have the room that processes have.
            server.move_to((ARENA, ARENA_LEN));
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

    /// Lets it end with a status as wait(2) tells it, as its last deed. Its parent has it as a zombie then.
    pub fn end(mut self, status: i32) -> Result<()> {
        const SIG_UNBLOCK: i32 = 1;
        const RLIMIT_CORE: i32 = 4;
        let mut batch = Batch::new();
        match status & 0x7f {
            0 => {
                batch.step("exiting", nr::EXIT_GROUP, [((status >> 8) & 0xff).into()]);
            }
            signal => {
                let no_core = batch.data(&[0; 16]);
                let args = [0.into(), RLIMIT_CORE.into(), no_core.into(), 0.into()];
                batch.step_may_fail("forbidding a core dump", nr::PRLIMIT64, args);
                let mask = batch.data(&(1_u64 << (signal - 1)).to_le_bytes());
                batch.step("queueing its last signal", nr::KILL, [self.pid.into(), signal.into()]);
                let args = [SIG_UNBLOCK.into(), mask.into(), 0.into(), 8.into()];
                batch.step_may_fail("unblocking its last signal", nr::RT_SIGPROCMASK, args);
                // Should the signal not end it after all, this does.
                batch.step("exiting", nr::EXIT_GROUP, [1.into()]);
            }
        }
        self.leader.start(&batch)?;
        steps::wait_for_end(self.pid, status & 0x7f)?;
        self.over = true;
        Ok(())
    }

    /// Has job control stop it, which its parent is told. It goes on executing batches, and is stopped again by the kernel
    /// when it is let go, of which nobody is told.
    pub fn stop_by_job_control(&mut self) -> Result<()> {
        call(self.pid, "kill", signal::kill(self.pid, SIGSTOP))?;
        let servers = || std::iter::once(&self.leader).chain(&self.threads);
        for server in servers() {
            steps::wait_for_group_stop(server.tid(), SIGSTOP)?;
        }
        for server in servers() {
            call(server.tid(), "PTRACE_CONT", ptrace::cont(server.tid(), 0))?;
        }
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
        let rip = self.ground.code.address() + stub_entry_offset(StubEntry::Boot);
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
        self.ground.area.write(ARENA, bytes);
        self.ground.area.address() + ARENA as u64
    }

    /// Unmaps the stub and all that is ours, as the stopped leader's last system call. Nothing of the process can
    /// execute then until its registers are set.
    pub fn unmap_stub(&mut self, leader: &StoppedTask) -> Result<()> {
        let (start, end) = self.own_mapping();
        let rip = self.ground.code.address() + stub_entry_offset(StubEntry::Leave);
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
        self.over = true;
        Ok(self.pid)
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if self.over {
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

/// Bytes of the area: the root's block and the room, the blocks of the others (and of the root's twin), those of threads.
fn area_len(processes: usize, threads: usize) -> usize {
    let len = ARENA + ARENA_LEN + (processes + 1) * BLOCK_LEN + threads * THREAD_LEN;
    len.next_multiple_of(PAGE_SIZE as usize)
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
