//! Bad input: each kind of it gets a sentence that names the thing, a documented exit code, and does no harm.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rekindle_tests::deadline::Deadline;
use rekindle_tests::itinerary::{at_save_point, checkpointed};
use rekindle_tests::law::{self, Occasion};
use rekindle_tests::program::{Lines, Pipes, Process, Program, await_gone};
use rekindle_tests::rekindle::exit::{BAD_IMAGE, DOES_NOT_FIT, FAILED, REFUSED, USAGE};
use rekindle_tests::rekindle::{self, checkpoint, restore, restore_detached};
use rekindle_tests::scene::Scene;
use rekindle_tests::snapshot::Snapshot;
use rekindle_tests::subjects::{
    self, DELETED_FILE, FOREIGN_KINDS, FOREIGN_SEGMENT, LEADER_ENDS, NOLIBC, REFUSED_KINDS, SEMAPHORE_UNDO,
    Subject, WITH_LIBRARY,
};
use rekindle_tests::trial::{Context as _, Verdict, needs, needs_root, run, trial};
use rekindle_tests::{compile, ensure, fail};
use rustix::process::{Pid, getpid};

fn main() -> ExitCode {
    let mut trials = vec![
        trial("usage::no_such_command", no_such_command),
        trial("usage::pid_is_not_a_number", pid_is_not_a_number),
        trial("checkpoint::no_such_process", no_such_process),
        trial("checkpoint::kernel_thread", kernel_thread),
        trial("checkpoint::itself", itself),
        trial("checkpoint::zombie", zombie),
        trial("checkpoint::traced_by_another", traced_by_another),
        trial("checkpoint::process_of_another_user", process_of_another_user),
        trial("checkpoint::image_cannot_be_made", image_cannot_be_made),
        trial("checkpoint::kinds_not_supported", kinds_not_supported),
        trial("checkpoint::semaphore_undo", || refused_and_untouched(&SEMAPHORE_UNDO, &["SEM_UNDO"])),
        trial("checkpoint::foreign_segment", || {
            refused_and_untouched(&FOREIGN_SEGMENT, &["SYSV", "outside"])
        }),
        trial("checkpoint::large_deleted_file", large_deleted_file),
        trial("checkpoint::first_thread_has_ended", first_thread_has_ended),
        trial("check::kinds_not_supported", check_kinds_not_supported),
        trial("check::process_without_obstacles", check_process_without_obstacles),
        trial("check::machine", check_machine),
        trial("restore::image_is_missing", image_is_missing),
        trial("restore::image_is_a_directory", image_is_a_directory),
        trial("restore::image_is_empty", image_is_empty),
        trial("restore::image_is_something_else", image_is_something_else),
        trial("restore::image_is_of_a_newer_version", image_is_of_a_newer_version),
        trial("restore::image_needs_an_unknown_feature", image_needs_an_unknown_feature),
        trial("restore::pid_is_taken", pid_is_taken),
        trial("restore::pid_is_taken_by_a_zombie", pid_is_taken_by_a_zombie),
        trial("restore::parent_takes_notice_late", parent_takes_notice_late),
        trial("restore::executable_has_changed", executable_has_changed),
        trial("restore::executable_is_gone", executable_is_gone),
        trial("restore::library_has_changed", || thing_has_changed("library.so")),
        trial("restore::library_is_gone", || thing_is_gone("library.so")),
        trial("restore::open_file_is_gone", || thing_is_gone("file")),
        trial("restore::working_directory_is_gone", || thing_is_gone("place")),
        trial("inspect::names_what_is_in_it", inspect_names_what_is_in_it),
    ];
    for (subject, names) in &REFUSED_KINDS {
        let name = format!("checkpoint::refused_{}", subject.arguments[0]);
        trials.push(trial(name, || refused_and_untouched(subject, names)));
    }
    run(trials)
}

fn text(pid: Pid) -> String {
    pid.as_raw_nonzero().to_string()
}

