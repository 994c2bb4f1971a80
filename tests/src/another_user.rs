//! Subjects that run as a user without any privilege: saved and restored by the superuser, or by that user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ensure;
use crate::law::{self, Occasion};
use crate::program::Program;
use crate::rekindle::exit::REFUSED;
use crate::rekindle::{self, checkpoint, restore_detached};
use crate::scene::Scene;
use crate::snapshot::Snapshot;
use crate::subjects::Subject;
use crate::trial::{Context, Trouble, Verdict, needs, needs_root};

/// `nobody`: its number is the same everywhere.
const USER: u32 = 65534;
const AS_USER: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

fn scene() -> Verdict<Scene> {
    needs_root()?;
    needs(Path::new("/usr/bin/setpriv").exists(), "setpriv")?;
    let scene = Scene::new()?;
    let images = scene.images()?;
    let Some(top) = images.parent() else { return Ok(scene) };
    fs::set_permissions(top, Permissions::from_mode(0o755))?;
    fs::File::create(scene.errors())?;
    for path in [scene.directory(), images, scene.errors()] {
        chown(&path, Some(USER), Some(USER))?;
    }
    Ok(scene)
}

/// At its save point, where it gets there without privileges: not all subjects do.
fn at_save_point(subject: &Subject, scene: &Scene) -> Verdict<Program> {
    let executable = subject.executable()?;
    let words = [executable.to_string_lossy()];
    // In a group of its own: that of the harness has no number in another pid namespace.
    let words: Vec<&str> = AS_USER
        .into_iter()
        .chain(["setsid"])
        .chain(words.iter().map(AsRef::as_ref))
        .chain(subject.arguments.iter().copied())
        .collect();
    let mut program = Program::start(Path::new("/usr/bin/setpriv"), &words, scene)?;
    match program.await_save_point() {
        Err(Trouble::Failed(why)) => Err(Trouble::Needs(format!("root: {why}"))),
        verdict => verdict.map(|()| program),
    }
}

/// Not all subjects come to a good end without privileges, even when nothing is done to them.
fn comes_to_a_good_end(subject: &Subject) -> Verdict {
    match at_save_point(subject, &scene()?)?.go_on(Duration::ZERO) {
        Err(Trouble::Failed(why)) => Err(Trouble::Needs(format!("root: {why}"))),
        verdict => verdict,
    }
}

/// Killed and restored by the superuser: it is who it was, and may do no more.
pub fn as_another_user(subject: &Subject) -> Verdict {
    comes_to_a_good_end(subject)?;
    let scene = scene()?;
    let mut program = at_save_point(subject, &scene)?;
    let (pid, before) = (program.pid(), Snapshot::of(program.pid())?);
    let outcome = rekindle::run(&mut checkpoint(pid, &scene.image(), &["--kill"])?)?;
    if outcome.status.exit_status() == Some(REFUSED) && outcome.stderr.contains("run the program as root") {
        program.go_on(Duration::ZERO).context("after a refusal")?;
        return Err(Trouble::Needs(format!("the program's own rights to be root's: {}", outcome.stderr)));
    }
    outcome.succeeded()?;
    program.family().add(rekindle::pids_in(&scene.image())?);
    program.await_killed()?;
    let gone = Instant::now();
    let program = restore_detached(pid, &scene.image(), &scene)?;
    let gap = gone.elapsed();
    program.await_still()?;
    law::holds(&before, &Snapshot::of(pid)?, Occasion::Restored)?;
    program.go_on(gap)
}

/// `rekindle` with these arguments, run by the user.
fn command(scene: &Scene, arguments: &[&str]) -> Verdict<Command> {
    let copy = scene.directory().with_file_name("rekindle");
    if !copy.exists() {
        // By another process: one that another test starts meanwhile would hold ours open for writing.
        let copied = Command::new("cp").arg(rekindle::binary()?).arg(&copy).status()?;
        ensure!(copied.success(), "rekindle could not be copied");
    }
    let mut command = Command::new("setpriv");
    command.args(AS_USER).arg(copy).args(arguments).stdin(Stdio::null()).current_dir(scene.directory());
    Ok(command)
}

/// Killed and restored by the user itself. What that needs more rights for is refused by name, before anything is touched.
pub fn without_root(subject: &Subject) -> Verdict {
    comes_to_a_good_end(subject)?;
    let scene = scene()?;
    let image = scene.image();
    let image = image.to_string_lossy();
    let mut program = at_save_point(subject, &scene)?;
    let pid = program.pid().as_raw_nonzero().to_string();
    let outcome = rekindle::run(&mut command(&scene, &["checkpoint", &pid, "-o", &image, "--kill"])?)?;
    if outcome.status.exit_status() == Some(REFUSED) {
        let why = outcome.stderr.clone();
        outcome.refused(&[REFUSED], &[&pid])?;
        program.go_on(Duration::ZERO).context("after a refusal")?;
        return Err(Trouble::Needs(format!("root: {why}")));
    }
    outcome.succeeded()?;
    program.family().add(rekindle::pids_in(&scene.image())?);
    program.await_killed()?;
    let mut restoring = command(&scene, &["restore", &image])?;
    restoring.stdin(Stdio::piped());
    let (run, pipes) = rekindle::start_with_pipes(&mut restoring)?;
    let restorer = run.process().pid();
    let mut program = Program::of_restorer(restorer, run, pipes, &scene);
    program.say("go on -1")?;
    let line = program.line();
    let refused = program.errors();
    if line.is_err() && refused.contains("as root") {
        return Err(Trouble::Needs(refused));
    }
    let line = line?;
    ensure!(line == "ok", "the subject says: {line}{refused}");
    let status = program.end()?;
    ensure!(status.exit_status() == Some(0), "the subject said ok, but then: {status:?}{}", program.errors());
    Ok(())
}
