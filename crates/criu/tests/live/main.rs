//! What a user of `criu` sees happen to real programs: dumped, killed, restored, left stopped; scripts at every stage; the
//! files that tools read; failures that leave everything as it was.

mod options;

use rekindle_tests::deadline::Deadline;
use rekindle_tests::program::{Process, Program, await_gone};
use rekindle_tests::rekindle::{self, Outcome, Run, start_with_pipes};
use rekindle_tests::scene::Scene;
use rekindle_tests::trial::{Context as _, Verdict, needs, run, trial};
use rekindle_tests::{ensure, fail};
use rustix::process::{Pid, Signal};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    run(vec![
        trial("dumped_and_restored", dumped_and_restored),
        trial("three_times_in_a_row", three_times_in_a_row),
        trial("left_running_by_option_and_configuration", left_running),
        trial("left_stopped", left_stopped),
        trial("a_tree_is_dumped_stopped_and_restored", a_tree_is_dumped_stopped_and_restored),
        trial("a_tree_that_forks_without_pause_is_dumped", a_tree_that_forks_without_pause_is_dumped),
        trial("restored_in_the_foreground", restored_in_the_foreground),
        trial("restored_as_a_sibling", restored_as_a_sibling),
        trial("executed_command_is_the_parent", executed_command_is_the_parent),
        trial("scripts_run_in_order", scripts_run_in_order),
        trial("a_failing_script_undoes_a_dump", a_failing_script_undoes_a_dump),
        trial("a_failing_script_undoes_a_restore", a_failing_script_undoes_a_restore),
        trial("a_failing_dump_leaves_all_as_it_was", a_failing_dump_leaves_all_as_it_was),
        trial("a_failing_restore_leaves_nothing", a_failing_restore_leaves_nothing),
        trial("files_are_compared_by_size", files_are_compared_by_size),
        trial("deleted_files_are_limited_as_told", deleted_files_are_limited_as_told),
        trial("descriptors_are_closed_first", descriptors_are_closed_first),
        trial("connections_are_dumped_closed", || options::connections_are_closed("dump")),
        trial("connections_are_restored_closed", || options::connections_are_closed("restore")),
        trial("connections_in_flight_are_skipped", options::connections_in_flight_are_skipped),
        trial("watched_files_are_searched_where_told", options::watched_files_are_searched_where_told),
        trial("the_status_descriptor_is_told", options::the_status_descriptor_is_told),
        trial("each_process_has_a_log", options::each_process_has_a_log),
        trial("a_frozen_group_is_told", options::a_frozen_group_is_told),
    ])
}

/// A shell that answers lines, and exits with 7 at the end of its input.
const ECHO: &str = "echo ready; while read line; do echo \"got $line\"; done; exit 7";

fn criu(scene: &Scene, words: &[&str]) -> Verdict<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_criu"));
    command.args(words).stdin(Stdio::null()).current_dir(scene.images()?);
    command.env("HOME", scene.images()?).env_remove("CRIU_CONFIG_FILE").env_remove(rekindle::FAULT);
    Ok(command)
}

fn start(scene: &Scene, script: &str) -> Verdict<Program> {
    let machine = rekindle::run(&mut criu(scene, &["check", "-v0"])?)?;
    needs(machine.status.exit_status() == Some(0), "what `criu check` requires")?;
    let mut program = Program::start(Path::new("/bin/sh"), &["-c", script], scene)?;
    ensure!(program.line()? == "ready", "the script did not begin");
    program.await_still()?;
    Ok(program)
}

/// `criu dump` with a log `dump.log`.
fn dump(program: &Program, scene: &Scene, more: &[&str]) -> Verdict<Command> {
    let pid = program.pid().as_raw_nonzero().to_string();
    let mut command = criu(scene, &["dump", "-t", &pid, "-o", "dump.log", "-v4"])?;
    command.args(more);
    Ok(command)
}

/// It did what it was to do, without a word.
fn silent(outcome: Outcome) -> Verdict<Outcome> {
    let outcome = outcome.succeeded()?;
    ensure!(outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome}");
    Ok(outcome)
}

