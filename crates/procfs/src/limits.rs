//! `/proc/PID/limits`: the resource limits (proc_pid_limits(5), getrlimit(2)).
//!
//! ```text
//! Limit                     Soft Limit           Hard Limit           Units
//! Max stack size            8388608              unlimited            bytes
//! ```
//!
//! Unlike prlimit64(2) on another user's process, reading this file needs no CAP_SYS_RESOURCE.

use crate::ParseError;
use crate::text::{At, lines, words};

const FILE: &str = "/proc/PID/limits";

/// How many resources there are (`RLIM_NLIMITS`).
pub const COUNT: usize = 16;

/// The names in the file, at the index of their `RLIMIT_` number (include/uapi/asm-generic/resource.h; alpha, mips and
/// sparc number some of them differently).
pub const NAMES: [&str; COUNT] = [
    "Max cpu time",          // RLIMIT_CPU, seconds
    "Max file size",         // RLIMIT_FSIZE, bytes
    "Max data size",         // RLIMIT_DATA, bytes
    "Max stack size",        // RLIMIT_STACK, bytes
    "Max core file size",    // RLIMIT_CORE, bytes
    "Max resident set",      // RLIMIT_RSS, bytes
    "Max processes",         // RLIMIT_NPROC
    "Max open files",        // RLIMIT_NOFILE
    "Max locked memory",     // RLIMIT_MEMLOCK, bytes
    "Max address space",     // RLIMIT_AS, bytes
    "Max file locks",        // RLIMIT_LOCKS
    "Max pending signals",   // RLIMIT_SIGPENDING
    "Max msgqueue size",     // RLIMIT_MSGQUEUE, bytes
    "Max nice priority",     // RLIMIT_NICE
    "Max realtime priority", // RLIMIT_RTPRIO
    "Max realtime timeout",  // RLIMIT_RTTIME, microseconds
];

/// The numbers of the resources, which index [`Limits::by_number`] and [`NAMES`].
#[expect(missing_docs, reason = "they are the RLIMIT_ constants of getrlimit(2), without their prefix")]
pub mod rlimit {
    pub const CPU: usize = 0;
    pub const FSIZE: usize = 1;
    pub const DATA: usize = 2;
    pub const STACK: usize = 3;
    pub const CORE: usize = 4;
    pub const RSS: usize = 5;
    pub const NPROC: usize = 6;
    pub const NOFILE: usize = 7;
    pub const MEMLOCK: usize = 8;
    pub const AS: usize = 9;
    pub const LOCKS: usize = 10;
    pub const SIGPENDING: usize = 11;
    pub const MSGQUEUE: usize = 12;
    pub const NICE: usize = 13;
    pub const RTPRIO: usize = 14;
    pub const RTTIME: usize = 15;
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `RLIM_INFINITY`
    Unlimited,
    /// In the unit of the resource.
    Value(u64),
}

impl Limit {
    /// As prlimit64(2) takes it: `u64::MAX` is unlimited.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Value(value) => value,
        }
    }

    /// From prlimit64(2).
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        if raw == u64::MAX { Self::Unlimited } else { Self::Value(raw) }
    }
}

/// Both limits of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The one that counts.
    pub soft: Limit,
    /// How far the process itself may raise it.
    pub hard: Limit,
}

/// All limits of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// At the index of their `RLIMIT_` number, see [`rlimit`].
    pub by_number: [Pair; COUNT],
    /// Lines about resources that [`NAMES`] does not know, as they stand.
    pub rest: Vec<Vec<u8>>,
}

impl Limits {
    /// The limits of a resource, if there is one of that number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Pair> {
        self.by_number.get(number).copied()
    }
}

/// The file as a value.
///
/// # Errors
/// One of the 16 resources is missing or its limits are no limits.
pub fn parse(text: &[u8]) -> Result<Limits, ParseError> {
    let mut by_number = [Pair { soft: Limit::Unlimited, hard: Limit::Unlimited }; COUNT];
    let mut missing = NAMES.to_vec();
    let mut rest = Vec::new();
    for (at, line) in lines(FILE, text).skip(1) {
        match resource(line) {
            Some((number, values)) => {
                by_number[number] = pair(at, values)?;
                missing.retain(|name| *name != NAMES[number]);
            }
            None => rest.push(line.to_vec()),
        }
    }
    match missing.first() {
        Some(name) => Err(At::file(FILE).bad(format!("there is no line {name}: cut short?"))),
        None => Ok(Limits { by_number, rest }),
    }
}

/// The number of the resource that a line is about, and what follows its name.
fn resource(line: &[u8]) -> Option<(usize, &[u8])> {
    NAMES.iter().enumerate().find_map(|(number, name)| {
        let values = line.strip_prefix(name.as_bytes())?;
        values.starts_with(b" ").then_some((number, values))
    })
}

fn pair(at: At, values: &[u8]) -> Result<Pair, ParseError> {
    let mut words = words(values);
    Ok(Pair {
        soft: limit(at, words.next(), "the soft limit")?,
        hard: limit(at, words.next(), "the hard limit")?,
    })
}

fn limit(at: At, word: Option<&[u8]>, wanted: &str) -> Result<Limit, ParseError> {
    match word {
        Some(b"unlimited") => Ok(Limit::Unlimited),
        word => at.dec(word, wanted).map(Limit::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             96365                96365                processes 
Max open files            20000                1048576              files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       96365                96365                signals   
Max msgqueue size         819200               819200               bytes     
Max nice priority         0                    40                   
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
";

    #[test]
    fn all_sixteen() {
        let limits = parse(SAMPLE).unwrap();
        assert_eq!(
            limits.by_number[rlimit::STACK],
            Pair { soft: Limit::Value(8_388_608), hard: Limit::Unlimited }
        );
        assert_eq!(limits.get(rlimit::NOFILE).unwrap().hard, Limit::Value(1_048_576));
        assert_eq!(limits.get(rlimit::NICE).unwrap().hard, Limit::Value(40));
        assert_eq!(limits.get(rlimit::RTTIME).unwrap().soft.to_raw(), u64::MAX);
        assert_eq!(limits.get(16), None);
        assert!(limits.rest.is_empty());
    }

    #[test]
    fn unknown_resources_are_kept() {
        let longer = [SAMPLE, b"Max open files too        1 2 files\n"].concat();
        let error = parse(&longer).unwrap_err();
        assert_eq!((error.line, error.what.as_str()), (18, "expected the soft limit, found \"too\""));
        let longer = [SAMPLE, b"Max dreams                1 2 dreams\n"].concat();
        assert_eq!(parse(&longer).unwrap().rest, [b"Max dreams                1 2 dreams".to_vec()]);
    }

    #[test]
    fn cut_texts_are_refused() {
        let error = parse(&SAMPLE[..SAMPLE.len() - 80]).unwrap_err();
        assert_eq!(error.to_string(), "/proc/PID/limits: there is no line Max realtime timeout: cut short?");
        assert!(parse(b"").is_err());
    }

    #[test]
    fn raw_values_go_both_ways() {
        for raw in [0, 7, u64::MAX] {
            assert_eq!(Limit::from_raw(raw).to_raw(), raw);
        }
    }
}
