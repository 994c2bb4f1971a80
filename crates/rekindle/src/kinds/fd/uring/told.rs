//! What /proc/PID/fdinfo tells of a ring (io_uring/fdinfo.c).
//!
//! ```text
//! SqMask: 0x7   CachedSqHead: 4   CqMask: 0xf   CqHead: 0   CachedCqTail: 1   SqThread: -1   SqThreadCpu: -1 ...
//! UserFiles: 2             registered files: index and path, without those that are none
//!     0: anon_inode:[eventfd]
//! UserBufs: 1              registered buffers: index, address and length
//!     0: 0x55bc433c22b0/8192
//! PollList:                operations that wait for a file to be ready
//!   op=22, task_works=0
//! CqOverflowList:          completions that found no room
//! NAPI:   disabled
//! ```

use crate::error::Error;
use crate::kinds::fd::anonymous;
use crate::view::parse;
use rekindle_procfs::fdinfo::{self, FdInfo};
use rekindle_procfs::unescape;
use std::time::Duration;

/// See the module's story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    /// How many submissions the kernel has taken, as it counts them.
    pub(super) submitted: u32,
    /// The end of those that the program has put in the queue.
    pub(super) sq_tail: u32,
    /// How many completions it has put in the queue.
    pub(super) completed: u32,
    /// How many of these the program has taken.
    pub(super) cq_head: u32,
    /// The thread that submits (`SQPOLL`).
    pub(super) thread: Option<i32>,
    pub(super) files_len: u32,
    pub(super) files: Vec<(u32, Vec<u8>)>,
    /// Address and length of each buffer; zeros for one that is none.
    pub(super) buffers: Vec<(u64, u64)>,
    /// The operations (`IORING_OP_*`) that wait for a file.
    pub(super) polls: Vec<u32>,
    /// Whether it lists what is queued, which it does of rings that have an array only.
    pub(super) lists_queued: bool,
    /// Whether completions wait outside of the queue.
    pub(super) overflows: bool,
    /// Whether network devices are polled.
    pub(super) napi: bool,
    /// Whether what waits in the queues is twice as long as usual.
    pub(super) wide: bool,
}

impl Told {
    /// Reads it. The kernel tells nothing while the ring is in use by somebody.
    pub(super) fn read(pid: i32, fd: i32) -> Result<Self, Error> {
        const TRIES: u32 = 200;
        let name = format!("fdinfo/{fd}");
        for _ in 0..TRIES {
            if let Some(told) = Self::of(&parse(pid, &name, fdinfo::parse)?) {
                return Ok(told);
            }
            std::thread::sleep(Duration::from_millis(1)); // there is no event to wait for
        }
        Err(Error::proc(pid, name, "the kernel does not tell the state of an io_uring"))
    }

    /// From the lines of fdinfo; `None` if they do not tell.
    pub(super) fn of(info: &FdInfo) -> Option<Self> {
        let number = |name: &str| {
            let value = info.value(name.as_bytes())?;
            let (digits, radix) = value.strip_prefix(b"0x").map_or((value, 10), |hex| (hex, 16));
            u32::try_from(anonymous::parse(digits, radix)?).ok()
        };
        let mut told = Self {
            sq_entries: number("SqMask")?.checked_add(1)?,
            cq_entries: number("CqMask")?.checked_add(1)?,
            submitted: number("CachedSqHead")?,
            sq_tail: number("SqTail")?,
            completed: number("CachedCqTail")?,
            cq_head: number("CqHead")?,
            thread: number("SqThread").and_then(|tid| i32::try_from(tid).ok()),
            files_len: number("UserFiles")?,
            napi: info.value(b"NAPI").is_some_and(|state| state != b"disabled"),
            ..Self::default()
        };
        told.lists(info, number("UserBufs")?)?;
        Some(told)
    }

