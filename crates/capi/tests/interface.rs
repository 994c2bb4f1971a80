//! The C interface from C: programs are compiled against the header and linked with the library as a user would, and
//! checkpoint themselves and each other.
//!
//! A restored process has its old pid, so whoever had it must have been reaped; that is why each program is waited for.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

const KILL: &str = "1";
const NOTHING: &str = "0";
const ACCEPT_CHANGED_FILES: &str = "2";
const EPERM: i32 = 1;
const ESRCH: i32 = 3;
const EBADF: i32 = 9;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const EBADMSG: i32 = 74;

/// Leaves the test unless run by root.
macro_rules! needs_root {
    () => {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
    };
}

/// The exit code of `own` in the copy that was told this value.
const fn told(value: i32) -> i32 {
    10 + value
}

#[test]
fn a_program_that_checkpoints_itself_goes_on_and_is_told_so_in_its_restored_copy() {
    needs_root!();
    let scene = Scene::new();
    let running = scene.own(NOTHING, &[]);
    assert!(running.stdout().starts_with("value 0 errno 0 \n"), "{running:?}");
    assert_eq!(running.code(), Some(told(0)), "{running:?}");
    assert!(scene.end_of_image() > 0);
    assert!(running.stdout().contains(&format!("descriptor at {}", scene.end_of_image())), "{running:?}");

    // Twice: an image is not used up.
    for _ in 0..2 {
        let restored = scene.restart(NOTHING);
        assert!(
            restored.stdout().contains("value 1 errno 0 \ncounted on, descriptor at 0\n"),
            "{restored:?}"
        );
        assert_eq!(restored.code(), Some(told(1)), "{restored:?}");
    }
}

#[test]
fn a_program_that_has_itself_killed_is_only_told_in_its_restored_copy() {
    needs_root!();
    let scene = Scene::new();
    let running = scene.own(KILL, &[]);
    assert_eq!((running.stdout().as_str(), running.code()), ("", None), "{running:?}");
    let restored = scene.restart(NOTHING);
    assert!(restored.stdout().contains("value 1 errno 0 \ncounted on"), "{restored:?}");
    assert_eq!(restored.code(), Some(told(1)), "{restored:?}");
}

#[test]
fn a_program_that_ignores_its_children_is_told_the_same() {
    needs_root!();
    let scene = Scene::new();
    assert_eq!(scene.own(NOTHING, &["ignore"]).code(), Some(told(0)));
    assert_eq!(scene.restart(NOTHING).code(), Some(told(1)));
}

#[test]
fn an_image_of_another_name_leaves_nothing_behind_its_descriptor() {
    needs_root!();
    let mut scene = Scene::new();
    assert_eq!(scene.own(NOTHING, &[]).code(), Some(told(0)));
    let renamed = scene.image.with_extension("renamed");
    std::fs::rename(&scene.image, &renamed).unwrap();
    scene.image = renamed;
    let restored = scene.restart(NOTHING);
    assert!(restored.stdout().contains("counted on, descriptor at 0"), "{restored:?}");
    assert_eq!(restored.code(), Some(told(1)), "{restored:?}");
}

#[test]
fn a_program_that_cannot_be_captured_is_told_why_and_goes_on() {
    needs_root!();
    let scene = Scene::new();
    let refused = scene.own(NOTHING, &["packet"]);
    refused.failed_with(EPERM, "packet");
    assert!(refused.stdout().contains("counted on"), "{refused:?}");
    assert_eq!(refused.code(), Some(20), "{refused:?}");
}

#[test]
fn a_helper_that_dies_is_an_error_in_the_program() {
    needs_root!();
    for mode in [&[][..], &["ignore"]] {
        let scene = Scene::new();
        let mut command = scene.own_command(NOTHING, mode);
        let failed = Ran::of(command.env("REKINDLE_FAULT", "checkpoint-pages-written:kill"));
        failed.failed_with(5, "the program goes on");
        assert_eq!(failed.code(), Some(20), "{failed:?}");
    }
}