fn no_such_command() -> Verdict {
    rekindle::run(&mut rekindle::command(["rekindel"])?)?.refused(&[USAGE], &["rekindel"])?;
    Ok(())
}

fn pid_is_not_a_number() -> Verdict {
    rekindle::run(&mut rekindle::command(["checkpoint", "init", "-o", "-"])?)?
        .refused(&[USAGE], &["init"])?;
    Ok(())
}

// ---- checkpoint

/// The words that a refused checkpoint of `pid` must say besides the pid.
fn refused_checkpoint(pid: Pid, names: &[&str]) -> Verdict {
    let scene = Scene::new()?;
    let mut names = names.to_vec();
    let pid_text = text(pid);
    names.push(&pid_text);
    let image = scene.images()?.join("image");
    rekindle::run(&mut checkpoint(pid, &image, &["--kill"])?)?.refused(&[REFUSED], &names)?;
    scene.no_image_left()
}

fn no_such_process() -> Verdict {
    let mut child = Command::new("true").spawn()?;
    let pid = Pid::from_child(&child);
    child.wait()?;
    refused_checkpoint(pid, &[])
}

fn kernel_thread() -> Verdict {
    let status = fs::read_to_string("/proc/2/status").unwrap_or_default();
    needs(status.contains("kthreadd"), "a pid namespace that shows kernel threads")?;
    refused_checkpoint(Pid::from_raw(2).unwrap_or(getpid()), &["kernel"])
}

fn itself() -> Verdict {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" checkpoint $$ -o -"]).arg(rekindle::binary()?);
    rekindle::run(&mut command)?.refused(&[REFUSED], &["itself"])?;
    Ok(())
}

/// Starts one of the tools with pipes, and gives its first line.
fn start_tool(name: &str, argument: &str) -> Verdict<(Process, Pipes, String)> {
    let mut command = Command::new(compile::tool(name)?);
    let mut child = command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (process, pipes) = (Process::of(Pid::from_child(&child))?, Pipes::of(&mut child)?);
    let mut lines = Lines::from(pipes.output.try_clone()?);
    let line = lines.next(&Deadline::step(format!("the first line of {name}")), &[process.pid()])?;
    Ok((process, pipes, line.unwrap_or_default()))
}

fn zombie() -> Verdict {
    let (mut parent, pipes, line) = start_tool("zombie", "")?;
    let Some(pid) = line.strip_prefix("zombie ").and_then(|pid| Pid::from_raw(pid.parse().ok()?)) else {
        fail!("the maker of zombies says '{line}'");
    };
    refused_checkpoint(pid, &["has ended", &text(parent.pid())])?;
    drop(pipes);
    parent.reap(&Deadline::step("the maker of zombies to end"))?;
    Ok(())
}

fn traced_by_another() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    let (mut tracer, pipes, line) = start_tool("tracer", &text(program.pid()))?;
    needs(line == "tracing", "the right to trace")?;
    refused_checkpoint(program.pid(), &["traced", &text(tracer.pid())])?;
    drop(pipes);
    tracer.reap(&Deadline::step("the tracer to end"))?;
    program.go_on(Duration::ZERO)
}

/// The executable is copied to where nobody may run it: the build directory may be closed to others.
/// The rest of such a process would be lost silently if it were taken for one that has ended.
fn first_thread_has_ended() -> Verdict {
    for subject in LEADER_ENDS {
        let scene = Scene::new()?;
        let mut program = Program::start(&subject.executable()?, subject.arguments, &scene)?;
        let line = program.line()?;
        ensure!(line == "save point", "it says '{line}'");
        let outcome =
            rekindle::run(&mut checkpoint(program.pid(), &scene.images()?.join("image"), &["--kill"])?)?;
        outcome.refused(&[REFUSED], &["first thread has ended"])?;
        program.go_on(Duration::ZERO)?;
    }
    Ok(())
}