    fn lists(&mut self, info: &FdInfo, buffers_len: u32) -> Option<()> {
        let mut section: &[u8] = b"";
        let mut buffers = Vec::new();
        for (name, value) in &info.rest {
            if !name.starts_with(b" ") {
                section = name;
                continue;
            }
            let index = || u32::try_from(anonymous::parse(name, 10)?).ok();
            match section {
                b"SQEs" => {
                    self.lists_queued = true;
                    self.wide |= contains(value, b"e0:0x");
                }
                b"CQEs" => self.wide |= contains(value, b"extra1:"),
                b"UserFiles" => self.files.push((index()?, unescape(value, b" \t\n\\"))),
                b"UserBufs" => buffers.push((index()?, buffer(value)?)),
                b"PollList" => self.polls.push(operation(name)?),
                b"CqOverflowList" => self.overflows = true,
                _ => {}
            }
        }
        // More of them than there can be would be a misunderstanding (io_uring/rsrc.h: `IORING_MAX_REG_BUFFERS`).
        self.buffers = vec![(0, 0); usize::try_from(buffers_len).ok().filter(|len| *len <= 1 << 14)?];
        for (index, buffer) in buffers {
            *self.buffers.get_mut(index as usize)? = buffer;
        }
        Some(())
    }

    /// How many submissions the program has put in the queue that the kernel has not taken.
    pub(super) fn queued(&self) -> u32 {
        self.sq_tail.wrapping_sub(self.submitted)
    }
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|window| window == what)
}

/// `0x55bc433c22b0/8192`, or `<none>`
fn buffer(value: &[u8]) -> Option<(u64, u64)> {
    if value.starts_with(b"<none>") {
        return Some((0, 0));
    }
    let slash = value.iter().position(|byte| *byte == b'/')?;
    let address = value.get(..slash)?.strip_prefix(b"0x")?;
    Some((anonymous::parse(address, 16)?, anonymous::parse(value.get(slash + 1..)?, 10)?))
}

/// `  op=22, task_works=0`
fn operation(line: &[u8]) -> Option<u32> {
    let number = line.trim_ascii().strip_prefix(b"op=")?;
    let digits = number.split(|byte| *byte == b',').next()?;
    u32::try_from(anonymous::parse(digits, 10)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_in_use_is_taken_apart() {
        let text = b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t95\nSqMask:\t0x7\nSqHead:\t4\nSqTail:\t6\n\
            CachedSqHead:\t4\nCqMask:\t0xf\nCqHead:\t0\nCqTail:\t1\nCachedCqTail:\t1\nSQEs:\t1\n    4: opcode:NOP, fd:0\n\
            CQEs:\t1\n    0: user_data:80, res:0, flag:0\nSqThread:\t-1\nSqThreadCpu:\t-1\nUserFiles:\t2\n    \
            0: anon_inode:[eventfd]\nUserBufs:\t2\n    0: 0x55bc433c22b0/8192\n    1: <none>\nPollList:\n  \
            op=22, task_works=0\n  op=6, task_works=0\nCqOverflowList:\nNAPI:\tdisabled\n";
        let told = fdinfo::parse(text).ok().and_then(|info| Told::of(&info)).unwrap_or_default();
        assert_eq!((told.sq_entries, told.cq_entries, told.submitted, told.completed), (8, 16, 4, 1));
        assert_eq!((told.queued(), told.cq_head, told.thread), (2, 0, None));
        assert_eq!((told.files_len, told.files), (2, vec![(0, b"anon_inode:[eventfd]".to_vec())]));
        assert_eq!(told.buffers, [(0x55bc_433c_22b0, 8192), (0, 0)]);
        assert_eq!((told.polls, told.overflows, told.napi, told.wide), (vec![22, 6], false, false, false));
    }

    #[test]
    fn a_ring_that_is_locked_tells_nothing() {
        let info = fdinfo::parse(b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t95\n");
        assert_eq!(info.ok().and_then(|info| Told::of(&info)), None);
    }
}
