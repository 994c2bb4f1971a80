//! First, harm none: whatever befalls `rekindle checkpoint`, the program goes on, its work is right, and nothing of ours is in
//! it; whatever befalls `rekindle restore`, there is the whole program or none.
//!
//! What befalls them: SIGKILL at random instants, death and failure at every point that `rekindle fault-points` names, SIGINT,
//! a full disk, a reader that goes away.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rekindle_tests::law::Occasion;
use rekindle_tests::random::{Random, number_from_env};
use rekindle_tests::rekindle::exit::{FAILED, OK};
use rekindle_tests::rekindle::{self, FAULT, checkpoint, checkpoint_and_kill, restore, restore_detached};
use rekindle_tests::scene::Scene;
use rekindle_tests::trial::{Context as _, Trouble, Verdict, needs_root, run, trial};
use rekindle_tests::worker::Worker;
use rekindle_tests::{ensure, fail};
use rustix::process::Signal;

fn main() -> ExitCode {
    let mut trials = vec![
        trial("control::worker_left_alone", || left_alone(Worker::start)),
        trial("control::tree_of_workers_left_alone", || left_alone(Worker::start_tree)),
        trial("checkpoint::interrupted_at_random_instants", checkpoint_interrupted_at_random_instants),
        trial("checkpoint::no_space_on_device", no_space_on_device),
        trial("checkpoint::no_space_for_file", no_space_for_file),
        trial("checkpoint::reader_goes_away", reader_goes_away),
    ];
    for (of, start, rounds) in SUBJECTS {
        trials.push(trial(format!("checkpoint::killed_at_random_instants::{of}"), move || {
            checkpoint_killed_at_random_instants(start, rounds())
        }));
        trials.push(trial(format!("checkpoint_and_kill::killed_at_random_instants::{of}"), move || {
            checkpoint_and_kill_killed_at_random_instants(start, rounds().div_ceil(3))
        }));
        trials.push(trial(format!("restore::killed_at_random_instants::{of}"), move || {
            restore_killed_at_random_instants(start, rounds())
        }));
    }
    trials.extend(fault_trials());
    run(trials)
}

/// How a worker is started.
type Start = fn(&Scene) -> Verdict<Worker>;

