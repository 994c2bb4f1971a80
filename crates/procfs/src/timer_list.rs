//! `/proc/timer_list`: the timers that run on each processor (kernel/time/timer_list.c; root only). A debugging aid: what
//! has another form than below is passed over, and its absence is no error.
//!
//! ```text
//! now at 14321244764437 nsecs                                       CLOCK_MONOTONIC of the machine
//!
//! cpu: 0
//!  clock 1:
//!   .offset:     1795527819627876336 nsecs                           what its times differ by from CLOCK_MONOTONIC
//! active timers:
//!  #1: <0000000006a8cc88>, hrtimer_wakeup, S:01
//!  # expires at 14321286032203-14321286088201 nsecs [in 41267766 to 41323764 nsecs]
//! ```

use crate::text::{cut, lines, radix, signed, words};

/// When the list was begun, and when those timers are due that wake a task: nanoseconds of the machine's `CLOCK_MONOTONIC`.
#[must_use]
pub fn sleepers(text: &[u8]) -> Option<(i64, Vec<i64>)> {
    let (mut now_ns, mut offset_ns, mut wakes_a_task) = (None, 0, false);
    let mut list = Vec::new();
    for (_, line) in lines("/proc/timer_list", text) {
        let mut words = words(line);
        match words.next() {
            Some(b"now") => now_ns = words.nth(1).and_then(signed),
            Some(b".offset:") => offset_ns = words.next().and_then(signed)?,
            Some(b"#") => {
                let due = words.nth(2).and_then(|range| radix(cut(range, b'-')?.0, 10));
                if let Some(due) = due.filter(|_| std::mem::take(&mut wakes_a_task)) {
                    list.push(i64::try_from(due).ok()?.checked_sub(offset_ns)?);
                }
            }
            Some(number) if number.starts_with(b"#") => {
                wakes_a_task = words.nth(1) == Some(b"hrtimer_wakeup,");
            }
            _ => {}
        }
    }
    Some((now_ns?, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 1000 nsecs

cpu: 0
 clock 0:
  .offset:     0 nsecs
active timers:
 #0: <000000004c568c48>, tick_nohz_handler, S:01
 # expires at 1200-1200 nsecs [in 200 to 200 nsecs]
 #1: <0000000006a8cc88>, hrtimer_wakeup, S:01
 # expires at 5000-5050 nsecs [in 4000 to 4050 nsecs]
 clock 2:
  .offset:     300 nsecs
active timers:
 #0: <00000000000000ff>, hrtimer_wakeup, S:01
 # expires at 7300-7300 nsecs [in 6300 to 6300 nsecs]
";

    #[test]
    fn those_that_wake_a_task() {
        assert_eq!(sleepers(SAMPLE), Some((1000, vec![5000, 7000])));
    }

    #[test]
    fn anything_else_is_passed_over() {
        assert_eq!(sleepers(b""), None);
        assert_eq!(
            sleepers(b"now at 5 nsecs\n #0: <1>, dl_task_timer, S:01\n # expires at 1-1"),
            Some((5, vec![]))
        );
        assert_eq!(sleepers(b"now at 5 nsecs\n # expires at 1-1 nsecs"), Some((5, vec![])));
    }
}