#[test]
fn another_process_is_checkpointed_killed_and_restarted() {
    needs_root!();
    let scene = Scene::new();
    let mut sleeper = sleeper();
    let pid = sleeper.id().to_string();
    let done = scene.tool(&["checkpoint", &pid, scene.path(), NOTHING]);
    assert_eq!(done.stdout(), "value 0 errno 0 \n");
    assert_eq!(sleeper.try_wait().unwrap(), None, "it was to go on");
    scene.restart(NOTHING).failed_with(EBUSY, "is taken by `sleep`");

    let done = scene.tool(&["checkpoint", &pid, scene.path(), KILL]);
    assert_eq!(done.stdout(), "value 0 errno 0 \n");
    assert_eq!(sleeper.wait().unwrap().code(), None, "it was to be killed");

    // The tool waits for what it restarted, so it is to be ended from here once it is there.
    let tool =
        scene.tool_command(&["restart", scene.path(), NOTHING]).stdout(Stdio::piped()).spawn().unwrap();
    let there = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x00600\0");
    let kill = || Command::new("kill").arg(&pid).status().unwrap().success();
    for _ in 0..500 {
        if there() && running(&pid) && kill() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let restarted = Ran(tool.wait_with_output().unwrap());
    assert_eq!(restarted.stdout(), format!("value {pid} errno 0 \n"), "{restarted:?}");
    assert_eq!(restarted.code(), Some(200), "{restarted:?}");
}

#[test]
fn a_changed_file_is_refused_unless_it_is_accepted() {
    needs_root!();
    let scene = Scene::new();
    let input = scene.image.with_extension("input");
    std::fs::write(&input, "old").unwrap();
    let mut command = scene.own_command(KILL, &[]);
    assert_eq!(Ran(command.stdin(File::open(&input).unwrap()).output().unwrap()).code(), None);
    std::fs::write(&input, "new and longer").unwrap();
    scene.restart(NOTHING).failed_with(EBUSY, "give REKINDLE_ACCEPT_CHANGED_FILES");
    assert_eq!(scene.restart(ACCEPT_CHANGED_FILES).code(), Some(told(1)));
}

#[test]
fn a_child_that_is_killed_is_left_to_be_waited_for() {
    needs_root!();
    let scene = Scene::new();
    let mut child = sleeper();
    let image = File::create(&scene.image).unwrap();
    let value = rekindle_c::rekindle_checkpoint(child.id().cast_signed(), image.as_raw_fd(), 1);
    assert_eq!(value, 0);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let scene = Scene::new();
    let checkpoint = |pid: &str, fd: &str, flags: &str| scene.tool(&["checkpoint", pid, fd, flags]);
    checkpoint("1", "-", NOTHING).failed_with(EBADF, "descriptor 99, for the image, is not open");
    checkpoint("999999999", scene.path(), NOTHING).failed_with(ESRCH, "there is no process 999999999");
    checkpoint("-5", scene.path(), NOTHING).failed_with(EINVAL, "-5 is no pid");
    checkpoint("0", scene.path(), "0x10").failed_with(EINVAL, "the flags 0x10 are not known");
    checkpoint("0", "-", NOTHING).failed_with(EBADF, "descriptor 99");

    let restart = |file: &str, flags: &str| scene.tool(&["restart", file, flags]);
    restart("/nonexistent", NOTHING).failed_with(EBADF, "descriptor -1");
    restart(scene.path(), "0x10").failed_with(EINVAL, "the flags 0x10 are not known");
    restart(scene.path(), NOTHING).failed_with(EBADMSG, "the image is empty");
    restart("/proc/self/exe", NOTHING).failed_with(EBADMSG, "not a rekindle image");
}

#[test]
fn a_damaged_image_creates_nothing() {
    needs_root!();
    let scene = Scene::new();
    assert_eq!(scene.own(NOTHING, &[]).code(), Some(told(0)));
    let file = std::fs::OpenOptions::new().write(true).open(&scene.image).unwrap();
    file.set_len(scene.end_of_image() - 1).unwrap();
    scene.restart(NOTHING).failed_with(EBADMSG, "the image");
}

#[test]
fn header_and_library_are_of_one_version() {
    let scene = Scene::new();
    let version = scene.tool(&["version"]);
    assert_eq!(version.code(), Some(0), "{version:?}");
    let header = std::fs::read_to_string(header_directory().join("rekindle.h")).unwrap();
    for (part, value) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        let line = format!("#define REKINDLE_VERSION_{part} {value}\n");
        assert!(header.contains(&line), "{line}");
    }
}

