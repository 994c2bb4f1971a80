//! The ways a subject is taken: each begins at its save point and ends with its "ok".

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::another_user;
use crate::compile;
use crate::law::{self, Occasion};
use crate::program::{Process, Program};
use crate::rekindle::{self, checkpoint_and_kill, restore_detached, restore_in_foreground};
use crate::scene::Scene;
use crate::snapshot::Snapshot;
use crate::subjects::Subject;
use crate::trial::{Context, Verdict};

/// A name and what is done.
pub type Itinerary = (&'static str, fn(&Subject) -> Verdict);

/// All of them, the simplest first.
pub const ITINERARIES: &[Itinerary] = &[
    ("control", control),
    ("leave_running", leave_running),
    ("kill_and_restore", kill_and_restore),
    ("twice", twice),
    ("through_a_pipe", through_a_pipe),
    ("by_an_odd_restorer", by_an_odd_restorer),
    ("stopped_before", stopped_before),
    ("as_another_user", another_user::as_another_user),
    ("without_root", another_user::without_root),
];

/// Starts a subject and brings it to its save point.
pub fn at_save_point(subject: &Subject, scene: &Scene) -> Verdict<Program> {
    let mut program = Program::start(&subject.executable()?, subject.arguments, scene)?;
    program.await_save_point()?;
    Ok(program)
}

/// Takes a subject to its save point and its image, and kills it there: nothing has its pid, which is returned.
pub fn checkpointed(subject: &Subject, scene: &Scene) -> Verdict<Pid> {
    scene.images()?;
    let mut program = at_save_point(subject, scene)?;
    checkpoint_and_kill(&mut program, &scene.image())?;
    Ok(program.pid())
}

/// No checkpoint at all: what fails here is the subject's fault, not rekindle's.
fn control(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    at_save_point(subject, &scene)?.go_on(Duration::ZERO)
}

/// A checkpoint after which the program goes on: nothing of ours is left in it, and nothing of it is lost.
fn leave_running(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let program = at_save_point(subject, &scene)?;
    let before = Snapshot::of(program.pid())?;
    rekindle::run(&mut rekindle::checkpoint(program.pid(), &scene.image(), &[])?)?.succeeded()?;
    program.await_still()?;
    law::holds(&before, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    let image = scene.image().into_os_string();
    rekindle::run(&mut rekindle::command(["verify".into(), image])?)?.succeeded()?;
    program.go_on(Duration::ZERO)
}

/// Killed, and restored as our own child.
fn kill_and_restore(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(subject, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    checkpoint_and_kill(&mut program, &scene.image())?;
    let gone = Instant::now();
    let program = restore_detached(pid, &scene.image(), &scene)?;
    let gap = gone.elapsed();
    program.await_still()?;
    law::holds(&before, &Snapshot::of(pid)?, Occasion::Restored)?;
    program.go_on(gap)
}

/// Killed, and restored by a rekindle that was itself started with all kinds of settings that children inherit.
fn by_an_odd_restorer(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(subject, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    checkpoint_and_kill(&mut program, &scene.image())?;
    let gone = Instant::now();
    let mut odd = Command::new(compile::tool("odd")?);
    odd.arg(rekindle::binary()?).arg("restore").arg(scene.image()).arg("--detach").stdin(Stdio::piped());
    let (restoring, pipes) = rekindle::start_with_pipes(&mut odd)?;
    restoring.outcome()?.succeeded()?;
    let gap = gone.elapsed();
    let program = Program::child(Process::of(pid)?, pipes, &scene);
    program.await_still()?;
    law::holds(&before, &Snapshot::of(pid)?, Occasion::Restored)?;
    program.go_on(gap)
}

/// Checkpointed and left running before it is killed and restored: the kernel has restarted its calls once already, as
/// after ^Z and `fg`, which shows in their registers.
fn stopped_before(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(subject, &scene)?;
    rekindle::run(&mut rekindle::checkpoint(program.pid(), &scene.image(), &[])?)?.succeeded()?;
    program.await_still()?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    checkpoint_and_kill(&mut program, &scene.image())?;
    let gone = Instant::now();
    let program = restore_detached(pid, &scene.image(), &scene)?;
    let gap = gone.elapsed();
    program.await_still()?;
    law::holds(&before, &Snapshot::of(pid)?, Occasion::Restored)?;
    if subject.starts_over && !deadlines_are_told() { program.go_on_untimed() } else { program.go_on(gap) }
}

/// Killed and restored, and the restored one killed and restored again; the restorer stays its parent.
fn twice(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(subject, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    let mut gap = Duration::ZERO;
    for round in ["first", "second"] {
        checkpoint_and_kill(&mut program, &scene.image()).context(format!("the {round} time"))?;
        let gone = Instant::now();
        program = restore_in_foreground(pid, &scene.image(), &scene).context(format!("the {round} time"))?;
        gap += gone.elapsed();
        let after = Snapshot::of(pid)?;
        law::holds(&before, &after, Occasion::RestoredInForeground).context(format!("the {round} time"))?;
    }
    if subject.starts_over && !deadlines_are_told() { program.go_on_untimed() } else { program.go_on(gap) }
}

/// `rekindle checkpoint PID --kill -o - | rekindle restore -`: no file in between. The image was standard input, so that the
/// subject finds the end of it when it reads on, and ends by itself.
fn through_a_pipe(subject: &Subject) -> Verdict {
    let scene = Scene::new()?;
    let mut program = at_save_point(subject, &scene)?;
    let pid = program.pid();
    let (image_out, image_in) = rekindle::pipe()?;
    let mut checkpoint = rekindle::checkpoint(pid, "-".as_ref(), &["--kill"])?;
    checkpoint.stdout(Stdio::from(image_in));
    let saving = rekindle::start_with_output(&mut checkpoint)?;
    let mut restore = rekindle::restore("-".as_ref(), &[])?;
    restore.stdin(Stdio::from(image_out));
    let (restoring, pipes) = rekindle::start_with_pipes(&mut restore)?;
    drop((checkpoint, restore)); // they hold our copies of the pipe's ends
    rekindle::finish_pipeline(&mut program, saving, restoring, pipes, &scene)
}

/// Whether the kernel tells us when the timers are due by which tasks sleep.
fn deadlines_are_told() -> bool {
    std::fs::read("/proc/timer_list").is_ok()
}
