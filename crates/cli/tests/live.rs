//! What only a machine that allows it can show: `rekindle restore` as the parent of a program in the foreground (signals
//! passed on, stops followed, the end copied), and the demo.
//!
//! The programs are shell scripts in a single process. What is typed on a terminal comes from the kernel and is another
//! matter (crates/foreground): these signals are sent by a process.

use rekindle_tests::deadline::Deadline;
use rekindle_tests::program::{Process, Program, await_gone};
use rekindle_tests::rekindle::{self, Run, checkpoint_and_kill, restore, start_with_pipes};
use rekindle_tests::scene::Scene;
use rekindle_tests::trial::{Context as _, Verdict, needs, run, trial};
use rekindle_tests::{ensure, fail};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};

fn main() -> ExitCode {
    run(vec![
        trial("exit_code_is_copied", exit_code_is_copied),
        trial("death_by_a_signal_is_copied", death_by_a_signal_is_copied),
        trial("signals_are_passed_on", signals_are_passed_on),
        trial("ignored_signals_are_ignored", ignored_signals_are_ignored),
        trial("stops_are_followed", stops_are_followed),
        trial(
            "a_signal_before_the_program_runs_leaves_nothing",
            a_signal_before_the_program_runs_leaves_nothing,
        ),
        trial("what_follows_the_image_is_the_programs", what_follows_the_image_is_the_programs),
        trial("demo_goes_through_with_python", || demo(&[])),
        trial("demo_goes_through_with_a_program_of_its_own", || demo(&["--no-python"])),
        trial("detached_pid_is_told_where_the_program_does_not_write", detached_pid_is_told_apart),
    ])
}

/// A shell that runs `script` and is its own group's leader no more than the test is.
fn script(scene: &Scene, script: &str) -> Verdict<Program> {
    scene.images()?;
    let mut program = Program::start(Path::new("/bin/sh"), &["-c", script], scene)?;
    ensure!(program.line()? == "ready", "the script did not begin");
    program.await_still()?;
    Ok(program)
}

/// Saves and kills it; then it is restored in the foreground, its restorer in a process group of its own.
fn again(mut program: Program, scene: &Scene) -> Verdict<Program> {
    checkpoint_and_kill(&mut program, &scene.image())?;
    restored(program.pid(), scene)
}

fn restored(pid: Pid, scene: &Scene) -> Verdict<Program> {
    let mut command = restore(&scene.image(), &[])?;
    command.stdin(Stdio::piped()).process_group(0);
    let (mut run, pipes) = start_with_pipes(&mut command)?;
    await_running(&mut run, pid)?;
    Ok(Program::of_restorer(pid, run, pipes, scene))
}

fn await_running(run: &mut Run, pid: Pid) -> Verdict {
    let syscall = format!("/proc/{}/syscall", pid.as_raw_nonzero());
    rekindle::await_restored(run, pid, || {
        std::fs::read_to_string(&syscall).is_ok_and(|call| call.starts_with("0 0x0 "))
    })
}

fn exit_code_is_copied() -> Verdict {
    let scene = Scene::new()?;
    let program = script(&scene, "echo ready; read line; exit 7")?;
    let mut program = again(program, &scene)?;
    program.say("go")?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(7), "the restorer ended with {status:?}");
    Ok(())
}

fn death_by_a_signal_is_copied() -> Verdict {
    for signal in [Signal::TERM, Signal::SEGV, Signal::KILL, Signal::PIPE] {
        let scene = Scene::new()?;
        let program = script(&scene, "trap - PIPE; echo ready; read line; kill -$line $$")?;
        let mut program = again(program, &scene)?;
        program.say(&signal.as_raw().to_string())?;
        let status = program.end()?;
        ensure!(
            status.terminating_signal() == Some(signal.as_raw()),
            "{signal:?}: the restorer ended with {status:?}"
        );
    }
    Ok(())
}

const TRAPS: &str = "for n in 1 2 3 10 12 15 28 40 64; do trap \"echo $n\" $n; done; echo ready
    while :; do read line && exit 3; done";

fn signals_are_passed_on() -> Verdict {
    let scene = Scene::new()?;
    let program = script(&scene, TRAPS)?;
    let mut program = again(program, &scene)?;
    for number in [1, 2, 3, 10, 12, 15, 28, 40, 64] {
        send(program.our_child().pid(), number)?;
        let line = program.line().context(format!("signal {number}"))?;
        ensure!(line == number.to_string(), "sent {number}, the program says {line}");
    }
    program.say("go")?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(3), "the restorer ended with {status:?}");
    Ok(())
}

/// kill(1), as rustix has no real-time signals.
fn send(pid: Pid, number: i32) -> Verdict {
    let pid = pid.as_raw_nonzero().to_string();
    let status = std::process::Command::new("kill").args(["-s", &number.to_string(), &pid]).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}

/// As under nohup(1): the program has a handler for SIGHUP, but its restorer was told not to hear of any.
fn ignored_signals_are_ignored() -> Verdict {
    let scene = Scene::new()?;
    let mut program = script(&scene, TRAPS)?;
    let pid = program.pid();
    checkpoint_and_kill(&mut program, &scene.image())?;
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" restore \"$1\""])
        .arg(rekindle::binary()?)
        .arg(scene.image());
    let (mut run, pipes) = start_with_pipes(command.stdin(Stdio::piped()).process_group(0))?;
    await_running(&mut run, pid)?;
    let mut program = Program::of_restorer(pid, run, pipes, &scene);
    for number in [1, 15] {
        send(program.our_child().pid(), number)?;
    }
    let line = program.line()?;
    ensure!(line == "15", "the program says {line}");
    program.say("go")?;
    program.end()?;
    Ok(())
}