/// A name, how it is started, and how many instants are tried.
type Swept = (&'static str, Start, fn() -> u64);

/// What sweeps go over.
const SUBJECTS: [Swept; 2] =
    [("process", Worker::start, instants), ("tree", Worker::start_tree, || instants().div_ceil(2))];

/// How many instants a sweep tries.
fn instants() -> u64 {
    number_from_env("REKINDLE_TEST_INSTANTS", 60)
}

/// Says which instant it was when something is wrong, so that it can be tried again.
fn instant(round: u64, delay: Duration) -> String {
    format!("round {round}, {} us after the start", delay.as_micros())
}

/// An instant in the time that a run takes, or shortly after it.
fn within(random: &mut Random, run: Duration) -> Duration {
    let micros = u64::try_from(run.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random.below(micros + micros / 5))
}

/// How long one undisturbed checkpoint takes.
fn time_of_checkpoint(worker: &Worker, scene: &Scene) -> Verdict<Duration> {
    let start = Instant::now();
    rekindle::run(&mut checkpoint(worker.pid(), &scene.image(), &[])?)?.succeeded()?;
    Ok(start.elapsed())
}

/// What fails here is the test's fault, not rekindle's.
fn left_alone(start: Start) -> Verdict {
    let scene = Scene::new()?;
    let mut worker = start(&scene)?;
    for _ in 0..10 {
        worker.goes_on()?;
    }
    worker.is_whole(Occasion::LeftRunning)
}

fn checkpoint_killed_at_random_instants(start: Start, rounds: u64) -> Verdict {
    let scene = Scene::new()?;
    let mut worker = start(&scene)?;
    let time = time_of_checkpoint(&worker, &scene)?;
    let mut random = Random::named("checkpoint killed");
    for round in 0..rounds {
        let delay = within(&mut random, time);
        let run = rekindle::start(&mut checkpoint(worker.pid(), &scene.image(), &[])?)?;
        if !run.process().ends_within(delay)? {
            run.process().signal(Signal::KILL)?;
        }
        run.outcome()?;
        worker.goes_on().context(instant(round, delay))?;
    }
    worker.is_whole(Occasion::LeftRunning)
}

/// With `--kill` the program may be dead; but only when its image is complete.
fn checkpoint_and_kill_killed_at_random_instants(start: Start, rounds: u64) -> Verdict {
    let scene = Scene::new()?;
    let mut worker = start(&scene)?;
    let time = time_of_checkpoint(&worker, &scene)?;
    let mut random = Random::named("checkpoint --kill killed");
    for round in 0..rounds {
        let delay = within(&mut random, time);
        fs::remove_file(scene.image()).ok();
        let run = rekindle::start(&mut checkpoint(worker.pid(), &scene.image(), &["--kill"])?)?;
        if !run.process().ends_within(delay)? {
            run.process().signal(Signal::KILL)?;
        }
        run.outcome()?;
        if worker.has_been_killed()? {
            let restored =
                restore_detached(worker.pid(), &scene.image(), &scene).context(instant(round, delay))?;
            worker = worker.reborn(restored);
        }
        worker.goes_on().context(instant(round, delay))?;
    }
    worker.is_whole(Occasion::Restored)
}

fn restore_killed_at_random_instants(start: Start, rounds: u64) -> Verdict {
    let scene = Scene::new()?;
    let mut worker = start(&scene)?;
    checkpoint_and_kill(worker.program(), &scene.image())?;
    let begin = Instant::now();
    let restored = restore_detached(worker.pid(), &scene.image(), &scene)?;
    let time = begin.elapsed();
    worker = worker.reborn(restored);
    checkpoint_and_kill(worker.program(), &scene.image())?;
    let files = worker.keep_files()?;
    let mut random = Random::named("restore killed");
    for round in 0..rounds {
        let delay = within(&mut random, time);
        let (run, pipes) = rekindle::start_with_pipes(restore(&scene.image(), &[])?.stdin(Stdio::piped()))?;
        if !run.process().ends_within(delay)? {
            run.process().signal(Signal::KILL)?;
        }
        run.outcome()?;
        worker.gone_or_whole(pipes, &scene).context(instant(round, delay))?;
    }
    files.put_back()?;
    let restored = restore_detached(worker.pid(), &scene.image(), &scene)?;
    worker.reborn(restored).is_whole(Occasion::Restored)
}

/// Whoever presses Ctrl-C gets the program back as it was, and no half of an image.
fn checkpoint_interrupted_at_random_instants() -> Verdict {
    let scene = Scene::new()?;
    let mut worker = Worker::start(&scene)?;
    let time = time_of_checkpoint(&worker, &scene)?;
    let mut random = Random::named("checkpoint interrupted");
    for round in 0..instants().div_ceil(3) {
        let delay = within(&mut random, time);
        fs::remove_file(scene.image()).ok();
        let run = rekindle::start(&mut checkpoint(worker.pid(), &scene.image(), &[])?)?;
        if !run.process().ends_within(delay)? {
            run.process().signal(Signal::INT)?;
        }
        let outcome = run.outcome()?;
        worker.goes_on().context(instant(round, delay))?;
        // it may have come too late to matter: then the image is there, and whole
        if outcome.status.exit_status() == Some(OK) || scene.image().exists() {
            rekindle::run(&mut rekindle::command(["verify".as_ref(), scene.image().as_os_str()])?)?
                .succeeded()?;
            fs::remove_file(scene.image())?;
        }
        scene.no_image_left().context(instant(round, delay))?;
    }
    worker.is_whole(Occasion::LeftRunning)
}

/// The failure may have come too late to matter: then the image is there, and whole. It is removed.
fn no_half_image(scene: &Scene) -> Verdict {
    if scene.image().exists() {
        rekindle::run(&mut rekindle::command(["verify".as_ref(), scene.image().as_os_str()])?)?
            .succeeded()?;
        fs::remove_file(scene.image())?;
    }
    scene.no_image_left()
}

fn no_space_on_device() -> Verdict {
    let scene = Scene::new()?;
    let worker = Worker::start(&scene)?;
    let mut command = checkpoint(worker.pid(), "-".as_ref(), &["--kill"])?;
    command.stdout(OpenOptions::new().write(true).open("/dev/full")?);
    let outcome = rekindle::start_with_output(&mut command)?.outcome()?;
    outcome.refused(&[FAILED], &["No space left on device"])?;
    worker.is_whole(Occasion::LeftRunning)
}

fn no_space_for_file() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let worker = Worker::start(&scene)?;
    let disk = SmallDisk::mount(&scene)?;
    let outcome = rekindle::run(&mut checkpoint(worker.pid(), &disk.0.join("image"), &["--kill"])?)?;
    outcome.refused(&[FAILED], &["No space left on device"])?;
    ensure!(fs::read_dir(&disk.0)?.count() == 0, "the failed checkpoint has left something on the full disk");
    drop(disk);
    worker.is_whole(Occasion::LeftRunning)
}

