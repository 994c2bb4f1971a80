//! A restored program in the foreground: we stay as its parent, and stand in for it towards the shell. Shared by the
//! command lines; [`interrupt`] is about Ctrl-C while nothing runs yet.
//!
//! Two threads. One, the doorman, waits for signals that are sent to us, and passes them on. The main thread waits for
//! the program, stops when it stops, and ends as it ends.
//!
//! ```text
//!            signals                              changes of state
//!  shell ────────────> doorman ──> program ────────────────────────> main thread ──> shell
//! ```
//!
//! Signals are held back from before the restore begins, as otherwise one could come between the program's first
//! instruction and our being ready to pass it on:
//!
//!  1. the library lets the program go; 2. Ctrl-C ends us; 3. the program runs on with nobody to stop it.
//!
//! One that comes while the program is still in the making ends us, as it would have without all this; the kernel then
//! kills what is half made.
//!
//! **The terminal.** Ctrl-C, Ctrl-\ and Ctrl-Z go to the whole foreground group. A program in our own group has them
//! already, and is not given them again. A program that had a group of its own has it again: it is lent the terminal,
//! as a shell does with its jobs, and has them alone. A group in it that had the terminal, such as an editor under a shell,
//! has it again.

pub mod interrupt;
mod terminal;

use interrupt::ignored;
use rekindle_procfs::State;
use rekindle_sys::sigwait::{self, Arrived, SignalSet};
use rekindle_sys::tty::SETTINGS_LEN;
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, errno_text};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgid, getpgrp, kill_process_group, pidfd_open, pidfd_send_signal,
};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use terminal::Terminal;

/// Signals that are passed on, beside the real-time ones.
const PASSED_ON: [Signal; 9] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TERM,
    Signal::CONT,
    Signal::WINCH,
    Signal::TSTP,
];

/// `SIGRTMIN` to `SIGRTMAX` as C programs see them: 32 and 33 are the C library's own.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// How long a signal waits for a restore that is about to be done, before it ends us.
const GRACE: Duration = Duration::from_millis(100);

/// A call of ours that failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{what}: {}", errno_text(*errno))]
pub struct Error {
    /// What was tried.
    pub what: &'static str,
    /// How it failed.
    pub errno: Errno,
}

impl Error {
    fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self { what, errno: Errno::from_io_error(error).unwrap_or(Errno::IO) }
    }
}

/// We, as the parent of a program in the foreground.
pub struct Foreground {
    door: Arc<Door>,
    terminal: Arc<Terminal>,
}

struct Door {
    program: Mutex<Option<Arc<Program>>>,
    came: Condvar,
}

/// The restored program.
struct Program {
    pid: Pid,
    pidfd: OwnedFd,
    terminal: Arc<Terminal>,
}

impl Foreground {
    /// Holds signals back, before the restore begins.
    pub fn prepare() -> Result<Self, Error> {
        let named = PASSED_ON.into_iter().map(Signal::as_raw);
        let set = SignalSet::of(named.chain(REAL_TIME)).without(ignored());
        // Giving the terminal away from the background raises this one, unless it is held back (tcsetpgrp(3)).
        let terminal_output = SignalSet::of([Signal::TTOU.as_raw()]);
        for held in [set, terminal_output] {
            sigwait::hold(held).map_err(|errno| failed("holding signals back", errno))?;
        }
        let door = Arc::new(Door { program: Mutex::new(None), came: Condvar::new() });
        let watched = Arc::clone(&door);
        std::thread::Builder::new()
            .name("doorman".to_owned())
            .spawn(move || {
                while let Ok(arrived) = sigwait::wait(set) {
                    watched.open_to(&arrived);
                }
            })
            .map_err(|error| Error::io("starting a thread", &error))?;
        Ok(Self { door, terminal: Arc::new(Terminal::open()) })
    }

    /// The program is complete, and about to run: the group of it that had the terminal (if one had) gets ours, with the
    /// settings that it had given its own (a `struct termios2`).
    pub fn hand_over(&self, group: Option<i32>, modes: Option<[u8; SETTINGS_LEN]>) {
        if let Some(group) = group.and_then(Pid::from_raw) {
            self.terminal.note_settings(modes);
            self.terminal.lend(group);
        }
    }

