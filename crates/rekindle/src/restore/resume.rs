//! What a task's registers are when it is let go: the saved ones, but for a system call that the kernel cannot take up
//! where it was left.

use crate::error::Error;
use crate::kinds::task::Task;
use rekindle_sys::arch::Regs;
use rekindle_tracee::{Newborn, StoppedTask};

/// `ERESTART_RESTARTBLOCK`: the kernel would go on with state of its own, which the restored task does not have.
const RESTART_BLOCK: i64 = -516;

/// The registers to set.
pub(super) fn registers(newborn: &mut Newborn, stopped: &StoppedTask, task: &Task) -> Result<Regs, Error> {
    let mut regs = task.registers.regs().ok_or_else(|| {
        Error::Nonsense(format!("the registers of task {} have the wrong length", task.tid))
    })?;
    if task.rseq.abort_ip != 0 {
        regs.rip = task.rseq.abort_ip;
        // Nor is a system call taken up that stood in the sequence: the kernel would do so at the instruction before.
        regs.orig_rax = u64::MAX;
    }
    if regs.in_syscall().is_none() || regs.syscall_result() != RESTART_BLOCK {
        return Ok(regs);
    }
    match task.sleep.restart_call(|bytes| newborn.stage(bytes)) {
        Some((nr, args)) => match newborn.enter_and_interrupt(stopped, nr, args)? {
            RESTART_BLOCK => {}
            // It came to its end at once: that is what the program gets.
            result => {
                regs.rax = result as u64;
                regs.orig_rax = u64::MAX;
            }
        },
        None => {
            if let Ok(nr @ 0..) = u64::try_from(task.sleep.nr) {
                regs.orig_rax = nr;
            }
            regs.reexecute_syscall();
        }
    }
    Ok(regs)
}
