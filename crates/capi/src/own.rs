//! Self-checkpoint: a forked helper writes the image of its parent, which waits for it.
//!
//! ```text
//! program   fork ── allow it to trace us ── open the gate ── wait4(helper) ──────────────── outcome set: 0 or -1
//! helper      '──── wait at the gate ── freeze, capture, write, thaw the program ── write the outcome ── end
//! restored                                                     wait4 again: ECHILD ── outcome not set: 1
//! ```
//!
//! In the image, the thread that called is inside `wait4`. The running copy gets its helper there; the restored one
//! executes the call again, and has no such child. The outcome lies in the program's memory, where the helper writes it
//! only after the program's memory has been read, and lets it go on: so it is not set in the restored copy. Neither
//! alone would do: a program may ignore SIGCHLD, or wait for any child in another thread, and then the running copy is
//! told ECHILD too; and a helper that was killed sets no outcome. What is left, a helper that was both killed and taken
//! away, is told by the time at which the process began.
//!
//! The two only ever write to each other's memory. Whatever else they could use, a pipe for one, the program would have
//! open, and so would what another of its threads forks meanwhile. The gate is a byte in the helper's memory.

use crate::RESTORED;
use crate::error::Failure;
use crate::flags::CheckpointFlags;
use rekindle::Checkpoint;
use rekindle_sys::library::fork_helper;
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, signal, vm};
use rustix::process::{PTracer, Pid, getppid, set_ptracer};
use std::ffi::c_int;
use std::fs::File;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Writes an image of this process to `out`. In the restored copy it returns [`RESTORED`].
pub(crate) fn checkpoint(out: File, flags: CheckpointFlags) -> Result<c_int, Failure> {
    let program = std::process::id().cast_signed();
    let began = time_of_birth()?;
    let outcome = Outcome::default();
    let gate = AtomicU8::new(CLOSED);
    let mut handed_over = Some(out);
    let work = || {
        let Some(out) = handed_over.take() else { return 255 };
        if pass(&gate, program) { help(program, out, flags, &outcome) } else { 255 }
    };
    let helper = fork_helper(work).map_err(|errno| failed("forking a helper", errno))?;
    drop(handed_over); // nothing of ours is open any more
    // Only Yama knows this call. Without it, or if it fails, the helper finds out what it may do.
    let _ = set_ptracer(Pid::from_raw(helper).map_or(PTracer::None, PTracer::ProcessID));
    if let Err(errno) = vm::write(helper, gate.as_ptr() as u64, &[OPEN]) {
        let _ = signal::kill(helper, SIGKILL);
        let _ = wait::wait(helper);
        return Err(failed("reaching the helper that is to write the image", errno));
    }

    let end = wait::wait(helper);
    if let Some(result) = outcome.take() {
        return result;
    }
    if end == Err(Errno::CHILD) && time_of_birth()? != began {
        return Ok(RESTORED);
    }
    let how = match end {
        Ok(Event::Killed(by)) => format!("was killed by {}", signal::name(by)),
        _ => "ended without a word".to_owned(),
    };
    Err(Failure::new(Errno::IO, format!("the helper that was to write the image {how}; the program goes on")))
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const SIGKILL: i32 = 9;

/// Waits, in the helper, until the program has opened the gate: microseconds. `false`: it ended instead.
fn pass(gate: &AtomicU8, program: i32) -> bool {
    while gate.load(Ordering::SeqCst) == CLOSED {
        if getppid().map(Pid::as_raw_nonzero).is_none_or(|parent| parent.get() != program) {
            return false;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    true
}

/// What the helper does.
fn help(program: i32, out: File, flags: CheckpointFlags, outcome: &Outcome) -> u8 {
    let kill = flags.contains(CheckpointFlags::KILL);
    let result = Checkpoint::of(program).kill(kill).to_open_file(out).map(drop).map_err(Failure::from);
    match outcome.tell(program, &result) {
        Ok(()) => 0,
        Err(_) => 1, // it has been killed: as was asked, or by somebody else
    }
}

/// When this process began: clock ticks since the machine's own start, and which start of the machine that was.
fn time_of_birth() -> Result<(u64, String), Failure> {
    let unreadable = |why: String| Failure::new(Errno::IO, format!("/proc/self/stat: {why}"));
    let stat = std::fs::read("/proc/self/stat").map_err(|error| unreadable(error.to_string()))?;
    let stat = rekindle_procfs::stat::parse(&stat).map_err(|error| unreadable(error.to_string()))?;
    // Without it, ticks alone must do.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok((stat.starttime, boot))
}

fn failed(what: &str, errno: Errno) -> Failure {
    Failure::new(errno, format!("{what}: {}", rekindle_sys::errno_text(errno)))
}

/// Where the helper writes how it went, in the program's memory. Atomics, as another process writes them.
///
/// ```text
/// state (1: 0 not set, 1 done, 2 failed) | errno (4) | length (4) | sentence
/// ```
struct Outcome {
    bytes: Box<[AtomicU8]>,
}

const NOT_SET: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
/// Length of what stands before the sentence, the state aside.
const HEAD: usize = 8;
/// A longer sentence is cut.
const LONGEST_SENTENCE: usize = 32 * 1024;

impl Default for Outcome {
    fn default() -> Self {
        Self { bytes: (0..1 + HEAD + LONGEST_SENTENCE).map(|_| AtomicU8::new(NOT_SET)).collect() }
    }
}

impl Outcome {
    /// Writes it, in another process that has it at the same address as we do; the state last.
    fn tell(&self, program: i32, result: &Result<(), Failure>) -> Result<(), Errno> {
        let at = self.bytes.as_ptr() as u64;
        let state = match result {
            Ok(()) => DONE,
            Err(Failure { errno, sentence }) => {
                let sentence = &sentence.as_bytes()[..sentence.floor_char_boundary(LONGEST_SENTENCE)];
                let mut bytes = errno.raw_os_error().to_le_bytes().to_vec();
                bytes.extend((sentence.len() as u32).to_le_bytes());
                bytes.extend(sentence);
                vm::write(program, at + 1, &bytes)?;
                FAILED
            }
        };
        vm::write(program, at, &[state]).map(drop)
    }

    /// What was written, if anything was.
    fn take(&self) -> Option<Result<c_int, Failure>> {
        let read = |byte: &AtomicU8| byte.load(Ordering::SeqCst);
        match self.bytes.first().map(read) {
            Some(DONE) => Some(Ok(0)),
            Some(FAILED) => {
                let mut bytes = self.bytes[1..].iter().map(read);
                let mut number = || u32::from_le_bytes([(); 4].map(|()| bytes.next().unwrap_or_default()));
                let (errno, len) = (number(), number());
                let sentence: Vec<u8> = bytes.take(len as usize).collect();
                let sentence = String::from_utf8_lossy(&sentence).into_owned();
                Some(Err(Failure::new(Errno::from_raw_os_error(errno.cast_signed()), sentence)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_SENTENCE, Outcome};
    use crate::error::Failure;
    use rekindle_sys::Errno;

    fn told(result: &Result<(), Failure>) -> Option<Result<i32, Failure>> {
        let outcome = Outcome::default();
        outcome.tell(std::process::id().cast_signed(), result).unwrap();
        outcome.take()
    }

    #[test]
    fn an_outcome_is_what_was_told() {
        assert_eq!(Outcome::default().take(), None);
        assert_eq!(told(&Ok(())), Some(Ok(0)));
        let failure = Failure::new(Errno::NOSPC, "the disk is full".into());
        assert_eq!(told(&Err(failure.clone())), Some(Err(failure)));
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_between_letters() {
        let long = "ä".repeat(LONGEST_SENTENCE);
        let Some(Err(failure)) = told(&Err(Failure::new(Errno::IO, format!("a{long}")))) else { panic!() };
        assert_eq!(failure.sentence.len(), LONGEST_SENTENCE - 1);
        assert!(failure.sentence.ends_with('ä'));
    }
}
