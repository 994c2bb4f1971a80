//! Freezing a process: every thread of it seized and stopped, also while it makes new ones.
//!
//! If we die now, the kernel detaches us from every thread, and each goes on where it was: nothing has been changed
//! but one thing. Some system calls return `EINTR` when their task is stopped, though no signal was there for the
//! program (signal(7), "Interruption of system calls ... by stop signals"; `epoll_wait`, `sigtimedwait`, `semop`...).
//! Such a task is made to execute the call again as soon as its stop is seen.

use crate::Result;
use crate::error::{TraceeError, call};
use crate::steps::Patience;
use crate::task::StoppedTask;
use rekindle_procfs::State;
use rekindle_procfs::status::Status;
use rekindle_sys::arch::Regs;
use rekindle_sys::ptrace::{self, Options};
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, signal, task};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A process whose threads we all hold stopped. Dropping it lets them go on.
pub struct Frozen {
    pid: i32,
    tasks: Vec<StoppedTask>,
    /// Signals to send to the process when it is let go: those that reached a thread while it ran for us.
    owed_signals: Vec<i32>,
}

impl Frozen {
    /// Seizes and stops every thread of a process. A thread that does not stop within `timeout` sleeps in the
    /// kernel uninterruptibly; the process is then let go and the error names it.
    pub fn freeze(pid: i32, timeout: Duration) -> Result<Self> {
        let mut frozen = Self { pid, tasks: Vec::new(), owed_signals: Vec::new() };
        let deadline = Instant::now() + timeout;
        let mut patience = Patience::default();
        // A thread that is not stopped yet may make new ones, or execute another program, which ends the others; once
        // all that are listed are stopped, nothing changes any more.
        loop {
            frozen.forget_ended()?;
            let Fresh { seized, unclear } = frozen.seize_new()?;
            match unclear {
                Some((tid, errno)) if seized.is_empty() => {
                    if patience.is_exhausted() {
                        return Err(why_not_seized(tid, errno));
                    }
                    patience.pause();
                }
                None if seized.is_empty() => {
                    // A thread that executes a program ends those that we hold, and has the number of one of them by now.
                    let held = frozen.tasks.len();
                    frozen.forget_ended()?;
                    if frozen.tasks.len() == held {
                        break;
                    }
                }
                _ => frozen.await_stops(seized, deadline, timeout)?,
            }
        }
        if frozen.tasks.is_empty() {
            return Err(TraceeError::Gone { pid });
        }
        frozen.tasks.sort_by_key(|task| (task.tid() != pid, task.tid()));
        Ok(frozen)
    }

