//! Clocks on another boot and another machine, and programs that wait for a time.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rekindle_tests::itinerary::checkpointed;
use rekindle_tests::program::{Process, Program};
use rekindle_tests::rekindle::exit::DOES_NOT_FIT;
use rekindle_tests::rekindle::{self, checkpoint_and_kill, restore, restore_detached, restore_in_foreground};
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::{CLOCKS, RSEQ_SECTION};
use rekindle_tests::trial::{Verdict, needs, run, trial};
use rekindle_tests::{compile, ensure};
use rustix::process::{Pid, Signal};

fn main() -> ExitCode {
    run(vec![
        trial("clocks::machine_up_for_long", || on_another_boot(LONG_S)),
        trial("clocks::after_a_reboot", || on_another_boot(SHORT_S)),
        trial("clocks::host_lets_them_jump", host_lets_them_jump),
        trial("clocks::refused_without_the_right", refused_without_the_right),
        trial("clocks::kept_on_the_same_boot", kept_on_the_same_boot),
        trial("clocks::in_a_namespace_twice", in_a_namespace_twice),
        trial("clocks::other_boot_then_here", other_boot_then_here),
        trial("programs::sleep", || ends_in_time("/usr/bin/sleep", &["6"], 0)),
        trial("programs::timeout", || ends_in_time("/usr/bin/timeout", &["6", "sleep", "60"], 124)),
        trial("programs::date_and_sleep", date_and_sleep),
        trial("rseq::section_is_aborted", section_is_aborted),
    ])
}

/// Years, in seconds: no machine that runs this is up for so long.
const LONG_S: &str = "500000000";
/// A machine that has just started.
const SHORT_S: &str = "5";
const OTHER_BOOT: &str = "b00b00b0-0000-4000-8000-00000000b007\n";

fn needs_namespaces() -> Verdict {
    let may = rustix::process::geteuid().is_root() && fs::exists("/proc/self/ns/time")?;
    needs(may, "root, and a kernel with time namespaces")
}

/// `rekindle restore --detach` as on another boot, whose clocks are at `seconds`.
fn restore_elsewhere(seconds: &str, scene: &Scene, options: &[&str]) -> Verdict<Command> {
    let boot = scene.directory().join("boot_id");
    fs::write(&boot, OTHER_BOOT)?;
    let mut command = Command::new(compile::tool("elsewhere")?);
    command.arg(seconds).arg(boot).arg(rekindle::binary()?).arg("restore").arg(scene.image()).args(options);
    command.arg("--detach").stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

fn restored_elsewhere(pid: Pid, seconds: &str, scene: &Scene, options: &[&str]) -> Verdict<Program> {
    let mut command = restore_elsewhere(seconds, scene, options)?;
    let (restoring, pipes) = rekindle::start_with_pipes(&mut command)?;
    restoring.outcome()?.succeeded()?;
    Ok(Program::child(Process::of(pid)?, pipes, scene))
}

/// The program's clocks go on from where they were.
fn on_another_boot(seconds: &str) -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    let pid = checkpointed(&CLOCKS, &scene)?;
    restored_elsewhere(pid, seconds, &scene, &[])?.go_on(Duration::ZERO)
}

/// The program itself finds that they do, which also shows that the other tests see anything.
fn host_lets_them_jump() -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    let pid = checkpointed(&CLOCKS, &scene)?;
    let mut program = restored_elsewhere(pid, LONG_S, &scene, &["--clocks", "host"])?;
    program.say("go on 0")?;
    let line = program.line()?;
    ensure!(line.contains("jumped ahead"), "the program says '{line}'");
    program.end()?;
    Ok(())
}

/// Who may not make a namespace is told what it is for, and what to do.
fn refused_without_the_right() -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    checkpointed(&CLOCKS, &scene)?;
    let boot = scene.directory().join("boot_id");
    fs::write(&boot, OTHER_BOOT)?;
    let mut command = Command::new(compile::tool("elsewhere")?);
    command.arg(LONG_S).arg(boot).arg("/usr/bin/setpriv");
    command.args(["--bounding-set=-sys_time", "--inh-caps=-sys_time"]).arg(rekindle::binary()?);
    command.arg("restore").arg(scene.image()).arg("--detach");
    rekindle::run(command.stdin(Stdio::null()))?
        .refused(&[DOES_NOT_FIT], &["CLOCK_MONOTONIC", "CAP_SYS_TIME", "--clocks host"])?;
    Ok(())
}

/// What the restorer reads at another time is not what the program reads.
fn kept_on_the_same_boot() -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    let pid = checkpointed(&CLOCKS, &scene)?;
    let mut command = restore(&scene.image(), &["--clocks", "keep", "--detach"])?;
    command.stdin(Stdio::piped());
    let (restoring, pipes) = rekindle::start_with_pipes(&mut command)?;
    restoring.outcome()?.succeeded()?;
    let program = Program::child(Process::of(pid)?, pipes, &scene);
    let own = fs::read_link("/proc/self/ns/time")?;
    ensure!(
        fs::read_link(format!("/proc/{}/ns/time", pid.as_raw_nonzero()))? != own,
        "no namespace was made"
    );
    program.go_on(Duration::ZERO)
}

