//! The command line under test: `rekindle` run as a user runs it, each run bounded in time.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitStatus};

use crate::deadline::{Deadline, STEP};
use crate::program::{Pipes, Process, Program, is_still, whole};
use crate::scene::Scene;
use crate::trial::{Context, Verdict};
use crate::{compile, ensure, fail};

/// The documented exit codes.
pub mod exit {
    /// Done.
    pub const OK: i32 = 0;
    /// Tried and failed; whatever was begun has been undone.
    pub const FAILED: i32 = 1;
    /// The command line makes no sense.
    pub const USAGE: i32 = 2;
    /// Refused before anything was touched.
    pub const REFUSED: i32 = 3;
    /// The image is damaged, of another version, or no image.
    pub const BAD_IMAGE: i32 = 4;
    /// The image is good, but cannot be restored here and now.
    pub const DOES_NOT_FIT: i32 = 5;
}

/// Makes `rekindle` die (`POINT:kill`) or fail (`POINT:error`) at a named point.
pub const FAULT: &str = "REKINDLE_FAULT";

/// The `rekindle` to test.
pub fn binary() -> Verdict<PathBuf> {
    let path = match std::env::var_os("REKINDLE_BIN") {
        Some(path) => PathBuf::from(path),
        None => compile::profile_directory()?.join("rekindle"),
    };
    ensure!(
        path.is_file(),
        "there is no {}: build it with `cargo build -p rekindle-cli`, or name one in REKINDLE_BIN",
        path.display()
    );
    Ok(path)
}

/// A command that runs `rekindle` with these arguments, standard input empty.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Verdict<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null()).env_remove(FAULT);
    Ok(command)
}

/// `rekindle checkpoint PID -o IMAGE`, and `extra` arguments.
pub fn checkpoint(pid: Pid, image: &Path, extra: &[&str]) -> Verdict<Command> {
    let mut command = command(["checkpoint", &pid.as_raw_nonzero().to_string(), "-o"])?;
    command.arg(image).args(extra);
    Ok(command)
}

/// `rekindle restore IMAGE`, and `extra` arguments.
pub fn restore(image: &Path, extra: &[&str]) -> Verdict<Command> {
    let mut command = command(["restore"])?;
    command.arg(image).args(extra);
    Ok(command)
}

/// A run of `rekindle` that has not ended; dropped, it is killed.
#[derive(Debug)]
pub struct Run {
    process: Process,
    words: String,
    stdout: Option<File>,
    stderr: File,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code or signal.
    pub status: WaitStatus,
    /// Standard output, unless it went elsewhere.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    words: String,
}

/// Starts a command, standard output and error collected.
pub fn start(command: &mut Command) -> Verdict<Run> {
    let stdout = tempfile::tempfile()?;
    command.stdout(stdout.try_clone()?);
    let mut run = start_with_output(command)?;
    run.stdout = Some(stdout);
    Ok(run)
}

/// Starts a command whose standard output the caller has set; standard error is collected.
pub fn start_with_output(command: &mut Command) -> Verdict<Run> {
    let stderr = tempfile::tempfile()?;
    let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let child = command.stderr(stderr.try_clone()?).spawn().context("starting rekindle")?;
    Ok(Run { process: Process::of(Pid::from_child(&child))?, words, stdout: None, stderr })
}

/// Runs a command to its end, within a step's time.
pub fn run(command: &mut Command) -> Verdict<Outcome> {
    start(command)?.outcome()
}

impl Run {
    /// The process that runs it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, and the file that its standard error goes to.
    #[must_use]
    pub fn into_parts(self) -> (Process, File) {
        (self.process, self.stderr)
    }

    /// Waits for its end, within a step's time.
    pub fn outcome(self) -> Verdict<Outcome> {
        self.outcome_within(STEP)
    }

    /// Waits for its end.
    pub fn outcome_within(mut self, limit: Duration) -> Verdict<Outcome> {
        let status = self.process.reap(&Deadline::after(limit, format!("rekindle {}", self.words)));
        let stderr = self.errors();
        let status = status.context(format!("stderr: {stderr}"))?;
        let stdout = self.stdout.as_ref().map_or_else(Vec::new, whole);
        Ok(Outcome { status, stdout, stderr, words: self.words })
    }

    fn errors(&self) -> String {
        String::from_utf8_lossy(&whole(&self.stderr)).trim_end().to_owned()
    }
}

impl Outcome {
    /// It must have done what it was asked.
    pub fn succeeded(self) -> Verdict<Self> {
        ensure!(self.status.exit_status() == Some(exit::OK), "{self}");
        Ok(self)
    }

    /// It must have failed with one of these exit codes, and with sentences that contain all of `names`.
    pub fn refused(self, codes: &[i32], names: &[&str]) -> Verdict<Self> {
        let code = self.status.exit_status();
        ensure!(code.is_some_and(|code| codes.contains(&code)), "exit code {codes:?} was expected: {self}");
        ensure!(
            self.stderr.lines().any(|line| line.starts_with("error: ")),
            "no line starts with 'error: ': {self}"
        );
        ensure!(!self.stderr.contains("panicked"), "{self}");
        for name in names {
            ensure!(self.stderr.contains(name), "nothing is said of '{name}': {self}");
        }
        Ok(self)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, words } = self;
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => format!("{status:?}"),
        };
        write!(f, "rekindle {words} ended with {how}, stderr: '{stderr}', {} bytes on stdout", stdout.len())
    }
}

