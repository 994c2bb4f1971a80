//! What a thread was like before it was borrowed, and how it gets that back.

use crate::{Result, StoppedTask, rseq};
use rekindle_sys::arch::{Regs, SignalFrame};

/// What a thread was like before we borrowed it.
pub(crate) struct Borrowed {
    pub(crate) task: StoppedTask,
    pub(crate) regs: Regs,
    sigmask: u64,
    xsave: Vec<u8>,
}

impl Borrowed {
    pub(crate) fn of(task: &StoppedTask) -> Result<Self> {
        let mut regs = task.regs()?;
        let area = task.rseq().filter(|area| area.address != 0);
        if let Some(abort_ip) = area.and_then(|area| rseq::abort_ip(task.tid(), area.address, regs.rip)) {
            regs.rip = abort_ip;
        }
        Ok(Self { task: task.clone(), regs, sigmask: task.sigmask()?, xsave: task.xsave()? })
    }

    /// The frame that leads back, for `rsp` = its address + 8.
    pub(crate) fn frame(&self, address: u64) -> Vec<u8> {
        let mut regs = self.regs;
        restart_by_hand(&mut regs);
        SignalFrame::build(address, &regs, self.sigmask, &self.xsave)
    }

    /// Puts mask and registers back. The mask first: if we die in between, the thread is still in the stub, whose
    /// way back ends with its own mask; the other way round it would go on with all signals blocked.
    pub(crate) fn give_back(&self) -> Result<()> {
        self.task.set_sigmask(self.sigmask)?;
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
