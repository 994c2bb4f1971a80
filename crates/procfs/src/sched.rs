//! `/proc/PID/task/TID/sched`: the scheduler's account of a task (CONFIG_SCHED_DEBUG before Linux 6.15). A debugging
//! aid whose lines change with kernels, so one number only is taken from it, and its absence is no error.
//!
//! ```text
//! se.exec_start                                :        991898.167784
//! ```

use crate::text::{cut, lines, radix, trim};

/// When the task last started to run, in nanoseconds of the scheduler's clock of its processor (it starts at
/// boot and keeps no common time between processors). The file has milliseconds with six decimals.
#[must_use]
pub fn exec_start_ns(text: &[u8]) -> Option<u64> {
    let (_, value) = lines("/proc/PID/task/TID/sched", text)
        .filter_map(|(_, line)| cut(line, b':'))
        .find(|(name, _)| trim(name) == b"se.exec_start")?;
    let (ms, fraction) = cut(trim(value), b'.')?;
    if fraction.len() != 6 {
        return None;
    }
    radix(ms, 10)?.checked_mul(1_000_000)?.checked_add(radix(fraction, 10)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
he:ad (3726, #threads: 1)
-------------------------------------------------------------------
se.exec_start                                :        991898.067784
se.vruntime                                  :           168.558520
";

    #[test]
    fn milliseconds_with_six_decimals() {
        assert_eq!(exec_start_ns(SAMPLE), Some(991_898_067_784));
        assert_eq!(exec_start_ns(b"se.exec_start : 589.407221\n"), Some(589_407_221));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            &b""[..],
            b"se.exec_start",
            b"se.exec_start : 1",
            b"se.exec_start : 1.5",
            b"se.exec_start : -1.000000",
            b"se.exec_start : 99999999999999999999.000000",
            b"se.exec_started : 1.000000",
        ] {
            assert_eq!(exec_start_ns(text), None);
        }
    }
}
