//! Ten generations, each the restored one of the last; and an image that comes one byte at a time.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rekindle_tests::fail;
use rekindle_tests::itinerary::at_save_point;
use rekindle_tests::law::{self, Occasion};
use rekindle_tests::program::Program;
use rekindle_tests::rekindle::{
    self, checkpoint, checkpoint_and_kill, restore, restore_detached, restore_in_foreground,
};
use rekindle_tests::scene::Scene;
use rekindle_tests::snapshot::Snapshot;
use rekindle_tests::subjects::{NOLIBC, SUBJECTS, Subject};
use rekindle_tests::trial::{Context as _, Verdict, run, trial};
use rekindle_tests::worker::Worker;
use rustix::pipe::{PipeFlags, pipe_with};

fn main() -> ExitCode {
    run(vec![
        trial("ten_generations::worker_at_work", ten_generations_at_work),
        trial("ten_generations::detached", || ten_generations("threads", restore_detached)),
        trial("ten_generations::in_foreground", || ten_generations("thread_ends", restore_in_foreground)),
        trial("ten_generations::many_mappings", || ten_generations("many_mappings", restore_detached)),
        trial("byte_by_byte::smallest", || byte_by_byte(&NOLIBC)),
        trial("byte_by_byte::with_threads", || byte_by_byte(named("thread_ends")?)),
    ])
}

fn named(name: &str) -> Verdict<&'static Subject> {
    match SUBJECTS.iter().find(|subject| subject.name == name) {
        Some(subject) => Ok(subject),
        None => fail!("there is no subject {name}"),
    }
}

/// At whatever moment of its work; nothing is lost in any of the ten.
fn ten_generations_at_work() -> Verdict {
    let scene = Scene::new()?;
    let mut worker = Worker::start(&scene)?;
    for generation in 1..=10 {
        worker.goes_on().context(format!("generation {generation}"))?;
        checkpoint_and_kill(worker.program(), &scene.image()).context(format!("generation {generation}"))?;
        let restored = restore_detached(worker.pid(), &scene.image(), &scene);
        worker = worker.reborn(restored.context(format!("generation {generation}"))?);
    }
    worker.is_whole(Occasion::Restored)
}

type Restore = fn(rustix::process::Pid, &std::path::Path, &Scene) -> Verdict<Program>;

/// At the save point, the tenth is what the first was.
fn ten_generations(name: &str, restore: Restore) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(named(name)?, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    let mut gap = Duration::ZERO;
    for generation in 1..=10 {
        checkpoint_and_kill(&mut program, &scene.image()).context(format!("generation {generation}"))?;
        let gone = Instant::now();
        program = restore(pid, &scene.image(), &scene).context(format!("generation {generation}"))?;
        gap += gone.elapsed();
        program.await_still()?;
        law::holds(&before, &Snapshot::of(pid)?, Occasion::RestoredInForeground)
            .context(format!("generation {generation}"))?;
    }
    program.go_on(gap)
}

/// `checkpoint --kill -o - | ... | restore -`, with something in between that passes on one byte at a time, in a pipe that
/// keeps them apart (O_DIRECT, pipe(2)): each read gets one byte.
fn byte_by_byte(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    let mut program = at_save_point(subject, &scene)?;
    let pid = program.pid();
    let (image_out, image_in) = rekindle::pipe()?;
    let (bytes_out, bytes_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT)?;
    let mut checkpoint = checkpoint(pid, "-".as_ref(), &["--kill"])?;
    let saving = rekindle::start_with_output(checkpoint.stdout(Stdio::from(image_in)))?;
    let mut restore = restore("-".as_ref(), &[])?;
    let (restoring, pipes) = rekindle::start_with_pipes(restore.stdin(Stdio::from(bytes_out)))?;
    drop((checkpoint, restore)); // they hold our copies of the pipes' ends
    let dribble = thread::spawn(move || dribble(image_out.into(), bytes_in.into()));
    rekindle::finish_pipeline(&mut program, saving, restoring, pipes, &scene)?;
    match dribble.join() {
        Ok(passed) => passed.context("passing bytes on"),
        Err(_) => fail!("the thread that passes bytes on has panicked"),
    }
}

/// Ends at the end of the image, or when nobody reads any more.
fn dribble(mut from: File, mut to: File) -> std::io::Result<()> {
    let mut bytes = vec![0; 65536];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        for byte in bytes.iter().take(count) {
            to.write_all(std::slice::from_ref(byte))?;
        }
    }
}