/// A file system of 256 KiB, until dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(scene: &Scene) -> Verdict<Self> {
        let path = scene.images()?;
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "small"]).arg(&path).output()?;
        if !mount.status.success() {
            return Err(Trouble::Needs("the right to mount a file system".to_owned()));
        }
        Ok(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// As `rekindle checkpoint PID --kill -o - | head -c 100000` does it.
fn reader_goes_away() -> Verdict {
    let scene = Scene::new()?;
    let worker = Worker::start(&scene)?;
    let (read_end, write_end) = rekindle::pipe()?;
    let mut command = checkpoint(worker.pid(), "-".as_ref(), &["--kill"])?;
    let run = rekindle::start_with_output(command.stdout(Stdio::from(write_end)))?;
    drop(command);
    let mut reader = File::from(read_end);
    let mut bytes = vec![0; 100_000];
    reader.read_exact(&mut bytes).context("the first 100 000 bytes")?;
    drop(reader);
    run.outcome()?.refused(&[FAILED], &["pipe"])?;
    worker.is_whole(Occasion::LeftRunning)
}

// ---- named fault points

/// One test for each point and each way to go wrong there; if the points cannot be had, one test that says so.
fn fault_trials() -> Vec<Trial> {
    match fault_points() {
        Ok(points) => points
            .into_iter()
            .flat_map(|point| ["kill", "error"].map(|way| (point.clone(), way)))
            .flat_map(|(point, way)| SUBJECTS.map(|(of, start, _)| (of, start, point.clone(), way)))
            // A failure is undone alike for one process and for many; a death is not.
            .filter(|(of, _, _, way)| *of == "process" || *way == "kill")
            .map(|(of, start, point, way)| fault_trial(of, start, &point, way))
            .collect(),
        Err(trouble) => vec![trial("fault::points_are_listed", || Err(trouble))],
    }
}

fn fault_trial(of: &str, start: Start, point: &str, way: &'static str) -> Trial {
    let point = point.to_owned();
    trial(format!("fault::{point}::{way}::{of}"), move || fault_at(start, &point, way))
}

fn fault_points() -> Verdict<Vec<String>> {
    let outcome = rekindle::run(&mut rekindle::command(["fault-points"])?)?.succeeded()?;
    let points: Vec<_> = String::from_utf8_lossy(&outcome.stdout).lines().map(str::to_owned).collect();
    ensure!(!points.is_empty(), "rekindle fault-points lists none");
    Ok(points)
}

/// Takes a worker through a checkpoint, a checkpoint with `--kill`, and a restore, each with the fault; one must meet it.
fn fault_at(start: Start, point: &str, way: &str) -> Verdict {
    let scene = Scene::new()?;
    let mut worker = start(&scene)?;
    let fault = format!("{point}:{way}");
    let met_running = fault_in_checkpoint(&mut worker, &scene, &fault, &[]).context("checkpoint")?;
    worker.looks_as_before(Occasion::LeftRunning).context("after checkpoint")?;
    fs::remove_file(scene.image()).ok();
    let met_killing =
        fault_in_checkpoint(&mut worker, &scene, &fault, &["--kill"]).context("checkpoint --kill")?;
    if !worker.has_been_killed()? {
        worker.goes_on().context("after checkpoint --kill")?;
        checkpoint_and_kill(worker.program(), &scene.image())?;
    }
    let files = worker.keep_files()?;
    let met_restoring = fault_in_restore(&worker, &scene, &fault).context("restore")?;
    ensure!(
        met_running || met_killing || met_restoring,
        "neither checkpoint nor restore passes the point {point}"
    );
    files.put_back()?;
    let restored = restore_detached(worker.pid(), &scene.image(), &scene);
    let restored = restored.context("restore without a fault")?;
    worker.reborn(restored).is_whole(Occasion::Restored)
}

/// Whether the fault struck. An error is said and cleaned up after; sudden death is neither.
fn fault_in_checkpoint(worker: &mut Worker, scene: &Scene, fault: &str, extra: &[&str]) -> Verdict<bool> {
    let outcome = rekindle::run(checkpoint(worker.pid(), &scene.image(), extra)?.env(FAULT, fault))?;
    if outcome.status.exit_status() == Some(OK) {
        return Ok(false);
    }
    if outcome.status.terminating_signal() == Some(Signal::KILL.as_raw()) {
        return Ok(true);
    }
    outcome.refused(&[FAILED], &[])?;
    if !worker.program().our_child().ends_within(Duration::ZERO)? {
        no_half_image(scene)?;
    }
    Ok(true)
}

fn fault_in_restore(worker: &Worker, scene: &Scene, fault: &str) -> Verdict<bool> {
    let mut command = restore(&scene.image(), &["--detach"])?;
    let (run, pipes) = rekindle::start_with_pipes(command.stdin(Stdio::piped()).env(FAULT, fault))?;
    let outcome = run.outcome()?;
    let struck = outcome.status.exit_status() != Some(OK);
    if struck && outcome.status.terminating_signal().is_none() {
        outcome.refused(&[FAILED], &[])?;
    }
    worker.gone_or_whole(pipes, scene)?;
    if !struck && rustix::process::test_kill_process(worker.pid()).is_ok() {
        fail!("the restored program was to be ended");
    }
    Ok(struck)
}