    /// The program runs: from here on signals are passed on to it.
    pub fn adopt(&mut self, pid: i32) -> Result<(), Error> {
        let program = Program::of(pid, Arc::clone(&self.terminal))?;
        program.lend();
        program.redraw();
        *self.door.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(program));
        self.door.came.notify_all();
        Ok(())
    }

    /// Stays with the program, our child, until it ends, and ends as it did.
    pub fn stay(self) -> Result<ExitCode, Error> {
        self.stay_told(wait::wait_child)
    }

    /// The same for one that is somebody else's child: `next` waits until something happens to it.
    pub fn stay_told(self, mut next: impl FnMut(i32) -> Result<Event, Errno>) -> Result<ExitCode, Error> {
        let program = self.door.program.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(program) = program else { return Ok(ExitCode::SUCCESS) }; // nobody to stay with
        let pid = program.pid.as_raw_pid();
        loop {
            match next(pid).map_err(|errno| failed("waiting for the program", errno))? {
                Event::Exited(code) => {
                    program.terminal.take_back();
                    return Ok(ExitCode::from(code as u8));
                }
                Event::Killed(signal) => {
                    program.terminal.take_back();
                    return Ok(die_of(signal));
                }
                // The status of a stop by job control is that of a signal.
                Event::Signal(signal) | Event::Stop(signal) => program.stopped(signal),
                Event::Continued | Event::SyscallStop | Event::PtraceEvent(_) => {}
            }
        }
    }
}

/// A restore that fails at its very end leaves the terminal as it was.
impl Drop for Foreground {
    fn drop(&mut self) {
        self.terminal.take_back();
    }
}

/// Ends as a program that a signal has killed; as a shell would say it, should that not work.
fn die_of(signal: i32) -> ExitCode {
    let _ = sigwait::take_default(signal);
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

fn failed(what: &'static str, errno: Errno) -> Error {
    Error { what, errno }
}

impl Door {
    /// Deals with a signal to us.
    fn open_to(&self, arrived: &Arrived) {
        match self.program_in_a_moment() {
            Some(program) => program.receive(arrived),
            None => drop(sigwait::take_default(arrived.signal())),
        }
    }

    fn program_in_a_moment(&self) -> Option<Arc<Program>> {
        let guard = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.came.wait_timeout_while(guard, GRACE, |program| program.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Program {
    fn of(pid: i32, terminal: Arc<Terminal>) -> Result<Self, Error> {
        let pid = Pid::from_raw(pid).ok_or_else(|| failed("looking at the program", Errno::SRCH))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed("pidfd_open", errno))?;
        Ok(Self { pid, pidfd, terminal })
    }

    /// Lends the terminal to the group that had it last, or to the program's own.
    fn lend(&self) -> bool {
        self.terminal.borrower().or_else(|| self.group()).is_some_and(|group| self.terminal.lend(group))
    }

    /// What it shows is not on this terminal yet, which may also be of another size: programs that fill the screen draw it
    /// anew when they are told of that.
    fn redraw(&self) {
        match self.terminal.borrower() {
            Some(group) => drop(kill_process_group(group, Signal::WINCH)),
            None if self.terminal.is_ours_or_lent() => drop(pidfd_send_signal(&self.pidfd, Signal::WINCH)),
            None => {}
        }
    }

    fn receive(&self, arrived: &Arrived) {
        let is_continue = arrived.signal() == Signal::CONT.as_raw();
        if is_continue {
            // The shell has brought us to the foreground, or told us to go on in the background.
            self.lend();
            // All of a job that Ctrl-Z has stopped, not its first process alone.
            if let Some(group) = self.terminal.borrower().filter(|group| Some(*group) == self.group()) {
                let _ = kill_process_group(group, Signal::CONT);
                return;
            }
        }
        let has_it =
            self.is_in_our_group() && if is_continue { !self.is_stopped() } else { arrived.is_from_kernel() };
        if !has_it {
            // Fails when the program has just ended; the main thread is about to say so.
            let _ = arrived.pass_on(self.pidfd.as_fd());
        }
    }

    /// Stops as the program did, if it was by job control: the shell takes over, and continues us both.
    ///
    /// A `SIGSTOP` is followed on a terminal only. Elsewhere nobody would continue us: whoever stopped the program
    /// (cpulimit(1), say) continues the program, not its parent.
    fn stopped(&self, signal: i32) {
        let wants_terminal = [Signal::TTIN, Signal::TTOU].map(Signal::as_raw).contains(&signal);
        if wants_terminal && self.lend() {
            // It asked for the terminal before we had lent it.
            let _ = self.group().map(|group| kill_process_group(group, Signal::CONT));
            return;
        }
        let was_ours = self.terminal.is_ours_or_lent();
        self.terminal.take_back();
        if signal != Signal::STOP.as_raw() || was_ours {
            // Ignored by the kernel where no shell could continue us (an orphaned process group).
            let _ = sigwait::take_default(Signal::TSTP.as_raw());
        }
    }

    fn group(&self) -> Option<Pid> {
        getpgid(Some(self.pid)).ok()
    }

    fn is_in_our_group(&self) -> bool {
        self.group() == Some(getpgrp())
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).ok();
        let stat = stat.and_then(|bytes| rekindle_procfs::stat::parse(&bytes).ok());
        stat.is_some_and(|stat| stat.state == State::Stopped)
    }
}
