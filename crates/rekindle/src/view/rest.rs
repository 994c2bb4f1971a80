//! Whether a process was at rest from one look at it until it was frozen. What only its own threads can change and takes long
//! to read, the flags of its mappings, need then not be read while it stands still.
//!
//! A thread that sleeps through has gone to sleep just once more, as the freeze itself counts, and still is in the system
//! call it was in. What a thread could yet do between, unseen, is to wake up by itself in the very instant in which it
//! is frozen, and to be caught in the same call again before it sleeps.

use super::ThreadView;
use crate::waits::voluntary_switches;
use rekindle_procfs::State;
use rekindle_procfs::syscall::{self, Syscall};

/// Looking whether more threads than these rest takes longer than reading what their process has mapped.
const THREADS_MAX: usize = 32;

/// The sleep that each thread of a process is in, in order of tid.
pub(super) struct Rest(Vec<Sleep>);

struct Sleep {
    tid: i32,
    voluntary_switches: u64,
    involuntary_switches: Vec<u8>,
    syscall: Syscall,
}

impl Rest {
    /// That of a process with these threads, as just read. None: one of them does not sleep, or the kernel does not tell.
    pub(super) fn of(pid: i32, threads: &[ThreadView]) -> Option<Self> {
        if threads.len() > THREADS_MAX {
            return None;
        }
        threads.iter().map(|thread| Sleep::of(pid, thread, State::Sleeping)).collect::<Option<_>>().map(Self)
    }

    /// Whether the process, which now is frozen, has slept ever since.
    pub(super) fn lasts(&self, pid: i32, threads: &[ThreadView]) -> bool {
        self.0.len() == threads.len()
            && self.0.iter().zip(threads).all(|(before, thread)| {
                Sleep::of(pid, thread, State::TracingStop).is_some_and(|now| before.is_interrupted_by(&now))
            })
    }
}

impl Sleep {
    fn of(pid: i32, thread: &ThreadView, state: State) -> Option<Self> {
        if thread.status.state != state {
            return None;
        }
        let text = std::fs::read(format!("/proc/{pid}/task/{}/syscall", thread.tid)).ok()?;
        Some(Self {
            tid: thread.tid,
            voluntary_switches: voluntary_switches(&thread.status)?,
            involuntary_switches: thread.status.rest_value(b"nonvoluntary_ctxt_switches")?.to_vec(),
            syscall: syscall::parse(&text).ok()?,
        })
    }

    fn is_interrupted_by(&self, stop: &Self) -> bool {
        self.tid == stop.tid
            && self.voluntary_switches.checked_add(1) == Some(stop.voluntary_switches)
            && self.involuntary_switches == stop.involuntary_switches
            && is_left(&self.syscall, &stop.syscall)
    }
}

/// Length of the instruction `syscall`.
const SYSCALL_LEN: u64 = 2;

/// Whether a task that was in the one is stopped on its way out of it: with what it was called with, or about to call it again
/// as the freeze has made it (no call is told then).
fn is_left(before: &Syscall, now: &Syscall) -> bool {
    let Syscall::Blocked { nr: calling, sp, pc, .. } = before else { return false };
    let again = Syscall::Blocked { nr: -1, args: [0; 6], sp: *sp, pc: pc.wrapping_sub(SYSCALL_LEN) };
    *calling >= 0 && (before == now || again == *now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_left_as_it_was_entered() {
        let call = |nr, pc| Syscall::Blocked { nr, args: [if nr < 0 { 0 } else { 3 }; 6], sp: 0x7000, pc };
        assert!(is_left(&call(7, 100), &call(7, 100)));
        assert!(is_left(&call(7, 100), &call(-1, 98)));
        assert!(!is_left(&call(7, 100), &call(-1, 100)), "it had left the call by itself");
        assert!(!is_left(&call(7, 100), &call(7, 200)), "the same call from elsewhere");
        assert!(!is_left(&call(-1, 100), &call(-1, 100)), "a page fault changes what it is for");
        assert!(!is_left(&Syscall::Running, &Syscall::Running));
    }
}
