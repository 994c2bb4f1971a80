//! `rekindle demo`: the main job, on a real program, in seconds, told in plain words.
//!
//! ```text
//! the machine is asked ── a program is started ── saved and killed ── gone ── image verified ── restored
//!   ── goes on, has counted right ── ended
//! ```
//!
//! Whatever fails on the way is told with what to do about it; the program is killed and everything removed.

pub(crate) mod program;
mod progress;
mod subject;

use crate::failure::{Failure, Outcome};
use crate::show::{bytes, print, thousands, time};
use progress::Progress;
use rekindle::features::{self, Feature};
use rekindle::{Checkpoint, Restore};
use rekindle_foreground::interrupt::{Undone, Watch};
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use subject::Subject;

const ABOUT: &str = "\
It starts a program of its own (python3 with four threads, if there is one),
saves it, kills it, restores it, and shows that it goes on from where it was.
It takes seconds, and leaves nothing behind.
Exit code 0: all went as it should.
Exit code 3: this machine lacks something; `rekindle check` tells what.";

/// Show the main job on a real program, in seconds
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Args {
    /// Use the program that is part of rekindle, even if there is a python3
    #[arg(long)]
    no_python: bool,
}

/// How long the program counts before it is saved, and after.
const WHILE: Duration = Duration::from_millis(700);

/// Goes through all of it.
pub(crate) fn run(args: &Args) -> Outcome {
    let begun = Instant::now();
    machine_suffices()?;
    let ready = rekindle_sys::fs::become_subreaper()
        // Whatever we were started with is not the program's.
        .and_then(|()| rekindle_sys::fs::keep_descriptors_from_children());
    ready.map_err(|errno| Failure::io("getting ready", &errno.into()))?;
    let place = tempfile::Builder::new().prefix("rekindle-demo.").tempdir();
    let place = place.map_err(|error| Failure::io("making a temporary directory", &error))?;
    print("This saves a running program, kills it, and brings it back.\n\n")?;
    let mut subject = Subject::start(place.path(), !args.no_python)?;
    // After the start, as a program inherits what signals are held back. It ends by itself once its parent is gone.
    let leftovers = place.path().to_path_buf();
    let watch = Watch::begin(Failure::interrupted(false), move || {
        let _ = std::fs::remove_dir_all(&leftovers); // what cannot be removed stays
        Undone::Yes("nothing is left of the demo")
    })?;
    let image = place.path().join("program.rkd");
    started(&mut subject)?;
    saved(&mut subject, &image)?;
    gone(&mut subject)?;
    verified(&image)?;
    let before = Progress::read(subject.output()).total();
    restored(&mut subject, &image)?;
    goes_on(&mut subject, before)?;
    ended(&mut subject)?;
    watch.over();
    print(&format!(
        "\nAll as it should be, in {}. With a program of yours:\n\n  \
         rekindle check PID\n  rekindle checkpoint PID -o job.rkd --kill\n  rekindle restore job.rkd\n",
        time(begun.elapsed()),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// One step of the story: a word, and what happened.
fn tell(word: &str, what: &str) -> Result<(), Failure> {
    const INDENT: &str = "              ";
    print(&format!("  {word:12}{}\n", crate::show::wrapped(what, 90, INDENT)))
}

/// Nothing is begun that cannot be brought to its end.
fn machine_suffices() -> Result<(), Failure> {
    let features = features::probe();
    if features::suffice(&features) {
        return Ok(());
    }
    let mut message = "this machine, or the user you are, does not allow it:".to_owned();
    for Feature { name, without, .. } in features.iter().filter(|f| f.required && !f.present) {
        message.push_str(&format!("\n  {name}: {without}"));
    }
    Err(Failure::lacking(message))
}

fn started(subject: &mut Subject) -> Result<(), Failure> {
    subject.await_counting(0)?;
    subject.watch_for(WHILE)?;
    let total = thousands(Progress::read(subject.output()).total());
    tell(
        "started",
        &format!("process {}: {}; it has counted to {total} by now", subject.pid(), subject.what()),
    )
}

fn saved(subject: &mut Subject, image: &Path) -> Result<(), Failure> {
    let refusals = rekindle::checkpoint::check(subject.pid())?;
    if !refusals.is_empty() {
        return Err(rekindle::Error::Refused(refusals).into());
    }
    let report = Checkpoint::of(subject.pid()).kill(true).to_file(image)?;
    let what = format!(
        "in {}: {} threads, {} of memory, in one file of {}; then killed",
        time(report.took),
        report.tasks,
        bytes(report.page_bytes),
        bytes(report.image_bytes),
    );
    tell("saved", &what)
}

fn gone(subject: &mut Subject) -> Result<(), Failure> {
    let how = subject.reap()?;
    let pid = subject.pid();
    if Path::new(&format!("/proc/{pid}")).exists() {
        return Err(Failure::failed(format!("process {pid} should be gone, and is not")));
    }
    let total = thousands(Progress::read(subject.output()).total());
    tell("gone", &format!("{how}: there is no process {pid} any more; it had counted to {total}"))
}

fn verified(image: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    let failed = |error| Failure::io("opening the image", &error);
    let file = File::open(image).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let summary = rekindle_image::verify(&file, len, threads)?;
    let digest: String = summary.digest.to_string().chars().take(16).collect();
    tell(
        "verified",
        &format!("in {}: the file is whole; its digest begins with {digest}", time(begun.elapsed())),
    )
}

fn restored(subject: &mut Subject, image: &Path) -> Result<(), Failure> {
    let restored = Restore::from_file(image)?.spawn()?;
    subject.is_back();
    if restored.pid != subject.pid() {
        let message = format!("it was process {}, and is process {} now", subject.pid(), restored.pid);
        return Err(Failure::failed(message));
    }
    let report = restored.report;
    tell(
        "restored",
        &format!("in {}: process {} again, with all its threads", time(report.took), restored.pid),
    )
}

fn goes_on(subject: &mut Subject, before: u64) -> Result<(), Failure> {
    subject.await_counting(before)?;
    subject.watch_for(WHILE)?;
    let progress = Progress::read(subject.output());
    progress.check().map_err(|wrong| Failure::failed(format!("it runs again, but {wrong}")))?;
    let (before, now) = (thousands(before), thousands(progress.total()));
    tell(
        "goes on",
        &format!("from {before}, not from 0, and is at {now}; each hash it made is the right one"),
    )
}

fn ended(subject: &mut Subject) -> Result<(), Failure> {
    let how = subject.end()?;
    let farewell = Progress::read(subject.output()).farewell;
    if farewell.as_deref() != Some("memory same") {
        let message = format!("in the end its memory was not what it should be: it said {farewell:?}");
        return Err(Failure::failed(message));
    }
    tell("ended", &format!("when asked to, {how}; its 64 MiB of random bytes were the same to the last"))
}