fn process_of_another_user() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    let open_place = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
    let copy = open_place.path().join("rekindle");
    fs::copy(rekindle::binary()?, &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    command.args(["checkpoint", &text(program.pid()), "-o", "-", "--kill"]);
    rekindle::run(&mut command)?.refused(&[REFUSED], &[&text(program.pid())])?;
    program.go_on(Duration::ZERO)
}
fn image_cannot_be_made() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    let image = scene.directory().join("no/such/directory/image");
    let outcome = rekindle::run(&mut checkpoint(program.pid(), &image, &["--kill"])?)?;
    outcome.refused(&[FAILED, REFUSED], &["no/such/directory"])?;
    program.go_on(Duration::ZERO)
}

/// A refusal names everything at once, and the program never notices.
fn refused_and_untouched(subject: &Subject, names: &[&str]) -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(subject, &scene)?;
    let before = Snapshot::of(program.pid())?;
    refused_checkpoint(program.pid(), names)?;
    law::holds(&before, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    program.go_on(Duration::ZERO)
}

const OBSTACLES: &[&str] = &["fd 12", "fd 15", "userfaultfd", "fanotify"];

fn kinds_not_supported() -> Verdict {
    refused_and_untouched(&FOREIGN_KINDS, OBSTACLES)
}

/// A deleted file goes into the image only up to a size.
fn large_deleted_file() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&DELETED_FILE, &scene)?;
    let before = Snapshot::of(program.pid())?;
    let image = scene.images()?.join("image");
    let extra = ["--kill", "--deleted-files-max", "8K"];
    let outcome = rekindle::run(&mut checkpoint(program.pid(), &image, &extra)?)?;
    outcome.refused(&[REFUSED], &["deleted.data", "8192", "--deleted-files-max"])?;
    scene.no_image_left()?;
    law::holds(&before, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    program.go_on(Duration::ZERO)
}

// ---- check

fn check_kinds_not_supported() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&FOREIGN_KINDS, &scene)?;
    let outcome = rekindle::run(&mut rekindle::command(["check", &text(program.pid())])?)?;
    let told = format!("{}{}", String::from_utf8_lossy(&outcome.stdout), outcome.stderr);
    ensure!(outcome.status.exit_status() == Some(REFUSED), "exit code {REFUSED} was expected: {outcome}");
    for name in OBSTACLES {
        ensure!(told.contains(name), "nothing is said of '{name}': {told}");
    }
    program.go_on(Duration::ZERO)
}

fn check_process_without_obstacles() -> Verdict {
    let scene = Scene::new()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    let before = Snapshot::of(program.pid())?;
    rekindle::run(&mut rekindle::command(["check", &text(program.pid())])?)?.succeeded()?;
    law::holds(&before, &Snapshot::of(program.pid())?, Occasion::LeftRunning)?;
    program.go_on(Duration::ZERO)
}

fn check_machine() -> Verdict {
    let outcome = rekindle::run(&mut rekindle::command(["check"])?)?.succeeded()?;
    ensure!(!outcome.stdout.is_empty(), "check says nothing: {outcome}");
    Ok(())
}

// ---- restore

fn refused_image(image: &Path, codes: &[i32], names: &[&str]) -> Verdict {
    let mut all = names.to_vec();
    let path = image.display().to_string();
    all.push(&path);
    rekindle::run(&mut restore(image, &[])?)?.refused(codes, &all).context("restore")?;
    let verify = rekindle::run(&mut rekindle::command(["verify".as_ref(), image.as_os_str()])?)?;
    verify.refused(codes, &all).context("verify")?;
    Ok(())
}

fn image_is_missing() -> Verdict {
    refused_image(&Scene::new()?.image(), &[FAILED, BAD_IMAGE], &[])
}

fn image_is_a_directory() -> Verdict {
    refused_image(&Scene::new()?.images()?, &[FAILED, BAD_IMAGE], &["directory"])
}