    /// Seizes the threads that are listed but not held, and tells them to stop.
    fn seize_new(&self) -> Result<Fresh> {
        let mut fresh = Fresh { seized: Vec::new(), unclear: None };
        let held: BTreeSet<i32> = self.tasks.iter().map(StoppedTask::tid).collect();
        let is_new = |tid: &i32| !held.contains(tid) && (*tid == self.pid || !is_worker(self.pid, *tid));
        for tid in thread_ids(self.pid)?.into_iter().filter(is_new) {
            match ptrace::seize(tid, Options::TRACESYSGOOD) {
                Ok(()) => fresh.seized.push(tid),
                Err(Errno::SRCH) => continue,
                Err(errno) => match read_status(tid) {
                    None => continue,
                    // Ended, but still listed: a leader that others outlive, or one that is just going.
                    Some(status) if matches!(status.state, State::Zombie | State::Dead) => continue,
                    // It was seized under another number: a thread that executes a program gets that of its leader.
                    Some(status) if status.tracer_pid == task::gettid() => fresh.seized.push(tid),
                    Some(status) if status.tracer_pid != 0 => return Err(why_not_seized(tid, errno)),
                    // What had this number when we asked has just ended, by the same way.
                    Some(_) => {
                        fresh.unclear = Some((tid, errno));
                        continue;
                    }
                },
            }
            match ptrace::interrupt(tid) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(TraceeError::Call { tid, what: "PTRACE_INTERRUPT", errno }),
            }
        }
        Ok(fresh)
    }

    /// Waits until each of these has stopped or ended. One that executes a program waits in turn for the end of all other
    /// threads, of which we have to take notice (ptrace(2), "execve(2) under ptrace").
    fn await_stops(&mut self, mut running: Vec<i32>, deadline: Instant, timeout: Duration) -> Result<()> {
        let mut patience = Patience::default();
        loop {
            for tid in std::mem::take(&mut running) {
                match look(tid)? {
                    Look::Running => running.push(tid),
                    Look::Stopped(task) => self.tasks.push(task),
                    Look::Ended => {}
                    // Without an end of its own it has the number of its leader now, and is the only one.
                    Look::Unknown if tid != self.pid => {
                        self.tasks.clear();
                        running = vec![self.pid];
                        break;
                    }
                    Look::Unknown => {}
                }
            }
            let Some(tid) = running.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(does_not_stop(*tid, timeout));
            }
            if patience.is_long() {
                self.forget_ended()?;
            }
            patience.pause();
        }
    }

    /// Takes notice of the end of threads that we held: killed, or ended by another one that executes a program.
    fn forget_ended(&mut self) -> Result<()> {
        let mut kept = Vec::with_capacity(self.tasks.len());
        for task in self.tasks.drain(..) {
            match look(task.tid())? {
                Look::Running => kept.push(task),
                Look::Stopped(task) => kept.push(task),
                Look::Ended | Look::Unknown => {}
            }
        }
        self.tasks = kept;
        Ok(())
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its threads, the leader first if it lives.
    pub fn tasks(&self) -> &[StoppedTask] {
        &self.tasks
    }

    /// Keeps seccomp from judging the system calls of those of its threads that it is on in, until they are let go. `EPERM`
    /// without `CAP_SYS_ADMIN`, or under a filter of our own.
    pub fn suspend_seccomp(&self, is_on: impl Fn(i32) -> bool) -> Result<()> {
        for tid in self.tasks.iter().map(StoppedTask::tid).filter(|tid| is_on(*tid)) {
            let options = Options::TRACESYSGOOD | Options::SUSPEND_SECCOMP;
            call(tid, "PTRACE_O_SUSPEND_SECCOMP", ptrace::set_options(tid, options))?;
        }
        Ok(())
    }

    /// Whether job control had stopped the process.
    pub fn is_stopped_by_job_control(&self) -> bool {
        self.tasks.iter().any(|task| task.group_stop.is_some())
    }

    pub(crate) fn owe_signals(&mut self, signals: Vec<i32>) {
        self.owed_signals.extend(signals);
    }

    /// Kills the process, which thus never runs again.
    pub fn kill(self) -> Result<()> {
        self.send_kill()?;
        self.await_end()
    }

    pub(crate) fn send_kill(&self) -> Result<()> {
        call(self.pid, "kill", signal::kill(self.pid, 9))
    }

    /// Waits until all its tasks have ended, after [`Self::send_kill`].
    pub(crate) fn await_end(&self) -> Result<()> {
        // Threads report their end to us, their tracer; the leader, which comes first, only when all others have.
        for task in self.tasks.iter().rev() {
            // A child of ours is left for whoever in our process counts on waiting for it.
            if task.tid() == self.pid && is_our_child(self.pid) {
                return call(self.pid, "waitid", wait::await_end_of_child(self.pid));
            }
            while let Ok(event) = wait::wait(task.tid()) {
                if matches!(event, Event::Exited(_) | Event::Killed(_)) {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for sig in self.owed_signals.drain(..) {
            let _ = signal::kill(self.pid, sig); // the process may have been killed meanwhile
        }
        for task in &self.tasks {
            let _ = ptrace::detach(task.tid(), 0); // likewise
        }
    }
}

/// Whether a thread is one of the kernel's own that work for a process's io_uring (`iou-sqp-*`, `iou-wrk-*`): it executes
/// nothing of the program, and goes with it.
pub fn is_worker(pid: i32, tid: i32) -> bool {
    /// include/linux/sched.h
    const PF_IO_WORKER: u32 = 0x10;
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/task/{tid}/{name}")).unwrap_or_default();
    // Any thread can call itself so.
    let looks_like_one = || read("comm").starts_with(b"iou-");
    looks_like_one()
        && rekindle_procfs::stat::parse(&read("stat")).is_ok_and(|stat| stat.flags & PF_IO_WORKER != 0)
}

/// The threads of a process, from /proc/PID/task.
pub fn thread_ids(pid: i32) -> Result<Vec<i32>> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| TraceeError::Gone { pid })?;
    let mut tids = Vec::new();
    for entry in dir {
        // The process may end while the directory is read.
        let entry = entry.map_err(|_| TraceeError::Gone { pid })?;
        tids.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(tids)
}

/// Stops one thread for as long as `during` takes. `None`: it could not be stopped, within `patience`; then it may still be
/// held by the calling thread, and [`Frozen::freeze`] takes it over from there.
pub fn pause<T>(tid: i32, patience: Duration, during: impl FnOnce() -> T) -> Result<Option<T>> {
    if ptrace::seize(tid, Options::TRACESYSGOOD).and_then(|()| ptrace::interrupt(tid)).is_err() {
        return Ok(None); // ended, or held by somebody else
    }
    let deadline = Instant::now() + patience;
    let mut waiting = Patience::default();
    loop {
        match look(tid)? {
            Look::Stopped(_) => break,
            Look::Running if Instant::now() < deadline => waiting.pause(),
            Look::Running | Look::Ended | Look::Unknown => return Ok(None),
        }
    }
    let result = during();
    let _ = ptrace::detach(tid, 0); // it may have been killed
    Ok(Some(result))
}

fn why_not_seized(tid: i32, errno: Errno) -> TraceeError {
    match read_status(tid).map(|status| status.tracer_pid) {
        Some(tracer) if tracer != 0 => TraceeError::Traced { tid, tracer },
        _ => TraceeError::Call { tid, what: "PTRACE_SEIZE", errno },
    }
}

fn is_our_child(pid: i32) -> bool {
    read_status(pid).is_some_and(|status| status.ppid == std::process::id().cast_signed())
}

fn read_status(tid: i32) -> Option<Status> {
    let bytes = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    rekindle_procfs::status::parse(&bytes).ok()
}

/// Threads found by [`Frozen::seize_new`].
struct Fresh {
    /// Those that will stop.
    seized: Vec<i32>,
    /// One that could not be seized, for a reason that may have gone by now.
    unclear: Option<(i32, Errno)>,
}

/// What has become of a task that was seized.
enum Look {
    /// Nothing has happened.
    Running,
    /// It has stopped, as our interrupt asked for.
    Stopped(StoppedTask),
    /// It has ended.
    Ended,
    /// We have no task of that number.
    Unknown,
}

fn look(tid: i32) -> Result<Look> {
    loop {
        let event = match wait::poll(tid) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Look::Running),
            Err(Errno::CHILD) => return Ok(Look::Unknown),
            Err(errno) => return Err(TraceeError::Call { tid, what: "wait4", errno }),
        };
        let resumed = match event {
            Event::Exited(_) | Event::Killed(_) => return Ok(Look::Ended),
            Event::Stop(sig) => return stopped(tid, sig),
            // About to receive a signal: let it be received; our stop comes before its handler's first instruction.
            Event::Signal(sig) => ptrace::cont(tid, sig),
            Event::SyscallStop | Event::PtraceEvent(_) | Event::Continued => ptrace::cont(tid, 0),
        };
        match resumed {
            Ok(()) | Err(Errno::SRCH) => {} // killed meanwhile, which the next look tells
            Err(errno) => return Err(TraceeError::Call { tid, what: "PTRACE_CONT", errno }),
        }
    }
}

