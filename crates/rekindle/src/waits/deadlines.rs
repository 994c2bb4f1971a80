//! When a call ends that the kernel has restarted: what was left of its time is in the kernel alone (`restart_block`), and in
//! the timer that the task sleeps by, which /proc/timer_list shows, though not whose it is. A task that is stopped sleeps no
//! longer, and when it is let go the kernel sets the same time again:
//!
//! ```text
//! list: A ── the task is stopped ── list: B ── it goes on, and sleeps ── list: C
//!                        its timer is in A and in C, with the same time, and not in B
//! ```
//!
//! If more than one timer has done so, nothing is known, as on a kernel or for a user without the list. The program
//! notices no more of it than of the checkpoint that follows.

use rekindle_procfs::State;
use rekindle_procfs::syscall::Syscall;
use rekindle_procfs::timer_list::sleepers;
use rekindle_tracee::freeze;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// See the module's story.
#[derive(Default)]
pub(crate) struct Deadlines {
    asked: usize,
    list: Option<List>,
}

struct List {
    now_ns: i64,
    /// When timers are due that wake a task.
    due_ns: HashSet<i64>,
}

/// How many tasks are asked, each of which costs two looks at the list.
const ASKED_MAX: usize = 128;
/// The kernel takes long to show a long list, and holds a lock meanwhile.
const LIST_LEN_MAX: usize = 256 * 1024;
/// How long a sleeping task may take to stop, and to sleep again.
const PATIENCE: Duration = Duration::from_millis(100);

impl Deadlines {
    /// What is left, in nanoseconds, of the time of a task that is in `restart_syscall`.
    pub(crate) fn left_ns(&mut self, pid: i32, tid: i32) -> Option<u64> {
        if self.asked == ASKED_MAX {
            return None;
        }
        self.asked += 1;
        let before = match self.list.take() {
            Some(list) => list,
            None => read()?,
        };
        let stopped = freeze::pause(tid, PATIENCE, read).ok()???;
        sleeps_again(pid, tid).then_some(())?;
        let after = read()?;
        // Not by its address, which is on the task's stack, and another each time.
        let mut own =
            before.due_ns.iter().filter(|due| !stopped.due_ns.contains(due) && after.due_ns.contains(due));
        let found = own.next().filter(|_| own.next().is_none());
        let left = found.map(|due| due.saturating_sub(after.now_ns).max(0) as u64);
        self.list = Some(after);
        left
    }
}

fn read() -> Option<List> {
    let text = std::fs::read("/proc/timer_list").ok()?;
    let (now_ns, list) = sleepers(&text).filter(|_| text.len() <= LIST_LEN_MAX)?;
    Some(List { now_ns, due_ns: list.into_iter().collect() })
}

/// Waits until a task that was let go sleeps in the call again.
fn sleeps_again(pid: i32, tid: i32) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/task/{tid}/{name}")).unwrap_or_default();
    loop {
        // One that is still stopped looks as if it were in the call.
        let state = rekindle_procfs::stat::parse(&read("stat")).map(|stat| stat.state);
        match (state, rekindle_procfs::syscall::parse(&read("syscall"))) {
            (Ok(State::Sleeping), Ok(Syscall::Blocked { nr: libc::SYS_restart_syscall, .. })) => return true,
            (Ok(_), Ok(_)) if Instant::now() < deadline => std::thread::yield_now(),
            _ => return false,
        }
    }
}
