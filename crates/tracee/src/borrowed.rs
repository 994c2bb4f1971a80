//! What a thread was like before it was borrowed, and how it gets that back.

use crate::task::Found;
use crate::{Result, StoppedTask};
use rekindle_sys::arch::{Regs, SignalFrame};
use std::sync::Arc;

/// What a thread was like before we borrowed it.
pub(crate) struct Borrowed {
    pub(crate) task: StoppedTask,
    /// Its registers, which put a restartable sequence that it was inside of back to its abort handler.
    pub(crate) regs: Regs,
    found: Arc<Found>,
}

impl Borrowed {
    pub(crate) fn of(task: &StoppedTask) -> Result<Self> {
        let found = task.found()?.clone();
        let regs = Regs { rip: found.abort_ip.unwrap_or(found.regs.rip), ..found.regs };
        Ok(Self { task: task.clone(), regs, found })
    }

    /// The most that [`Self::frame`] of any thread of the process takes, in bytes.
    pub(crate) fn frame_len(&self) -> usize {
        SignalFrame::len(self.found.xsave.len())
    }

    /// The frame that leads back, for `rsp` = its address + 8.
    pub(crate) fn frame(&self, address: u64) -> Vec<u8> {
        let mut regs = self.regs;
        restart_by_hand(&mut regs);
        SignalFrame::build(address, &regs, self.found.sigmask, &self.found.xsave)
    }

    /// Puts mask and registers back. The mask first: if we die in between, the thread is still in the stub, whose
    /// way back ends with its own mask; the other way round it would go on with all signals blocked.
    pub(crate) fn give_back(&self) -> Result<()> {
        self.task.set_sigmask(self.found.sigmask)?;
        self.task.set_regs(&self.regs)
    }
}

/// What the kernel does on return from an interrupted system call (arch/x86/kernel/signal.c), for a task that will
/// not return that way.
fn restart_by_hand(regs: &mut Regs) {
    const ERESTARTSYS: i64 = -512;
    const ERESTART_RESTARTBLOCK: i64 = -516;
    if regs.in_syscall().is_some() && (ERESTART_RESTARTBLOCK..=ERESTARTSYS).contains(&regs.syscall_result()) {
        regs.reexecute_syscall();
    }
}
