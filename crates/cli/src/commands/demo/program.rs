//! What `rekindle demo` saves and brings back where there is no python3: the same as program.py, in Rust.

use super::progress::{Counter, THREADS};
use crate::failure::{Failure, Outcome};
use rekindle_sys::sigwait::{self, SignalSet};
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bytes that must be the same in the end.
const MEMORY: usize = 64 << 20;
/// Steps between two looks at whether to end.
const BURST: u64 = 20_000;

/// See the module's story.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process that it is the program of; it ends when that is gone
    parent: u32,
}

/// Counts until it is told to end by `SIGTERM`, or its parent is gone.
pub(crate) fn run(args: &Args) -> Outcome {
    let parent = args.parent;
    let failed = |error| Failure::io("the demo's program", &error);
    let term = SignalSet::of([Signal::TERM.as_raw()]);
    sigwait::hold(term).map_err(|errno| failed(errno.into()))?;
    let mut memory = vec![0; MEMORY];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut memory)).map_err(failed)?;
    let before = fold(&memory);
    let counters: Vec<_> = (0..THREADS).map(|index| Mutex::new(Counter::start(index))).collect();
    let ending = AtomicBool::new(false);
    let is_ending = || ending.load(Ordering::Relaxed) || std::os::unix::process::parent_id() != parent;
    std::thread::scope(|scope| -> std::io::Result<()> {
        for counter in &counters {
            scope.spawn(|| work(counter, &is_ending));
        }
        scope.spawn(|| {
            let _ = sigwait::wait(term);
            ending.store(true, Ordering::Relaxed);
        });
        while !is_ending() {
            std::thread::sleep(Duration::from_millis(10));
            let words: Vec<_> = counters.iter().map(|counter| read(counter).to_string()).collect();
            writeln!(std::io::stdout(), "{}", words.join(" "))?;
        }
        Ok(())
    })
    .map_err(failed)?;
    let same = if fold(&memory) == before { "same" } else { "changed" };
    writeln!(std::io::stdout(), "memory {same}").map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn read(counter: &Mutex<Counter>) -> Counter {
    *counter.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(counter: &Mutex<Counter>, is_ending: &impl Fn() -> bool) {
    while !is_ending() {
        let further = read(counter).further(BURST);
        *counter.lock().unwrap_or_else(PoisonError::into_inner) = further;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A number that depends on every byte.
fn fold(memory: &[u8]) -> u64 {
    let words =
        memory.chunks_exact(8).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    words.fold(0, |sum: u64, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}
