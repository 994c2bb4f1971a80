//! How far the demo's program is, as it writes it: a line of `COUNT:HASH`, one for each thread, every 10 ms.

use std::fmt;
use std::path::Path;

/// How many threads it has.
pub(super) const THREADS: u64 = 4;

/// How far a thread is: the number it has counted to, and the hash of all numbers up to it (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) count: u64,
    hash: u64,
}

impl Counter {
    /// Where a thread begins.
    pub(super) fn start(index: u64) -> Self {
        Self { count: 0, hash: 0xcbf2_9ce4_8422_2325_u64.wrapping_add(index) }
    }

    /// So many steps further.
    pub(super) fn further(self, steps: u64) -> Self {
        (0..steps).fold(self, |Self { count, hash }, _| {
            let count = count + 1;
            Self { count, hash: (hash ^ count).wrapping_mul(0x100_0000_01b3) }
        })
    }

    fn parse(word: &str) -> Option<Self> {
        let (count, hash) = word.split_once(':')?;
        Some(Self { count: count.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? })
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}", self.count, self.hash)
    }
}

/// All that the program has written.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Each line of counters.
    pub(super) lines: Vec<Vec<Counter>>,
    /// Its last words, when it was told to end.
    pub(super) farewell: Option<String>,
}

impl Progress {
    /// Reads the file that its standard output is. A line that is being written is left out.
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut progress = Self::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split(' ').map(Counter::parse).collect::<Option<Vec<_>>>() {
                Some(counters) => progress.lines.push(counters),
                None => progress.farewell = Some(line.to_owned()),
            }
        }
        progress
    }

    /// How far all threads are together.
    pub(super) fn total(&self) -> u64 {
        self.lines.last().map_or(0, |counters| counters.iter().map(|counter| counter.count).sum())
    }

    /// Whether it has counted without a step back, and its hashes are what they must be. `Err`: what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        for (before, after) in self.lines.iter().zip(self.lines.iter().skip(1)) {
            if before.len() != after.len() || before.iter().zip(after).any(|(a, b)| b.count < a.count) {
                return Err(format!("it went back, from {before:?} to {after:?}"));
            }
        }
        let last = self.lines.last().ok_or("it has written nothing")?;
        for (index, counter) in (0..).zip(last) {
            let right = Counter::start(index).further(counter.count);
            if right != *counter {
                return Err(format!("thread {index} has {counter}, and {right} is right"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(steps: &[[u64; 2]]) -> Progress {
        let line = |steps: &[u64; 2]| {
            (0..).zip(steps).map(|(index, steps)| Counter::start(index).further(*steps)).collect()
        };
        Progress { lines: steps.iter().map(line).collect(), farewell: None }
    }

    #[test]
    fn right_counting_passes_and_wrong_counting_does_not() {
        assert_eq!(lines(&[[1, 2], [10, 2], [10, 30]]).check(), Ok(()));
        assert!(lines(&[[1, 2], [0, 3]]).check().unwrap_err().contains("went back"));
        let mut wrong = lines(&[[1, 2]]);
        wrong.lines[0][1].hash ^= 1;
        assert!(wrong.check().unwrap_err().contains("thread 1"));
        assert!(Progress::default().check().is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let one = Counter::start(0).further(7);
        std::fs::write(&path, format!("{one} {one}\nmemory same\n{one} 12")).unwrap();
        let progress = Progress::read(&path);
        assert_eq!(progress.lines, [[one, one]]);
        assert_eq!(progress.total(), 14);
        assert_eq!(progress.farewell.as_deref(), Some("memory same"));
    }
}