fn image_is_empty() -> Verdict {
    let scene = Scene::new()?;
    let image = scene.images()?.join("empty");
    fs::write(&image, b"")?;
    refused_image(&image, &[BAD_IMAGE], &["empty"])?;
    let outcome = rekindle::run(&mut rekindle::command(["restore", "-"])?)?;
    outcome.refused(&[BAD_IMAGE], &["standard input"])?;
    Ok(())
}

fn image_is_something_else() -> Verdict {
    let scene = Scene::new()?;
    let image = scene.images()?.join("other");
    fs::write(&image, b"PK\x03\x04 this is some other kind of file".repeat(1000))?;
    refused_image(&image, &[BAD_IMAGE], &[])
}

/// docs/image-format.md, "File header": 64 bytes, the last eight of them a checksum of the others.
fn with_header_changed(change: impl Fn(&mut [u8]), names: &[&str]) -> Verdict {
    let scene = Scene::new()?;
    checkpointed(&NOLIBC, &scene)?;
    let mut bytes = fs::read(scene.image())?;
    let Some((header, _)) = bytes.split_at_mut_checked(64) else {
        fail!("the image is {} bytes", bytes.len())
    };
    let (fields, checksum) = header.split_at_mut(56);
    ensure!(
        *checksum == xxhash_rust::xxh3::xxh3_64(fields).to_le_bytes(),
        "the header is not as docs/image-format.md says, or this test is not"
    );
    change(fields);
    checksum.copy_from_slice(&xxhash_rust::xxh3::xxh3_64(fields).to_le_bytes());
    fs::write(scene.image(), &bytes)?;
    refused_image(&scene.image(), &[BAD_IMAGE], names)
}

fn image_is_of_a_newer_version() -> Verdict {
    with_header_changed(|header| header[8..12].copy_from_slice(&77_u32.to_le_bytes()), &["version 77"])
}

fn image_needs_an_unknown_feature() -> Verdict {
    with_header_changed(|header| header[16..24].copy_from_slice(&(1_u64 << 63).to_le_bytes()), &["feature"])
}

fn pid_is_taken() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let program = at_save_point(&NOLIBC, &scene)?;
    rekindle::run(&mut checkpoint(program.pid(), &scene.image(), &[])?)?.succeeded()?;
    rekindle::run(&mut restore(&scene.image(), &[])?)?.refused(&[DOES_NOT_FIT], &[&text(program.pid())])?;
    program.go_on(Duration::ZERO)
}

fn pid_is_taken_by_a_zombie() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(&NOLIBC, &scene)?;
    let pid = program.pid();
    rekindle::run(&mut checkpoint(pid, &scene.image(), &["--kill"])?)?.succeeded()?;
    program.our_child().ended(&Deadline::step("the killed program to end"))?; // but it is not reaped
    rekindle::run(&mut restore(&scene.image(), &[])?)?
        .refused(&[DOES_NOT_FIT], &[&text(pid), "has ended", &text(getpid())])?;
    program.await_killed()?;
    restore_detached(pid, &scene.image(), &scene)?.go_on(Duration::ZERO)
}

/// Not refused: whoever kills a program and restores it at once cannot know when its parent wakes.
fn parent_takes_notice_late() -> Verdict {
    let scene = Scene::new()?;
    scene.images()?;
    let mut program = at_save_point(&NOLIBC, &scene)?;
    let pid = program.pid();
    rekindle::run(&mut checkpoint(pid, &scene.image(), &["--kill"])?)?.succeeded()?;
    program.our_child().ended(&Deadline::step("the killed program to end"))?;
    let mut command = restore(&scene.image(), &["--detach"])?;
    let (run, pipes) = rekindle::start_with_pipes(command.stdin(Stdio::piped()))?;
    let gave_up = run.process().ends_within(Duration::from_millis(100))?;
    program.await_killed()?;
    let outcome = run.outcome()?.succeeded()?;
    ensure!(!gave_up, "it did not wait: {outcome:?}");
    Program::child(Process::of(pid)?, pipes, &scene).go_on(Duration::ZERO)
}

