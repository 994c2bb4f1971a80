//! A child that has ended, and that its parent has not taken notice of: what is left of it is a pid, a status, a name.
//!
//! It comes back as a process that ends at once with the same status, and leaves no signal behind: whether its parent has
//! one pending is kept with the parent.

use crate::error::Error;
use crate::ties::Member;
use rekindle_sys::nr;
use rekindle_tracee::Batch;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its pid.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// Its parent.
    #[prost(int32, tag = "2")]
    pub ppid: i32,
    /// Its process group.
    #[prost(int32, tag = "3")]
    pub pgid: i32,
    /// Its session.
    #[prost(int32, tag = "4")]
    pub sid: i32,
    /// How it ended, as wait(2) tells it.
    #[prost(int32, tag = "5")]
    pub status: i32,
    /// The signal that its parent got.
    #[prost(int32, tag = "6")]
    pub exit_signal: i32,
    /// Its name.
    #[prost(bytes = "vec", tag = "7")]
    #[serde(serialize_with = "crate::json::path")]
    pub comm: Vec<u8>,
    /// Its real user id, which `siginfo_t` tells.
    #[prost(uint32, tag = "8")]
    pub uid: u32,
}

const PR_SET_NAME: i32 = 15;

impl Record {
    /// That of a zombie, from /proc.
    pub fn read(pid: i32) -> Result<Self, Error> {
        let stat = crate::view::parse(pid, "stat", rekindle_procfs::stat::parse)?;
        let status = crate::view::parse(pid, "status", rekindle_procfs::status::parse)?;
        Ok(Self {
            pid,
            ppid: stat.ppid,
            pgid: stat.pgrp,
            sid: stat.session,
            status: stat.exit_code,
            exit_signal: stat.exit_signal,
            comm: stat.comm,
            uid: status.uid[0],
        })
    }

    /// Its ties.
    pub fn member(&self) -> Member {
        Member { pid: self.pid, ppid: self.ppid, pgid: self.pgid, sid: self.sid }
    }

    /// The steps that make it what it was, before it ends.
    pub fn restore(&self, batch: &mut Batch) {
        let name = batch.c_string(&self.comm);
        batch.step_may_fail("naming a zombie", nr::PRCTL, [PR_SET_NAME.into(), name.into()]);
        let uid = self.uid;
        batch.step_may_fail("setresuid", nr::SETRESUID, [uid.into(), uid.into(), uid.into()]);
    }

    /// Whether its numbers make sense.
    pub fn is_sane(&self) -> bool {
        /// Signals whose default is to be ignored, to stop, or to continue (signal(7)): nobody ends of them.
        const DO_NOT_END: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];
        let signal = self.status & 0x7f;
        if DO_NOT_END.contains(&signal) {
            return false;
        }
        self.pid > 1
            && (0..=0xffff).contains(&self.status)
            && signal <= 64
            && (0..=64).contains(&self.exit_signal)
    }
}