/// A program that lives in a time namespace gets its clocks again, each time.
fn in_a_namespace_twice() -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    scene.images()?;
    let subject = CLOCKS.executable()?;
    let arguments = [LONG_S, "-", &subject.to_string_lossy()];
    let mut program = Program::start(&compile::tool("elsewhere")?, &arguments, &scene)?;
    program.await_save_point()?;
    let pid = program.pid();
    for _ in 0..2 {
        checkpoint_and_kill(&mut program, &scene.image())?;
        program = restore_in_foreground(pid, &scene.image(), &scene)?;
    }
    program.go_on_untimed()
}

/// Restored on another boot, and from there on the first again: as it went there, so it comes back.
fn other_boot_then_here() -> Verdict {
    needs_namespaces()?;
    let scene = Scene::new()?;
    let pid = checkpointed(&CLOCKS, &scene)?;
    let mut program = restored_elsewhere(pid, LONG_S, &scene, &[])?;
    program.await_still()?;
    program.family().note();
    let mut saving = Command::new(compile::tool("elsewhere")?);
    saving.arg(LONG_S).arg(scene.directory().join("boot_id")).args(["/usr/bin/nsenter", "-t"]);
    saving.arg(pid.as_raw_nonzero().to_string()).arg("-m").arg(rekindle::binary()?);
    saving.args(["checkpoint", "--kill", &pid.as_raw_nonzero().to_string(), "-o"]).arg(scene.image());
    rekindle::run(saving.stdin(Stdio::null()))?.succeeded()?;
    program.await_killed()?;
    restore_detached(pid, &scene.image(), &scene)?.go_on(Duration::ZERO)
}

/// How long the programs run that end in time, and the most that they may take on a busy machine: less than what one takes
/// that starts over after four seconds.
const LENGTH: Duration = Duration::from_secs(6);
const LENGTH_MAX: Duration = Duration::from_millis(9500);

/// A program that runs for six seconds by the clock is killed and restored after two of them, and after four: it ends after six
/// that it lived.
fn ends_in_time(program: &str, arguments: &[&str], code: i32) -> Verdict {
    needs(Path::new(program).exists(), program)?;
    let scene = Scene::new()?;
    scene.images()?;
    let mut lived = Duration::ZERO;
    let mut begin = Instant::now();
    let mut program = Program::start(Path::new(program), arguments, &scene)?;
    for seconds in [2, 4] {
        // Time itself is what the test is about.
        std::thread::sleep(Duration::from_secs(seconds).saturating_sub(lived + begin.elapsed()));
        checkpoint_and_kill(&mut program, &scene.image())?;
        lived += begin.elapsed();
        program = restore_detached(program.pid(), &scene.image(), &scene)?;
        begin = Instant::now();
    }
    let status = program.end()?;
    lived += begin.elapsed();
    ensure!(status.exit_status() == Some(code), "it ended with {status:?}");
    ensure!(lived >= LENGTH - Duration::from_millis(100), "it lived for {lived:?} only");
    ensure!(lived < LENGTH_MAX, "it lived for {lived:?}");
    Ok(())
}

/// A shell that tells the time every second, restored three times: none is left out but when it was not there.
fn date_and_sleep() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let script = "while date +%s.%N; do sleep 1; done";
    let mut program = Program::start(Path::new("/bin/sh"), &["-c", script], &scene)?;
    let mut told = vec![(seconds(&program.line()?)?, 0.0)];
    for _ in 0..3 {
        for _ in 0..2 {
            told.push((seconds(&program.line()?)?, 0.0));
        }
        checkpoint_and_kill(&mut program, &scene.image())?;
        let gone = Instant::now();
        std::thread::sleep(Duration::from_millis(300));
        program = restore_detached(program.pid(), &scene.image(), &scene)?;
        let gap = gone.elapsed().as_secs_f64();
        told.push((seconds(&program.line()?)?, gap));
    }
    for pair in told.windows(2) {
        let [(before, _), (after, gap)] = pair else { continue };
        let lived = after - before - gap;
        ensure!((0.9..10.0).contains(&lived), "between two lines are {lived} s of {told:?}");
    }
    program.our_child().signal(Signal::KILL)?;
    program.await_killed()
}

fn seconds(line: &str) -> Verdict<f64> {
    Ok(line.parse()?)
}

/// Threads that are in restartable sequences nearly always, restored again and again: what was interrupted does not commit.
fn section_is_aborted() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = Program::start(&RSEQ_SECTION.executable()?, &[], &scene)?;
    let line = program.line()?;
    if let Some(what) = line.strip_prefix("skipped: needs ") {
        needs(false, what)?;
    }
    for _ in 0..5 {
        ensure!(line == "at work", "it says '{line}'");
        checkpoint_and_kill(&mut program, &scene.image())?;
        std::thread::sleep(Duration::from_secs(1)); // what a section that goes on would have taken
        program = restore_detached(program.pid(), &scene.image(), &scene)?;
        program.tell("go on", "at work")?;
    }
    program.say("end")?;
    program.finish()
}