fn dump_and_kill(program: &mut Program, scene: &Scene) -> Verdict {
    silent(rekindle::run(&mut dump(program, scene, &[])?)?).context(log(scene, "dump.log"))?;
    program.await_killed()
}

/// `criu restore -d`, with pipes of ours as the program's standard input and output.
fn restore(pid: Pid, scene: &Scene, more: &[&str]) -> Verdict<Program> {
    let mut command = criu(scene, &["restore", "-d", "-o", "restore.log", "-v4"])?;
    command.args(more).stdin(Stdio::piped());
    let (run, pipes) = start_with_pipes(&mut command)?;
    let outcome = run.outcome()?.succeeded().context(log(scene, "restore.log"))?;
    ensure!(outcome.stderr.is_empty(), "{outcome}");
    Ok(Program::child(Process::of(pid).context("after restore -d")?, pipes, scene))
}

fn log(scene: &Scene, name: &str) -> String {
    scene.images().ok().and_then(|images| fs::read_to_string(images.join(name)).ok()).unwrap_or_default()
}

/// The log of something that went well.
fn good_log(scene: &Scene, name: &str, ends: &str) -> Verdict {
    let log = log(scene, name);
    ensure!(!log.contains("Error"), "{log}");
    let timed =
        |line: &str| line.starts_with('(') && line.get(3..4) == Some(".") && line.get(10..12) == Some(") ");
    ensure!(log.lines().all(timed), "{log}");
    ensure!(log.lines().last().is_some_and(|line| line.contains(ends)), "{log}");
    Ok(())
}

/// The log of something that failed: why is in its last lines.
fn bad_log(scene: &Scene, name: &str, says: &str) -> Verdict {
    let log = log(scene, name);
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains(" Error (rekindle): ") && last.contains(says), "no '{says}' at the end of {log}");
    Ok(())
}

/// It answers as before.
fn goes_on(program: &mut Program, word: &str) -> Verdict {
    program.say(word)?;
    let line = program.line()?;
    ensure!(line == format!("got {word}"), "told {word}, it says {line}");
    Ok(())
}

fn field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn await_field(pid: Pid, name: &str, value: &str) -> Verdict {
    Deadline::step(format!("{name} to be {value}"))
        .until(&[pid], || Ok(field(pid, name).starts_with(value).then_some(())))
}

/// The protobuf fields of varints in a message, by their numbers.
fn varints(mut bytes: &[u8]) -> Vec<(u64, u64)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = bytes.split_first() else { return value };
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        fields.push((key >> 3, varint(&mut bytes)));
    }
    fields
}

/// What is in a file of statistics, after its 12 bytes of head and 2 of the one message in the message.
fn stats(path: &Path, which: u8) -> Verdict<Vec<(u64, u64)>> {
    let bytes = fs::read(path).context(path.display())?;
    let head = [0x40, 0x59, 0x10, 0x55, 0x06, 0x33, 0x09, 0x57, bytes.len() as u8 - 12, 0, 0, 0];
    ensure!(bytes.starts_with(&head), "{}: {bytes:x?}", path.display());
    ensure!(bytes[12..14] == [which << 3 | 2, bytes.len() as u8 - 14], "{}: {bytes:x?}", path.display());
    Ok(varints(&bytes[14..]))
}

fn dumped_and_restored() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    goes_on(&mut program, "before")?;
    dump_and_kill(&mut program, &scene)?;
    good_log(&scene, "dump.log", "Dumping finished successfully")?;
    let images = scene.images()?;
    let dump = stats(&images.join("stats-dump"), 1)?;
    let numbers: Vec<_> = dump.iter().map(|(number, _)| *number).collect();
    ensure!(numbers == (1..=14).collect::<Vec<_>>(), "{dump:?}");
    ensure!(dump[1].1 > 0 && dump[6].1 > 10, "no pause, or no pages: {dump:?}");

    let work = scene.directory();
    let words = ["-W", &work.display().to_string(), "--pidfile", "pid", "-j", "--tcp-established", "-l"];
    let mut program = restore(pid, &scene, &words)?;
    goes_on(&mut program, "after")?;
    let written = fs::read_to_string(work.join("pid"))?;
    ensure!(written == pid.as_raw_nonzero().to_string(), "the pid file holds {written:?}");
    let restored = stats(&work.join("stats-restore"), 2)?;
    ensure!(restored.len() == 5 && restored[4].1 == dump[6].1, "{restored:?}, {dump:?}");
    let log = fs::read_to_string(work.join("restore.log"))?;
    ensure!(!log.contains("Error") && log.contains("Restore finished successfully"), "{log}");
    let status = program.end()?;
    ensure!(status.exit_status() == Some(7), "{status:?}");
    Ok(())
}