#[test]
fn the_header_is_good_cpp_too() {
    let header = header_directory().join("rekindle.h");
    let Ok(output) =
        Command::new("c++").args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]).arg(&header).output()
    else {
        return eprintln!("skipped: needs a C++ compiler");
    };
    // As C++ the header alone is a translation unit of a name that compilers warn of.
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || errors.contains("pragma once"), "{errors}");
}

/// A directory of the test's own, with an image in it.
struct Scene {
    _directory: tempfile::TempDir,
    image: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { image: directory.path().join("image"), _directory: directory }
    }

    fn path(&self) -> &str {
        self.image.to_str().unwrap()
    }

    fn end_of_image(&self) -> u64 {
        std::fs::metadata(&self.image).unwrap().len()
    }

    fn own_command(&self, flags: &str, mode: &[&str]) -> Command {
        let mut command = program("own");
        command.arg(&self.image).arg(flags).args(mode);
        command
    }

    /// Runs the program that checkpoints itself.
    fn own(&self, flags: &str, mode: &[&str]) -> Ran {
        Ran::of(&mut self.own_command(flags, mode))
    }

    fn tool_command(&self, arguments: &[&str]) -> Command {
        let mut command = program("tool");
        command.args(arguments);
        command
    }

    fn tool(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.tool_command(arguments))
    }

    /// Restarts the image; what the restored program prints comes with what the tool prints.
    fn restart(&self, flags: &str) -> Ran {
        self.tool(&["restart", self.path(), flags])
    }
}

/// A program that has ended.
#[derive(Debug)]
struct Ran(Output);

impl Ran {
    fn of(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).output().unwrap())
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// The call must have failed with this errno, and a sentence that contains `words`.
    #[track_caller]
    fn failed_with(&self, errno: i32, words: &str) {
        let stdout = self.stdout();
        assert!(stdout.starts_with(&format!("value -1 errno {errno} ")), "{self:?}");
        assert!(stdout.contains(words), "nothing is said of '{words}': {self:?}");
    }
}

/// A process with nothing but null behind its standard streams.
fn sleeper() -> Child {
    let null = || Stdio::null();
    program("tool"); // sees to what is inherited
    Command::new("sleep").arg("600").stdin(null()).stdout(null()).stderr(null()).spawn().unwrap()
}

/// Whether a process runs by itself: nobody traces it.
fn running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|text| text.contains("\nTracerPid:\t0\n"))
}

/// A program of `tests/programs`, compiled once.
fn program(name: &str) -> Command {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        // Whoever started the tests may have left something open, which would be in the images.
        rekindle_sys::fs::keep_descriptors_from_children().unwrap();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
        std::fs::create_dir_all(&directory).unwrap();
        ["own", "tool"].iter().for_each(|name| compile(name, &directory));
        directory
    });
    let mut program = Command::new(directory.join(name));
    program.env_remove("LD_LIBRARY_PATH"); // of cargo: it leads to older builds too
    program
}

/// Compiles against the header, and links with the library beside this test (`target/PROFILE/deps`).
fn compile(name: &str, directory: &Path) {
    let test = std::env::current_exe().unwrap();
    let libraries = test.parent().unwrap();
    assert!(libraries.join("librekindle_c.so").is_file(), "no library in {}", libraries.display());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).with_extension("c");
    let mut rpath = OsStr::new("-Wl,-rpath,").to_owned();
    rpath.push(libraries);
    let output = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
        .args(["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"])
        .arg(header_directory())
        .arg(source)
        .arg("-o")
        .arg(directory.join(name))
        .arg("-L")
        .arg(libraries)
        .arg("-lrekindle_c")
        .arg(rpath)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn header_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}