fn stops_are_followed() -> Verdict {
    let scene = Scene::new()?;
    let program = script(&scene, "echo ready; read line; exit 7")?;
    let mut program = again(program, &scene)?;
    let (restorer, pid) = (program.our_child().pid(), program.pid());
    for _ in 0..2 {
        send(restorer, Signal::TSTP.as_raw())?;
        await_state(pid, "T", "the program to stop")?;
        Deadline::step("the restorer to stop").until(&[restorer, pid], || {
            let status = waitpid(Some(restorer), WaitOptions::UNTRACED | WaitOptions::NOHANG)?;
            Ok(status.filter(|(_, status)| status.stopped()))
        })?;
        send(restorer, Signal::CONT.as_raw())?;
        await_state(pid, "S", "the program to go on")?;
        await_state(restorer, "S", "the restorer to go on")?;
    }
    program.say("go")?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(7), "the restorer ended with {status:?}");
    Ok(())
}

fn await_state(pid: Pid, letter: &str, what: &str) -> Verdict {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    Deadline::step(what).until(&[pid], || {
        let stat = std::fs::read_to_string(&stat)?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        Ok((state == letter).then_some(()))
    })
}

/// The image comes through a pipe, and stops in the middle of the pages.
fn a_signal_before_the_program_runs_leaves_nothing() -> Verdict {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scene = Scene::new()?;
        let mut program = script(&scene, "echo ready; read line; exit 7")?;
        let pid = program.pid();
        checkpoint_and_kill(&mut program, &scene.image())?;
        let image = std::fs::read(scene.image())?;
        let (read_end, write_end) = rekindle::pipe()?;
        let mut command = restore("-".as_ref(), &[])?;
        let run = rekindle::start(command.stdin(Stdio::from(read_end)))?;
        drop(command);
        let mut writer = File::from(write_end);
        // Everything but the end, so that the process is made, and then waits.
        writer.write_all(&image[..image.len() - 100])?;
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        Deadline::step("the process to be made")
            .until(&[run.process().pid()], || Ok(Path::new(&process).exists().then_some(())))?;
        run.process().signal(signal)?;
        let outcome = run.outcome()?;
        ensure!(outcome.status.terminating_signal() == Some(signal.as_raw()), "{signal:?}: {outcome}");
        await_gone(pid)?;
    }
    Ok(())
}

/// `(cat image; echo go) | rekindle restore -`: the program reads on where the image ends.
fn what_follows_the_image_is_the_programs() -> Verdict {
    let scene = Scene::new()?;
    let mut program = script(&scene, "echo ready; read line; read more; echo \"$line, $more\"; exit 7")?;
    checkpoint_and_kill(&mut program, &scene.image())?;
    let (read_end, write_end) = rekindle::pipe()?;
    let mut command = restore("-".as_ref(), &[])?;
    let run = rekindle::start(command.stdin(Stdio::from(read_end)))?;
    drop(command);
    let mut writer = File::from(write_end);
    writer.write_all(&std::fs::read(scene.image())?)?;
    writer.write_all(b"one line\nand another\n")?;
    drop(writer);
    let outcome = run.outcome()?;
    ensure!(outcome.status.exit_status() == Some(7), "{outcome}");
    ensure!(outcome.stdout == b"one line, and another\n", "{}", outcome.stdout.escape_ascii());
    Ok(())
}

/// On standard output, unless the program has that: then on standard error.
fn detached_pid_is_told_apart() -> Verdict {
    let scene = Scene::new()?;
    // The output of one script is ours, that of the other is a file.
    for (redirect, on_stdout) in [("", false), ("exec >out; ", true)] {
        let mut program = script(&scene, &format!("echo ready; {redirect}read line; exit 7"))?;
        let pid = program.pid();
        checkpoint_and_kill(&mut program, &scene.image())?;
        let mut command = restore(&scene.image(), &["--detach"])?;
        let (stdin, _open) = rekindle::pipe()?;
        let outcome = rekindle::run(command.stdin(Stdio::from(stdin)))?.succeeded()?;
        let restored = Process::of(pid).context("after restore --detach");
        let told = format!("{}\n", pid.as_raw_nonzero());
        let (stdout, stderr) = (String::from_utf8_lossy(&outcome.stdout).into_owned(), outcome.stderr);
        match (on_stdout, stdout == told, stderr == told.trim_end()) {
            (true, true, false) | (false, false, true) => drop(restored),
            _ => fail!("the pid is {told:?}, standard output is {stdout:?}, standard error is {stderr:?}"),
        }
    }
    Ok(())
}

/// The whole story is told, and the exit code says that it is true.
fn demo(extra: &[&str]) -> Verdict {
    let machine = rekindle::run(&mut rekindle::command(["check"])?)?;
    needs(machine.status.exit_status() == Some(0), "what `rekindle check` requires")?;
    let outcome = rekindle::run(rekindle::command(["demo"])?.args(extra))?.succeeded()?;
    let told = String::from_utf8_lossy(&outcome.stdout).into_owned();
    for step in
        ["started", "saved", "gone", "verified", "restored", "goes on", "ended", "All as it should be"]
    {
        ensure!(told.contains(step), "the demo says nothing of '{step}': {told}");
    }
    Ok(())
}