/// Checkpoints a program into an image and kills it; it is reaped, and so are its descendants.
pub fn checkpoint_and_kill(program: &mut Program, image: &Path) -> Verdict {
    checkpoint_and_kill_within(program, image, STEP)
}

/// The same, for a program whose memory takes longer.
pub fn checkpoint_and_kill_within(program: &mut Program, image: &Path, limit: Duration) -> Verdict {
    start(&mut checkpoint(program.pid(), image, &["--kill"])?)?.outcome_within(limit)?.succeeded()?;
    // Its descendants may have come and gone until the very moment: the image tells whom it holds.
    program.family().add(pids_in(image)?);
    program.await_killed()
}

/// The ids of System V objects in an image, by the option of ipcrm(1) that removes such an object.
pub fn system_v_ids_in(image: &Path) -> Verdict<[(&'static str, Vec<i64>); 3]> {
    let outcome = run(command(["inspect", "--json"])?.arg(image))?.succeeded()?;
    let json: serde_json::Value = serde_json::from_slice(&outcome.stdout)?;
    let ids = |list: &str, pointer: &str| {
        let list = json["plan"][list].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|object| object.pointer(pointer)?.as_i64()).collect::<Vec<_>>()
    };
    let found = [
        ("-m", ids("shared", "/segment/shmid")),
        ("-s", ids("semaphores", "/semid")),
        ("-q", ids("message_queues", "/msqid")),
    ];
    ensure!(found.iter().any(|(_, ids)| !ids.is_empty()), "the image tells of no System V objects");
    Ok(found)
}

/// The pids of all processes in an image, those that have ended too.
pub fn pids_in(image: &Path) -> Verdict<Vec<i32>> {
    let outcome = run(command(["inspect", "--json"])?.arg(image))?.succeeded()?;
    let json: serde_json::Value = serde_json::from_slice(&outcome.stdout)?;
    let list = |name: &str| json["plan"][name].as_array().cloned().unwrap_or_default();
    let living = list("processes").into_iter().map(|process| process["process"]["identity"]["pid"].clone());
    let ended = list("zombies").into_iter().map(|zombie| zombie["pid"].clone());
    let pids = living.chain(ended).map(|pid| i32::try_from(pid.as_i64().unwrap_or(-1)).unwrap_or(-1));
    let pids: Vec<i32> = pids.collect();
    ensure!(!pids.is_empty() && pids.iter().all(|pid| *pid > 0), "the image tells of processes {pids:?}");
    Ok(pids)
}

/// Restores with `--detach`: the program comes back as our own child.
pub fn restore_detached(pid: Pid, image: &Path, scene: &Scene) -> Verdict<Program> {
    let pidfile = scene.images()?.join("pid");
    let mut command = restore(image, &["--detach", "--pidfile"])?;
    command.arg(&pidfile).stdin(Stdio::piped()).stdout(Stdio::piped());
    let (run, pipes) = start_with_pipes(&mut command)?;
    run.outcome()?.succeeded()?;
    let program = Program::child(Process::of(pid).context("after restore --detach")?, pipes, scene);
    let written = fs::read_to_string(&pidfile).context("the pid file")?;
    ensure!(written.trim() == pid.as_raw_nonzero().to_string(), "the pid file says '{written}'");
    Ok(program)
}

/// Restores in the foreground: the restorer is the program's parent. The program stands still when this returns.
pub fn restore_in_foreground(pid: Pid, image: &Path, scene: &Scene) -> Verdict<Program> {
    let mut command = restore(image, &[])?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (mut run, pipes) = start_with_pipes(&mut command)?;
    await_restored(&mut run, pid, || is_still(pid))?;
    Ok(Program::of_restorer(pid, run, pipes, scene))
}

/// Starts a command with pipes of ours as its standard input (if it asked for one) and output.
pub fn start_with_pipes(command: &mut Command) -> Verdict<(Run, Pipes)> {
    let stderr = tempfile::tempfile()?;
    let words = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let mut child =
        command.stdout(Stdio::piped()).stderr(stderr.try_clone()?).spawn().context("starting rekindle")?;
    let pipes = Pipes::of(&mut child)?;
    Ok((Run { process: Process::of(Pid::from_child(&child))?, words, stdout: None, stderr }, pipes))
}

/// Waits until `back` sees the program, as long as its restorer lives.
pub fn await_restored(run: &mut Run, pid: Pid, mut back: impl FnMut() -> bool) -> Verdict {
    Deadline::step("the program to come back").until(&[run.process.pid(), pid], || {
        if back() {
            return Ok(Some(()));
        }
        if run.process.ends_within(Duration::ZERO)? {
            fail!("the restorer ended before the program stood at its save point again: '{}'", run.errors());
        }
        Ok(None)
    })
}

/// A command's output connected to another's input, as a shell does it.
pub fn pipe() -> Verdict<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Both ends of `checkpoint PID --kill -o - | restore -` must come to their good end, and so must the restored program.
pub fn finish_pipeline(
    killed: &mut Program,
    saving: Run,
    restoring: Run,
    pipes: Pipes,
    scene: &Scene,
) -> Verdict {
    let saved = saving.outcome()?;
    if saved.status.exit_status() != Some(exit::OK) {
        fail!("{saved}, and {}", restoring.outcome()?); // often the second is the first one's reason
    }
    killed.await_killed()?;
    Program::of_restorer(killed.pid(), restoring, pipes, scene).finish()
}