/// As scripts write it, into the same directory.
fn three_times_in_a_row() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    for round in 0..3 {
        let pid = program.pid();
        dump_and_kill(&mut program, &scene)?;
        program = restore(pid, &scene, &[])?;
        goes_on(&mut program, &format!("round {round}"))?;
        program.await_still()?;
    }
    Ok(())
}

fn left_running() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    silent(rekindle::run(&mut dump(&program, &scene, &["--leave-running"])?)?)?;
    goes_on(&mut program, "on")?;
    program.await_still()?;
    let config = scene.images()?.join(".criu/default.conf");
    fs::create_dir(scene.images()?.join(".criu"))?;
    fs::write(&config, "leave-running\ndisplay-stats\n")?;
    let outcome = rekindle::run(&mut dump(&program, &scene, &[])?)?.succeeded()?;
    ensure!(outcome.stdout.starts_with(b"Displaying dump stats:\nFreezing time: "), "{outcome}");
    goes_on(&mut program, "and on")?;
    program.await_still()?;
    let back = ["--no-leave-running", "--no-display-stats"];
    silent(rekindle::run(&mut dump(&program, &scene, &back)?)?)?;
    program.await_killed()
}

fn left_stopped() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    silent(rekindle::run(&mut dump(&program, &scene, &["-s"])?)?)?;
    await_field(pid, "State", "T (stopped)")?;
    program.our_child().signal(Signal::CONT)?;
    goes_on(&mut program, "continued")?;
    program.await_still()?;
    dump_and_kill(&mut program, &scene)?;
    let mut program = restore(pid, &scene, &["-s"])?;
    await_field(pid, "State", "T (stopped)")?;
    program.our_child().signal(Signal::CONT)?;
    goes_on(&mut program, "continued again")
}

/// The pids below one, and its own.
fn tree(pid: Pid) -> Verdict<Vec<Pid>> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(parent) = pids.get(next).map(|pid| pid.as_raw_nonzero()) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        pids.extend(children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)));
        next += 1;
    }
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    Ok(pids)
}

fn a_tree_is_dumped_stopped_and_restored() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, &format!("sleep 1000 & (sleep 1001; true) | cat >/dev/null & {ECHO}"))?;
    let pid = program.pid();
    let before = Deadline::step("all of the pipeline").until(&[pid], || {
        let pids = tree(pid)?;
        let names: Vec<_> = pids.iter().map(|pid| field(*pid, "Name")).collect();
        let there =
            names.iter().filter(|name| *name == "sleep").count() == 2 && names.contains(&"cat".to_owned());
        Ok(there.then_some(pids))
    })?;
    silent(rekindle::run(&mut dump(&program, &scene, &["-s"])?)?).context(log(&scene, "dump.log"))?;
    for pid in &before {
        await_field(*pid, "State", "T (stopped)")?;
    }
    for pid in &before {
        rustix::process::kill_process(*pid, Signal::CONT)?;
    }
    goes_on(&mut program, "continued")?;
    program.await_still()?;
    silent(rekindle::run(&mut dump(&program, &scene, &[])?)?).context(log(&scene, "dump.log"))?;
    program.await_killed()?;
    before.iter().try_for_each(|pid| await_gone(*pid))?;
    let mut program = restore(pid, &scene, &[])?;
    goes_on(&mut program, "restored")?;
    let after = tree(pid)?;
    ensure!(before == after, "the tree was {before:?}, and is {after:?}");
    Ok(())
}