fn stopped(tid: i32, sig: i32) -> Result<Look> {
    let task = StoppedTask::new(tid, (sig != SIGTRAP).then_some(sig));
    // It fails for a 32-bit task, which is refused later.
    if let Ok(regs) = task.regs() {
        match spare_it_the_eintr(&task, regs) {
            Ok(regs) => task.look_already(regs),
            Err(TraceeError::Call { errno: Errno::SRCH, .. }) => {} // killed meanwhile
            Err(error) => return Err(error),
        }
    }
    Ok(Look::Stopped(task))
}

const SIGTRAP: i32 = 5;

fn does_not_stop(tid: i32, timeout: Duration) -> TraceeError {
    let mut wchan = std::fs::read_to_string(format!("/proc/{tid}/wchan")).unwrap_or_default();
    // Where a parent sleeps in vfork(2), and nobody else (kernel/fork.c).
    if ["kernel_clone", "wait_for_vfork_done"].contains(&wchan.as_str()) {
        wchan.push_str(": vfork, until its child executes a program or ends");
    }
    TraceeError::DoesNotStop { tid, seconds: timeout.as_millis().div_ceil(1000) as u64, wchan }
}

/// Makes a task that our stop threw out of a system call with `EINTR` execute the call again. Gives the registers that
/// it has then.
fn spare_it_the_eintr(task: &StoppedTask, mut regs: Regs) -> Result<Regs> {
    const EINTR: i64 = -4;
    let Some(nr) = regs.in_syscall() else { return Ok(regs) };
    if regs.syscall_result() != EINTR || !returns_eintr_when_stopped(nr) || has_signal_to_take(task, &regs) {
        return Ok(regs);
    }
    regs.reexecute_syscall();
    task.set_regs(&regs)?;
    Ok(regs)
}

/// Whether the program is about to handle a signal: then the `EINTR` is its own.
fn has_signal_to_take(task: &StoppedTask, _regs: &Regs) -> bool {
    read_status(task.tid()).is_none_or(|s| (s.sig_pnd | s.shd_pnd) & !s.sig_blk & !s.sig_ign != 0)
}

/// The calls that return `EINTR` on a stop without a signal (signal(7)); sockets do so with a timeout set.
fn returns_eintr_when_stopped(nr: i64) -> bool {
    use rekindle_sys::nr::interruptible as sys;
    sys::EINTR_ON_STOP.contains(&nr)
}