/// The subject runs from a copy of its own, that can be changed.
fn checkpointed_from_a_copy(scene: &Scene) -> Verdict<(Pid, PathBuf)> {
    let copy = scene.directory().join("the-executable");
    fs::copy(NOLIBC.executable()?, &copy)?;
    scene.images()?;
    let mut program = Program::start(&copy, &[], scene)?;
    program.await_save_point()?;
    rekindle::checkpoint_and_kill(&mut program, &scene.image())?;
    Ok((program.pid(), copy))
}

/// Refused while `path` is not what it was, by name and with no process left; restored once it is back.
fn refused_until_put_back(pid: Pid, scene: &Scene, path: &Path, spoil: impl Fn(&Path) -> Verdict) -> Verdict {
    let aside = scene.images()?.join("aside");
    fs::rename(path, &aside)?;
    spoil(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    rekindle::run(&mut restore(&scene.image(), &[])?)?.refused(&[DOES_NOT_FIT], &[&name])?;
    await_gone(pid)?;
    fs::rename(&aside, path)?;
    restore_detached(pid, &scene.image(), scene).context("with all put back")?.go_on(Duration::ZERO)
}

/// The same but for one more byte.
fn grown(aside: &Path, path: &Path) -> Verdict {
    fs::copy(aside, path)?;
    fs::OpenOptions::new().append(true).open(path)?.write_all(b"!")?;
    Ok(())
}

fn executable_has_changed() -> Verdict {
    let scene = Scene::new()?;
    let (pid, executable) = checkpointed_from_a_copy(&scene)?;
    let aside = scene.images()?.join("aside");
    refused_until_put_back(pid, &scene, &executable, |path| grown(&aside, path))
}

fn executable_is_gone() -> Verdict {
    let scene = Scene::new()?;
    let (pid, executable) = checkpointed_from_a_copy(&scene)?;
    refused_until_put_back(pid, &scene, &executable, |_| Ok(()))
}

fn with_library(scene: &Scene) -> Verdict<Pid> {
    fs::copy(subjects::library()?, scene.directory().join("library.so"))?;
    checkpointed(&WITH_LIBRARY, scene)
}

fn thing_has_changed(name: &str) -> Verdict {
    let scene = Scene::new()?;
    let pid = with_library(&scene)?;
    let aside = scene.images()?.join("aside");
    refused_until_put_back(pid, &scene, &scene.directory().join(name), |path| grown(&aside, path))
}

fn thing_is_gone(name: &str) -> Verdict {
    let scene = Scene::new()?;
    let pid = with_library(&scene)?;
    refused_until_put_back(pid, &scene, &scene.directory().join(name), |_| Ok(()))
}

// ---- inspect

fn inspect_names_what_is_in_it() -> Verdict {
    let scene = Scene::new()?;
    let pid = with_library(&scene)?;
    let image = scene.image();
    let text_form =
        rekindle::run(&mut rekindle::command(["inspect".as_ref(), image.as_os_str()])?)?.succeeded()?;
    let mut command = rekindle::command(["inspect".as_ref(), image.as_os_str(), "--json".as_ref()])?;
    let json_form = rekindle::run(&mut command)?.succeeded()?;
    for (form, outcome) in [("text", &text_form), ("JSON", &json_form)] {
        let told = String::from_utf8_lossy(&outcome.stdout);
        for name in [text(pid).as_str(), "with_library", "library.so", "/file", "/place", "[stack]"] {
            ensure!(told.contains(name), "inspect ({form}) says nothing of '{name}': {told}");
        }
    }
    let parsed: serde_json::Value =
        serde_json::from_slice(&json_form.stdout).context("the JSON of inspect")?;
    ensure!(parsed.is_object(), "the JSON of inspect is no object");
    Ok(())
}
