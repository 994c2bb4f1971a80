//! Small moves of a task in the stub: to its next stop at a system call, or to the stop that an interrupt brings.

use crate::Result;
use crate::error::{TraceeError, call};
use crate::server::{Server, is_dead};
use rekindle_sys::ptrace;
use rekindle_sys::wait::{self, Event};
use std::time::Duration;

/// Runs a task to its next system-call stop; signals that cannot be blocked are noted in `held`.
pub(crate) fn step_to_syscall_stop(tid: i32, held: &mut Vec<i32>) -> Result<()> {
    loop {
        call(tid, "PTRACE_SYSCALL", ptrace::cont_to_syscall(tid))?;
        match await_event(tid)? {
            Event::SyscallStop => return Ok(()),
            event => note(tid, event, held)?,
        }
    }
}

pub(crate) fn wait_for_stop(tid: i32, held: &mut Vec<i32>) -> Result<()> {
    loop {
        match await_event(tid)? {
            Event::Stop(_) => return Ok(()),
            event => note(tid, event, held)?,
        }
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
    }
}

/// Waits until a task takes part in a stop by job control: the one that receives the signal begins it.
pub(crate) fn wait_for_group_stop(tid: i32, by: i32) -> Result<()> {
    loop {
        match await_event(tid)? {
            Event::Stop(signal) if signal == by => return Ok(()),
            Event::Signal(signal) if signal == by => call(tid, "PTRACE_CONT", ptrace::cont(tid, by))?,
            event => {
                note(tid, event, &mut Vec::new())?;
                call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
            }
        }
    }
}

/// Waits for the end of a task that ends by exiting, or by this signal.
pub(crate) fn wait_for_end(tid: i32, by: i32) -> Result<()> {
    loop {
        match call(tid, "wait4", wait::wait(tid))? {
            Event::Exited(_) | Event::Killed(_) => return Ok(()),
            Event::Signal(signal) if signal == by => call(tid, "PTRACE_CONT", ptrace::cont(tid, signal))?,
            _ => call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?,
        }
    }
}

/// Waits for an event of a task. A leader that was killed is not reported before its other threads have been waited
/// for, so that its state is looked at, too.
fn await_event(tid: i32) -> Result<Event> {
    let mut patience = Patience::default();
    loop {
        if let Some(event) = call(tid, "wait4", wait::poll(tid))? {
            return Ok(event);
        }
        if patience.is_long() && is_dead(tid) {
            return Err(TraceeError::Died { tid, how: "somebody killed it".into() });
        }
        patience.pause();
    }
}

/// How to wait for what takes microseconds as a rule, where there is nothing to sleep on: give way to whoever has the
/// processor next, and only then nap, as the shortest nap takes longer than what is waited for (50 us more than was
/// asked for, prctl(2), `PR_SET_TIMERSLACK`).
#[derive(Default)]
pub(crate) struct Patience {
    looks: u32,
}

/// Looks before the first nap.
const YIELDS: u32 = 64;
/// The longest nap.
const NAP_MAX: Duration = Duration::from_micros(400);

impl Patience {
    /// Waits a little, longer each time.
    pub(crate) fn pause(&mut self) {
        self.looks = self.looks.saturating_add(1);
        match self.looks.checked_sub(YIELDS) {
            None | Some(0) => std::thread::yield_now(),
            Some(naps) => std::thread::sleep(Duration::from_micros(u64::from(naps) * 2).min(NAP_MAX)),
        }
    }

    /// Whether it takes so long that what passes by itself should have passed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.looks > 4 * YIELDS
    }

    /// Whether it takes so long that one may wonder, now and then.
    pub(crate) fn is_long(&self) -> bool {
        self.looks > YIELDS && self.looks.is_multiple_of(YIELDS)
    }
}

fn note(tid: i32, event: Event, held: &mut Vec<i32>) -> Result<()> {
    match event {
        Event::Exited(_) | Event::Killed(_) => Err(TraceeError::Died { tid, how: format!("{event:?}") }),
        Event::Signal(signal) if [4, 7, 11, 31].contains(&signal) => {
            let event = rekindle_sys::signal::name(signal);
            Err(TraceeError::Unexpected { tid, event, during: "the stub" })
        }
        Event::Signal(signal) => {
            held.push(signal);
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(crate) fn next_syscall_stop(tid: i32, server: &mut Server) -> Result<()> {
    step_to_syscall_stop(tid, server.held_signals_mut())
}

pub(crate) fn await_stop(tid: i32, server: &mut Server) -> Result<()> {
    wait_for_stop(tid, server.held_signals_mut())
}

/// Stops a task that runs in the stub.
pub(crate) fn stop_again(tid: i32, server: &mut Server) -> Result<()> {
    call(tid, "PTRACE_INTERRUPT", ptrace::interrupt(tid))?;
    await_stop(tid, server)
}