/// Processes end while they are looked at.
fn a_tree_that_forks_without_pause_is_dumped() -> Verdict {
    let scene = Scene::new()?;
    let forks = "(while :; do /bin/true; /bin/true & wait; done) >/dev/null";
    let mut program = start(&scene, &format!("{forks} & {forks} & {ECHO}"))?;
    for round in 0..40 {
        let outcome = rekindle::run(&mut dump(&program, &scene, &["-R"])?)?;
        silent(outcome).context(format!("round {round}: {}", log(&scene, "dump.log")))?;
    }
    goes_on(&mut program, "forty times")?;
    dump_and_kill(&mut program, &scene)
}

/// A restore that stays: its run, once the program is there.
fn restore_and_stay(
    pid: Pid,
    scene: &Scene,
    words: &[&str],
) -> Verdict<(Run, rekindle_tests::program::Pipes)> {
    let mut command = criu(scene, &["restore", "-o", "restore.log", "-v4"])?;
    command.args(words).stdin(Stdio::piped());
    let (mut run, pipes) = start_with_pipes(&mut command)?;
    rekindle::await_restored(&mut run, pid, || log(scene, "restore.log").contains("Restore finished"))?;
    Ok((run, pipes))
}

fn restored_in_the_foreground() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    let (run, pipes) = restore_and_stay(pid, &scene, &["--no-restore-detached"])?;
    let parent = run.process().pid().as_raw_nonzero().to_string();
    ensure!(field(pid, "PPid") == parent, "its parent is {}, not {parent}", field(pid, "PPid"));
    let mut program = Program::of_restorer(pid, run, pipes, &scene);
    goes_on(&mut program, "in the foreground")?;
    let status = program.end()?;
    ensure!(status.exit_status() == Some(7), "criu ended with {status:?}");
    good_log(&scene, "restore.log", "Restore finished successfully")
}

/// A child of whoever calls criu: here of a shell that lives on.
fn restored_as_a_sibling() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "\"$0\" restore -d -S -o restore.log -v4 && exec sleep 1000",
        env!("CARGO_BIN_EXE_criu"),
    ]);
    command.current_dir(scene.images()?).env("HOME", scene.images()?).stdin(Stdio::piped());
    let (mut run, pipes) = start_with_pipes(&mut command)?;
    rekindle::await_restored(&mut run, pid, || log(&scene, "restore.log").contains("Restore finished"))?;
    let shell = run.process().pid().as_raw_nonzero().to_string();
    ensure!(field(pid, "PPid") == shell, "its parent is {}, not {shell}", field(pid, "PPid"));
    goes_on(&mut Program::of_restorer(pid, run, pipes, &scene), "beside criu")
}

fn executed_command_is_the_parent() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    let (run, pipes) = restore_and_stay(pid, &scene, &["--exec-cmd", "--", "sleep", "1000"])?;
    let parent = run.process().pid();
    await_field(parent, "Name", "sleep")?;
    ensure!(
        field(pid, "PPid") == parent.as_raw_nonzero().to_string(),
        "its parent is {}",
        field(pid, "PPid")
    );
    goes_on(&mut Program::of_restorer(pid, run, pipes, &scene), "below another")
}

/// A script that notes where it was called, and fails at `fails_at`.
fn script(scene: &Scene, fails_at: &str) -> Verdict<(String, PathBuf)> {
    let (path, notes) = (scene.images()?.join("action.sh"), scene.images()?.join("notes"));
    let text = format!(
        "#!/bin/sh\n\
         state=$(sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/$CRTOOLS_INIT_PID/status 2>/dev/null)\n\
         echo \"$CRTOOLS_SCRIPT_ACTION ${{CRTOOLS_INIT_PID:-none}} ${{state:-none}} $CRTOOLS_IMAGE_DIR $PWD\" >>{}\n\
         [ \"$CRTOOLS_SCRIPT_ACTION\" != \"{fails_at}\" ]\n",
        notes.display()
    );
    let draft = path.with_extension("draft");
    fs::write(&draft, text)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    fs::rename(&draft, &path)?;
    let _ = fs::remove_file(&notes); // of the script before
    Ok((path.display().to_string(), notes))
}

