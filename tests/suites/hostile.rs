//! Hostile images: thousands of damaged copies of a real one. Each is refused with a sentence and the exit code for bad images;
//! nothing panics, no process comes to be, and memory stays bounded.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rekindle_tests::itinerary::checkpointed;
use rekindle_tests::random::{Random, number_from_env};
use rekindle_tests::rekindle::{self, Outcome, exit::BAD_IMAGE};
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::NOLIBC;
use rekindle_tests::trial::{Context as _, Verdict, run, trial};
use rekindle_tests::{compile, ensure, fail};
use rustix::process::Pid;

/// What reading a bad image of a few hundred KiB may take, in KiB: the bound for an image of any size.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

fn main() -> ExitCode {
    run(vec![
        trial("truncated", || sweep("truncated", many(), truncated, RestoreFile)),
        trial("bit_flipped", || sweep("bit flipped", many(), bit_flipped, RestoreFile)),
        trial("overwritten", || sweep("overwritten", many(), overwritten, RestoreFile)),
        trial("piece_moved", || sweep("piece moved", many(), piece_moved, RestoreFile)),
        trial("any_through_a_pipe", || sweep("any, through a pipe", many() / 5, any, RestorePipe)),
        trial("any_verified", || sweep("any, verified", many() / 5, any, Verify)),
    ])
}

fn many() -> u64 {
    number_from_env("REKINDLE_TEST_HOSTILE", 500)
}

// ---- damage: makes another image of a good one, and says how

type Damage = fn(&mut Random, u64, &[u8]) -> (Vec<u8>, String);

fn place(random: &mut Random, bytes: &[u8]) -> usize {
    usize::try_from(random.below(bytes.len() as u64)).unwrap_or(0)
}

/// First at each of the first and last hundred places, where headers and footers are, then anywhere.
fn truncated(random: &mut Random, round: u64, good: &[u8]) -> (Vec<u8>, String) {
    let round = usize::try_from(round).unwrap_or(0);
    let length = match round {
        0..100 => round,
        100..200 => good.len().saturating_sub(round - 99),
        _ => place(random, good),
    };
    (good.get(..length).unwrap_or(good).to_vec(), format!("cut to {length} bytes"))
}

fn bit_flipped(random: &mut Random, _: u64, good: &[u8]) -> (Vec<u8>, String) {
    let (mut bytes, at, bit) = (good.to_vec(), place(random, good), random.below(8));
    bytes[at] ^= 1 << bit;
    (bytes, format!("bit {bit} of byte {at} flipped"))
}

/// With random bytes, with zeros, with ones: up to 64 of them.
fn overwritten(random: &mut Random, round: u64, good: &[u8]) -> (Vec<u8>, String) {
    let (mut bytes, at) = (good.to_vec(), place(random, good));
    let length = 1 + random.below(64);
    for byte in bytes.iter_mut().skip(at).take(usize::try_from(length).unwrap_or(0)) {
        let new = [random.below(256).to_le_bytes()[0], 0, 0xff][usize::try_from(round % 3).unwrap_or(0)];
        *byte = if new == *byte { !new } else { new };
    }
    (bytes, format!("{length} bytes from {at} on overwritten"))
}

/// A piece is missing, or is there twice; its length is sometimes a multiple of what frames are aligned to.
fn piece_moved(random: &mut Random, round: u64, good: &[u8]) -> (Vec<u8>, String) {
    let unit = [1, 8, 4096][usize::try_from(random.below(3)).unwrap_or(0)];
    let from = place(random, good) / unit * unit;
    let length = (unit * (1 + place(random, &good[..100.min(good.len())]))).min(good.len() - from);
    let (head, tail) = good.split_at(from);
    let bytes = if round.is_multiple_of(2) {
        [head, tail.get(length..).unwrap_or_default()].concat()
    } else {
        [head, tail.get(..length).unwrap_or_default(), tail].concat()
    };
    let what = if round.is_multiple_of(2) { "missing" } else { "doubled" };
    (bytes, format!("{length} bytes from {from} on {what}"))
}

fn any(random: &mut Random, round: u64, good: &[u8]) -> (Vec<u8>, String) {
    let ways: [Damage; 4] = [truncated, bit_flipped, overwritten, piece_moved];
    ways[usize::try_from(round % 4).unwrap_or(0)](random, 1000 + round / 4, good)
}

// ---- reading

/// Who reads the damaged image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    RestoreFile,
    RestorePipe,
    Verify,
}
use Reader::{RestoreFile, RestorePipe, Verify};

impl Reader {
    fn command(self, image: &Path) -> Verdict<Command> {
        let (mut command, binary) = (Command::new(compile::tool("bounded")?), rekindle::binary()?);
        match self {
            RestoreFile => command.arg(binary).arg("restore").arg(image),
            RestorePipe => {
                command.args(["/bin/sh", "-c", "cat \"$1\" | \"$0\" restore -"]).arg(binary).arg(image)
            }
            Verify => command.arg(binary).arg("verify").arg(image),
        };
        Ok(command)
    }

    /// Whether this reader is to see the damage. What follows the end of an image in a pipe is no business of its reader.
    fn sees(self, bad: &[u8], good: &[u8]) -> bool {
        bad != good && !(self == RestorePipe && bad.starts_with(good))
    }
}

fn sweep(name: &str, rounds: u64, damage: Damage, reader: Reader) -> Verdict {
    let scene = Scene::new()?;
    let pid = checkpointed(&NOLIBC, &scene)?;
    let good = fs::read(scene.image())?;
    ensure!(good.len() > 1000, "the image has only {} bytes", good.len());
    let mut random = Random::named(name);
    let bad = scene.images()?.join("bad");
    for round in 0..rounds {
        let (bytes, what) = damage(&mut random, round, &good);
        if !reader.sees(&bytes, &good) {
            continue;
        }
        fs::write(&bad, bytes)?;
        refused(&bad, pid, reader).context(format!("round {round}: {what} of {}", good.len()))?;
    }
    Ok(())
}

fn refused(bad: &Path, pid: Pid, reader: Reader) -> Verdict {
    let outcome = rekindle::run(reader.command(bad)?.stdin(Stdio::null()))?.succeeded()?;
    let told = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let Some((memory_kib, status)) = cost(&told) else { fail!("the measuring tool says '{told}'") };
    ensure!(status == BAD_IMAGE, "exit code {status}: {}, {told}", outcome.stderr);
    ensure!(has_sentence(&outcome), "no sentence: {outcome}");
    ensure!(memory_kib <= MEMORY_LIMIT_KIB, "it took {memory_kib} KiB of memory");
    // the number may have come round to somebody else's process
    let executable = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).unwrap_or_default();
    let ours = executable == NOLIBC.executable()? || executable == fs::canonicalize(rekindle::binary()?)?;
    ensure!(!ours, "there is a process {}: {}", pid.as_raw_nonzero(), executable.display());
    Ok(())
}

fn has_sentence(outcome: &Outcome) -> bool {
    outcome.stderr.lines().any(|line| line.starts_with("error: ")) && !outcome.stderr.contains("panicked")
}

/// "maxrss_kib N status N", the last line.
fn cost(told: &str) -> Option<(u64, i32)> {
    let mut words = told.lines().last()?.split(' ');
    let (Some("maxrss_kib"), Some(memory), Some("status"), Some(status)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    Some((memory.parse().ok()?, status.parse().ok()?))
}
