//! `/proc/PID/stat` and `/proc/PID/task/TID/stat`: 52 numbers on one line (proc_pid_stat(5)).
//!
//! ```text
//! 6183 (a) R \xff) S 6179 6179 2256 0 -1 4194304 ...
//! pid  (comm)      state
//! ```
//!
//! `comm` is printed as it is, and may hold blanks, newlines and brackets: it ends at the last `)` of the file.

use crate::text::{At, Words, cut, words};
use crate::{ParseError, State};

const FILE: &str = "/proc/PID/stat";

/// The fields by their names in the manual page, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The task.
    pub pid: i32,
    /// The name, up to 15 bytes (kernel threads: up to 63), without the brackets.
    pub comm: Vec<u8>,
    /// What it is doing.
    pub state: State,
    /// The parent process; 0 if it is outside the pid namespace.
    pub ppid: i32,
    /// The process group.
    pub pgrp: i32,
    /// The session.
    pub session: i32,
    /// The controlling terminal as a device number (minor in bits 31 to 20 and 7 to 0); 0 if none.
    pub tty_nr: i32,
    /// The foreground process group of that terminal; -1 if there is no terminal.
    pub tpgid: i32,
    /// The kernel's `PF_` flags (include/linux/sched.h).
    pub flags: u32,
    /// Minor page faults.
    pub minflt: u64,
    /// Minor page faults of waited-for children.
    pub cminflt: u64,
    /// Major page faults.
    pub majflt: u64,
    /// Major page faults of waited-for children.
    pub cmajflt: u64,
    /// Time in user mode, in clock ticks (`sysconf(_SC_CLK_TCK)` a second), guest time included.
    pub utime: u64,
    /// Time in the kernel, in clock ticks.
    pub stime: u64,
    /// User time of waited-for children, in clock ticks.
    pub cutime: i64,
    /// Kernel time of waited-for children, in clock ticks.
    pub cstime: i64,
    /// 0 to 39 for `nice` -20 to 19; negative: real-time priority, less one, negated.
    pub priority: i64,
    /// -20 to 19.
    pub nice: i64,
    /// Tasks in the process.
    pub num_threads: i64,
    /// 0 since Linux 2.6.17 (once: the next SIGALRM).
    pub itrealvalue: i64,
    /// When it started, in clock ticks since boot.
    pub starttime: u64,
    /// Addresses mapped, in bytes.
    pub vsize: u64,
    /// Resident memory in pages (approximate).
    pub rss: i64,
    /// The soft RLIMIT_RSS in bytes.
    pub rsslim: u64,
    /// Where the program's code starts. This and all addresses: 0 (or 1) to readers that may not trace it.
    pub startcode: u64,
    /// Where it ends.
    pub endcode: u64,
    /// Where the main thread's stack starts (its bottom, the highest address).
    pub startstack: u64,
    /// The stack pointer; 0 unless it is exiting with a core dump.
    pub kstkesp: u64,
    /// The instruction pointer; 0 likewise.
    pub kstkeip: u64,
    /// Pending signals 1 to 31, bit N-1 for signal N (`status` has all 64).
    pub signal: u64,
    /// Blocked signals 1 to 31.
    pub blocked: u64,
    /// Ignored signals 1 to 31.
    pub sigignore: u64,
    /// Caught signals 1 to 31.
    pub sigcatch: u64,
    /// 1 if it sleeps in the kernel, 0 if not.
    pub wchan: u64,
    /// 0 (not maintained).
    pub nswap: u64,
    /// 0 (not maintained).
    pub cnswap: u64,
    /// What its parent gets when it dies: SIGCHLD, another signal, 0 for none; -1 for a thread.
    pub exit_signal: i32,
    /// The processor it last ran on.
    pub processor: i32,
    /// Real-time priority 1 to 99; 0 if none.
    pub rt_priority: u32,
    /// Scheduling policy (`SCHED_`).
    pub policy: u32,
    /// Time waited for block I/O, in clock ticks.
    pub delayacct_blkio_ticks: u64,
    /// Time running a virtual machine, in clock ticks.
    pub guest_time: u64,
    /// The same of waited-for children, in clock ticks.
    pub cguest_time: i64,
    /// Where initialised and uninitialised data start (Linux 3.3, this and the next two).
    pub start_data: u64,
    /// Where they end.
    pub end_data: u64,
    /// Where the heap starts.
    pub start_brk: u64,
    /// Where the arguments start (Linux 3.5, this and all that follow).
    pub arg_start: u64,
    /// Where they end.
    pub arg_end: u64,
    /// Where the environment starts.
    pub env_start: u64,
    /// Where it ends.
    pub env_end: u64,
    /// As waitpid(2) reports it; 0 to readers that may not trace it.
    pub exit_code: i32,
    /// What follows in newer kernels.
    pub rest: Vec<Vec<u8>>,
}