fn actions(notes: &Path) -> String {
    let notes = fs::read_to_string(notes).unwrap_or_default();
    notes.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
}

fn scripts_run_in_order() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    let number = pid.as_raw_nonzero();
    let (path, notes) = script(&scene, "")?;
    silent(rekindle::run(&mut dump(&program, &scene, &["--action-script", &path])?)?)?;
    program.await_killed()?;
    let images = scene.images()?.display().to_string();
    let expected = format!("pre-dump {number} S {images} {images}\npost-dump {number} t {images} {images}\n");
    let noted = fs::read_to_string(&notes)?;
    ensure!(noted == expected, "noted:\n{noted}expected:\n{expected}");
    fs::remove_file(&notes)?;
    let mut program = restore(pid, &scene, &["--action-script", &path])?;
    goes_on(&mut program, "after scripts")?;
    let noted = fs::read_to_string(&notes)?;
    let expected = "pre-restore setup-namespaces post-setup-namespaces post-restore pre-resume post-resume";
    ensure!(actions(&notes) == expected, "noted:\n{noted}");
    let lines: Vec<_> = noted.lines().collect();
    ensure!(lines[0].starts_with("pre-restore none none "), "{noted}");
    ensure!(lines[1..].iter().all(|line| line.contains(&format!(" {number} "))), "{noted}");
    ensure!(lines[4].starts_with(&format!("pre-resume {number} t ")), "{noted}");
    ensure!(!lines[5].starts_with(&format!("post-resume {number} t ")), "{noted}");
    Ok(())
}

fn a_failing_script_undoes_a_dump() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    for action in ["pre-dump", "post-dump"] {
        let (path, notes) = script(&scene, action)?;
        let outcome = rekindle::run(&mut dump(&program, &scene, &["--action-script", &path])?)?;
        ensure!(outcome.status.exit_status() == Some(1), "{action}: {outcome}");
        ensure!(actions(&notes).ends_with(action), "{action}: {}", actions(&notes));
        bad_log(&scene, "dump.log", &format!("failed at {action}"))?;
        ensure!(!scene.images()?.join("rekindle.img").exists(), "{action} has left an image");
        ensure!(!scene.images()?.join("stats-dump").exists(), "{action} has left statistics");
        goes_on(&mut program, action)?;
        program.await_still()?;
    }
    Ok(())
}

fn a_failing_script_undoes_a_restore() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    for action in ["pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore", "pre-resume"] {
        let (path, notes) = script(&scene, action)?;
        let words =
            ["restore", "-d", "-o", "restore.log", "-v3", "--pidfile", "pid", "--action-script", &path];
        let outcome = rekindle::run(&mut criu(&scene, &words)?)?;
        ensure!(outcome.status.exit_status() == Some(1), "{action}: {outcome}");
        ensure!(actions(&notes).ends_with(action), "{action}: {}", actions(&notes));
        bad_log(&scene, "restore.log", &format!("failed at {action}"))?;
        await_gone(pid)?;
        ensure!(!scene.images()?.join("pid").exists(), "{action} has left a pid file");
    }
    let (path, _) = script(&scene, "post-resume")?;
    let mut program = restore(pid, &scene, &["--action-script", &path])?;
    goes_on(&mut program, "too late")?;
    let log = log(&scene, "restore.log");
    ensure!(log.contains("Warn  (rekindle): ") && !log.contains("Error"), "{log}");
    Ok(())
}

fn a_failing_dump_leaves_all_as_it_was() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    for point in ["checkpoint-frozen", "checkpoint-pages-written", "checkpoint-synced", "checkpoint-renamed"]
    {
        let mut command = dump(&program, &scene, &[])?;
        let outcome = rekindle::run(command.env(rekindle::FAULT, format!("{point}:error")))?;
        ensure!(outcome.status.exit_status() == Some(1) && outcome.stderr.is_empty(), "{point}: {outcome}");
        bad_log(&scene, "dump.log", point)?;
        ensure!(!scene.images()?.join("stats-dump").exists(), "{point} has left statistics");
        goes_on(&mut program, point)?;
        program.await_still()?;
    }
    // Refused: it is traced, by a shell's strace(1) or by nobody; a kernel thread always is.
    let outcome = rekindle::run(&mut criu(&scene, &["dump", "-t", "2", "-v1"])?)?;
    ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
    ensure!(outcome.stderr.starts_with("Error (rekindle): "), "{outcome}");
    Ok(())
}

