//! Since when tasks sleep, and in what: known only while they do, so that it is read before the freeze.

mod deadlines;

use deadlines::Deadlines;
use rekindle_procfs::status::Status;
use rekindle_procfs::syscall::Syscall;
use rekindle_sys::task;
use std::collections::HashMap;
use std::time::Duration;

/// A task's sleep.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The kernel function it waits in.
    pub wchan: Vec<u8>,
    /// For how long it has, in nanoseconds.
    pub asleep_ns: u64,
    /// How often it had gone to sleep by then: one more when it is stopped tells that it is still the same sleep.
    pub voluntary_switches: u64,
    /// What is left of it, in nanoseconds, where the call was restarted already and the kernel tells all the same.
    pub left_ns: Option<u64>,
}

/// How often a task has gone to sleep.
pub(crate) fn voluntary_switches(status: &Status) -> Option<u64> {
    let count = status.rest_value(b"voluntary_ctxt_switches")?;
    std::str::from_utf8(count).ok()?.trim().parse().ok()
}

/// System calls with a time limit, in which it matters.
const TIMED: [i64; 6] = [
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_poll,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_epoll_wait,
];

/// The sleeps of processes' tasks, by pid and tid. What cannot be read (a kernel without the file) is left out.
pub(crate) fn read(tasks: &[(i32, Vec<i32>)]) -> HashMap<i32, HashMap<i32, Wait>> {
    let (mut clocks, mut deadlines) = (Clocks::default(), Deadlines::default());
    let mut of_process = |pid, tids: &[i32]| {
        tids.iter().filter_map(|tid| Some((*tid, wait(pid, *tid, &mut clocks, &mut deadlines)?))).collect()
    };
    tasks.iter().map(|(pid, tids)| (*pid, of_process(*pid, tids))).collect()
}

fn wait(pid: i32, tid: i32, clocks: &mut Clocks, deadlines: &mut Deadlines) -> Option<Wait> {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/task/{tid}/{name}")).ok();
    let left_ns = match rekindle_procfs::syscall::parse(&read("syscall")?).ok()? {
        // First of all, as it sends the task to sleep anew.
        Syscall::Blocked { nr: libc::SYS_restart_syscall, .. } => deadlines.left_ns(pid, tid),
        Syscall::Blocked { nr, .. } if TIMED.contains(&nr) => None,
        _ => return None,
    };
    let status = rekindle_procfs::status::parse(&read("status")?).ok()?;
    let slept_from = rekindle_procfs::sched::exec_start_ns(&read("sched")?)?;
    let stat = rekindle_procfs::stat::parse(&read("stat")?).ok()?;
    let now = clocks.now_ns(stat.processor)?;
    let asleep_ns = now.saturating_sub(slept_from);
    let voluntary_switches = voluntary_switches(&status)?;
    Some(Wait { wchan: read("wchan")?, asleep_ns, voluntary_switches, left_ns })
}

/// The scheduler's clocks, one a processor, which `se.exec_start` is told in. Each is found by napping there: a task's
/// own `exec_start` is the moment at which it was last put onto the processor.
#[derive(Default)]
struct Clocks {
    /// Offset of each clock from ours, in nanoseconds.
    offsets: HashMap<i32, i128>,
}

impl Clocks {
    fn now_ns(&mut self, processor: i32) -> Option<u64> {
        let offset = match self.offsets.get(&processor) {
            Some(offset) => *offset,
            None => {
                let offset = measure(processor)?;
                self.offsets.insert(processor, offset);
                offset
            }
        };
        u64::try_from(monotonic_ns() + offset).ok()
    }
}

fn measure(processor: i32) -> Option<i128> {
    let me = task::gettid();
    let before = task::sched_getaffinity(me).ok()?;
    let mut mask = vec![0_u8; before.len()];
    let processor = usize::try_from(processor).ok()?;
    *mask.get_mut(processor / 8)? |= 1 << (processor % 8);
    // A processor that we may not run on is taken to agree with the one we are on.
    let moved = task::sched_setaffinity(me, &mask).is_ok();
    std::thread::sleep(Duration::from_micros(1));
    let now = monotonic_ns();
    let own = std::fs::read(format!("/proc/self/task/{me}/sched")).ok();
    if moved {
        task::sched_setaffinity(me, &before).ok()?;
    }
    Some(i128::from(rekindle_procfs::sched::exec_start_ns(&own?)?) - now)
}

fn monotonic_ns() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
