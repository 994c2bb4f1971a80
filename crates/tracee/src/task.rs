//! A stopped task: what ptrace tells of it, and what it lets us set.

use crate::error::call;
use crate::{Result, rseq};
use rekindle_sys::arch::{Regs, xsave};
use rekindle_sys::ptrace::{self, Queue, RseqConfiguration, SigInfo};
use std::sync::{Arc, OnceLock};

/// A task that we hold stopped. It stays so until whoever holds it lets it go.
#[derive(Clone, Debug)]
pub struct StoppedTask {
    tid: i32,
    /// The signal of the group stop (job control) it was in already, if it was.
    pub group_stop: Option<i32>,
    found: OnceLock<Arc<Found>>,
}

/// What a task was like when it was first looked at.
#[derive(Clone, Debug)]
pub struct Found {
    /// The general registers.
    pub regs: Regs,
    /// The XSAVE area.
    pub xsave: Vec<u8>,
    /// The signal mask.
    pub sigmask: u64,
    /// Its restartable-sequences area, if it has one.
    pub rseq: Option<RseqConfiguration>,
    /// The abort handler of the restartable sequence that it was inside of, if it was.
    pub abort_ip: Option<u64>,
}

impl StoppedTask {
    pub(crate) fn new(tid: i32, group_stop: Option<i32>) -> Self {
        Self { tid, group_stop, found: OnceLock::new() }
    }

    /// What it was like when it was first asked for this; clones made afterwards know it, too. Read once, as much of
    /// what a checkpoint of many threads costs is asking the kernel for each.
    pub fn found(&self) -> Result<&Arc<Found>> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = Arc::new(self.look(self.regs()?)?);
        Ok(self.found.get_or_init(|| found))
    }

    /// Looks right away, with the registers that the caller has read. What cannot be read now is tried again, and its
    /// failure told, when it is asked for.
    pub(crate) fn look_already(&self, regs: Regs) {
        if let Ok(found) = self.look(regs) {
            let _ = self.found.set(Arc::new(found)); // nobody looked before
        }
    }

    fn look(&self, regs: Regs) -> Result<Found> {
        let rseq = self.rseq().filter(|area| area.address != 0);
        let abort_ip = rseq.and_then(|area| rseq::abort_ip(self.tid, area.address, regs.rip));
        Ok(Found { regs, xsave: self.xsave()?, sigmask: self.sigmask()?, rseq, abort_ip })
    }

    /// Its tid, as we see it.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// The general registers.
    pub fn regs(&self) -> Result<Regs> {
        call(self.tid, "reading its registers", ptrace::get_regs(self.tid))
    }

    /// Sets the general registers.
    pub fn set_regs(&self, regs: &Regs) -> Result<()> {
        call(self.tid, "setting its registers", ptrace::set_regs(self.tid, regs))
    }

    /// The XSAVE area.
    pub fn xsave(&self) -> Result<Vec<u8>> {
        call(self.tid, "reading its floating-point state", ptrace::get_xsave(self.tid))
    }

    /// Sets the XSAVE area. One from a processor with fewer features leaves the others in their initial state; from one
    /// with more it fits as long as those were not in use. Otherwise: `EINVAL`.
    pub fn set_xsave(&self, area: &[u8]) -> Result<()> {
        let own = self.xsave()?;
        let area = &xsave::fit(area, own.len());
        call(self.tid, "setting its floating-point state", ptrace::set_xsave(self.tid, area))
    }

    /// The signal mask.
    pub fn sigmask(&self) -> Result<u64> {
        call(self.tid, "reading its signal mask", ptrace::get_sigmask(self.tid))
    }

    /// Sets the signal mask.
    pub fn set_sigmask(&self, mask: u64) -> Result<()> {
        call(self.tid, "setting its signal mask", ptrace::set_sigmask(self.tid, mask))
    }

    /// Its pending signals of one queue, in order.
    pub fn pending(&self, queue: Queue) -> Result<Vec<SigInfo>> {
        call(self.tid, "reading its pending signals", ptrace::peek_signals(self.tid, queue))
    }

    /// Its restartable-sequences area; `None` on a kernel that cannot tell.
    pub fn rseq(&self) -> Option<RseqConfiguration> {
        ptrace::get_rseq(self.tid).ok()
    }
}