/// The file as a value.
///
/// # Errors
/// Less than 52 fields (kernels before 3.5 have less), or one of another form than documented.
pub fn parse(text: &[u8]) -> Result<Stat, ParseError> {
    let at = At { file: FILE, line: 1 };
    let (pid, comm, rest) = split(text).ok_or_else(|| at.expected("PID (NAME) STATE", text))?;
    let mut fields = Fields { at, words: words(rest.strip_suffix(b"\n").unwrap_or(rest)) };
    Ok(Stat {
        pid: at.signed(Some(pid), "pid")?,
        comm: comm.to_vec(),
        state: fields.state()?,
        ppid: fields.signed("ppid")?,
        pgrp: fields.signed("pgrp")?,
        session: fields.signed("session")?,
        tty_nr: fields.signed("tty_nr")?,
        tpgid: fields.signed("tpgid")?,
        flags: fields.unsigned("flags")?,
        minflt: fields.unsigned("minflt")?,
        cminflt: fields.unsigned("cminflt")?,
        majflt: fields.unsigned("majflt")?,
        cmajflt: fields.unsigned("cmajflt")?,
        utime: fields.unsigned("utime")?,
        stime: fields.unsigned("stime")?,
        cutime: fields.signed("cutime")?,
        cstime: fields.signed("cstime")?,
        priority: fields.signed("priority")?,
        nice: fields.signed("nice")?,
        num_threads: fields.signed("num_threads")?,
        itrealvalue: fields.signed("itrealvalue")?,
        starttime: fields.unsigned("starttime")?,
        vsize: fields.unsigned("vsize")?,
        rss: fields.signed("rss")?,
        rsslim: fields.unsigned("rsslim")?,
        startcode: fields.unsigned("startcode")?,
        endcode: fields.unsigned("endcode")?,
        startstack: fields.unsigned("startstack")?,
        kstkesp: fields.unsigned("kstkesp")?,
        kstkeip: fields.unsigned("kstkeip")?,
        signal: fields.unsigned("signal")?,
        blocked: fields.unsigned("blocked")?,
        sigignore: fields.unsigned("sigignore")?,
        sigcatch: fields.unsigned("sigcatch")?,
        wchan: fields.unsigned("wchan")?,
        nswap: fields.unsigned("nswap")?,
        cnswap: fields.unsigned("cnswap")?,
        exit_signal: fields.signed("exit_signal")?,
        processor: fields.signed("processor")?,
        rt_priority: fields.unsigned("rt_priority")?,
        policy: fields.unsigned("policy")?,
        delayacct_blkio_ticks: fields.unsigned("delayacct_blkio_ticks")?,
        guest_time: fields.unsigned("guest_time")?,
        cguest_time: fields.signed("cguest_time")?,
        start_data: fields.unsigned("start_data")?,
        end_data: fields.unsigned("end_data")?,
        start_brk: fields.unsigned("start_brk")?,
        arg_start: fields.unsigned("arg_start")?,
        arg_end: fields.unsigned("arg_end")?,
        env_start: fields.unsigned("env_start")?,
        env_end: fields.unsigned("env_end")?,
        exit_code: fields.signed("exit_code")?,
        rest: fields.words.map(<[u8]>::to_vec).collect(),
    })
}

/// The pid, the name between the first `(` and the last `)`, and the rest.
fn split(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (pid, rest) = cut(text, b'(')?;
    let end = rest.iter().rposition(|byte| *byte == b')')?;
    Some((pid.strip_suffix(b" ")?, rest.get(..end)?, rest.get(end + 1..)?))
}

struct Fields<'a> {
    at: At,
    words: Words<'a>,
}

impl Fields<'_> {
    fn state(&mut self) -> Result<State, ParseError> {
        match self.at.word(self.words.next(), "state")? {
            [letter] => Ok(State::from_letter(*letter)),
            other => Err(self.at.expected("state", other)),
        }
    }

    fn unsigned<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, ParseError> {
        self.at.dec(self.words.next(), name)
    }

    fn signed<T: TryFrom<i64>>(&mut self, name: &str) -> Result<T, ParseError> {
        self.at.signed(self.words.next(), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"6183 (a) R \xff\\\nb) S 6179 6178 2256 34816 -1 4194304 3196 6536 6 1 4 2 3 -1 20 -5 \
        3 0 123312 19243008 3775 18446744073709551615 94304109953024 94304109953365 140726125329680 0 0 8 9 16781312 \
        2 1 0 0 17 1 0 7 5 6 -7 94304109964720 94304109965336 94304227115008 140726125332718 140726125332769 \
        140726125332770 140726125334476 256\n";

    #[test]
    fn a_name_that_tries_everything() {
        let stat = parse(SAMPLE).unwrap();
        assert_eq!(stat.comm, b"a) R \xff\\\nb");
        assert_eq!((stat.pid, stat.state, stat.ppid, stat.pgrp), (6183, State::Sleeping, 6179, 6178));
        assert_eq!((stat.session, stat.tty_nr, stat.tpgid, stat.flags), (2256, 34816, -1, 4194304));
        assert_eq!((stat.cstime, stat.priority, stat.nice, stat.num_threads), (-1, 20, -5, 3));
        assert_eq!((stat.starttime, stat.rss, stat.rsslim), (123_312, 3775, u64::MAX));
        assert_eq!((stat.signal, stat.blocked, stat.sigignore, stat.sigcatch), (8, 9, 16_781_312, 2));
        assert_eq!((stat.wchan, stat.exit_signal, stat.processor, stat.policy), (1, 17, 1, 7));
        assert_eq!((stat.guest_time, stat.cguest_time, stat.start_data), (6, -7, 94_304_109_964_720));
        assert_eq!(
            (stat.env_start, stat.env_end, stat.exit_code),
            (140_726_125_332_770, 140_726_125_334_476, 256)
        );
        assert!(stat.rest.is_empty());
    }

    #[test]
    fn later_fields_are_kept() {
        let longer = [SAMPLE.strip_suffix(b"\n").unwrap(), b" 53 x\n"].concat();
        assert_eq!(parse(&longer).unwrap().rest, [b"53".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn cut_texts_are_refused() {
        let error = parse(&SAMPLE[..SAMPLE.len() - 5]).unwrap_err();
        assert_eq!(error.what, "the line ends where exit_code should stand");
        assert!(parse(b"").is_err());
        assert!(parse(b"1 (x").is_err());
        assert_eq!(parse(b"1 (x) R x").unwrap_err().what, "expected ppid, found \"x\"");
    }
}