fn a_failing_restore_leaves_nothing() -> Verdict {
    let scene = Scene::new()?;
    let mut program = start(&scene, ECHO)?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    let words = ["restore", "-d", "-o", "restore.log", "-v4", "--pidfile", "pid"];
    for point in ["restore-planned", "restore-filled", "restore-registers"] {
        let outcome = rekindle::run(criu(&scene, &words)?.env(rekindle::FAULT, format!("{point}:error")))?;
        ensure!(outcome.status.exit_status() == Some(1) && outcome.stderr.is_empty(), "{point}: {outcome}");
        bad_log(&scene, "restore.log", point)?;
        await_gone(pid)?;
        ensure!(!scene.images()?.join("pid").exists(), "{point} has left a pid file");
    }
    let program = restore(pid, &scene, &[])?;
    // Taken now.
    let outcome = rekindle::run(&mut criu(&scene, &words)?)?;
    ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
    bad_log(&scene, "restore.log", "is taken by")?;
    drop(program);
    Ok(())
}

/// As CRIU does: copied with other times, a file is the same; of another size, it is not.
fn files_are_compared_by_size() -> Verdict {
    let scene = Scene::new()?;
    let file = scene.directory().join("file");
    fs::write(&file, "text")?;
    let mut program = start(&scene, &format!("exec 3<file; {ECHO}"))?;
    let pid = program.pid();
    dump_and_kill(&mut program, &scene)?;
    fs::write(&file, "longer")?;
    let outcome = rekindle::run(&mut criu(&scene, &["restore", "-d", "-o", "restore.log", "-v4"])?)?;
    ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
    bad_log(&scene, "restore.log", "it was 4 bytes long, and is 6; put the old one back")?;
    ensure!(!log(&scene, "restore.log").contains("--accept"), "{}", log(&scene, "restore.log"));
    fs::write(&file, "TEXT")?;
    goes_on(&mut restore(pid, &scene, &[])?, "with a copy")
}

fn deleted_files_are_limited_as_told() -> Verdict {
    let scene = Scene::new()?;
    let mut program =
        start(&scene, &format!("exec 3<>file; rm file; head -c 300000 /dev/urandom >&3; {ECHO}"))?;
    let outcome = rekindle::run(&mut dump(&program, &scene, &["--ghost-limit", "200K"])?)?;
    ensure!(outcome.status.exit_status() == Some(1), "{outcome}");
    bad_log(&scene, "dump.log", "pass a higher --ghost-limit")?;
    goes_on(&mut program, "refused")?;
    program.await_still()?;
    silent(rekindle::run(&mut dump(&program, &scene, &["--ghost-limit", "1M"])?)?).map(drop)
}

/// Seen by a script, whose parent criu is.
fn descriptors_are_closed_first() -> Verdict {
    let scene = Scene::new()?;
    let program = start(&scene, ECHO)?;
    let pid = program.pid().as_raw_nonzero();
    let seen = scene.images()?.join("seen");
    let look = format!("ls /proc/$PPID/fd >{}; false", seen.display());
    for (close, there) in [("", true), ("--close 9", false)] {
        let mut command = Command::new("/bin/sh");
        let line = format!("exec 9</dev/null; exec \"$0\" dump -v0 -t {pid} {close} --action-script \"$1\"");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_criu"), &look]).current_dir(scene.images()?);
        let outcome = rekindle::run(&mut command)?;
        let seen = fs::read_to_string(&seen)?;
        if outcome.status.exit_status() != Some(1) || seen.lines().any(|fd| fd == "9") != there {
            fail!("{close}: {outcome}, descriptors {seen}");
        }
    }
    Ok(())
}
