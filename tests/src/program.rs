//! A program under test: started by us, or restored by rekindle. Whoever drops one that still lives kills it, by pidfd, and
//! all its descendants.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal,
    waitid, waitpid,
};

use crate::deadline::Deadline;
use crate::family::{Family, descendants};
use crate::rekindle::Run;
use crate::scene::Scene;
use crate::trial::{Context, Trouble, Verdict};
use crate::{compile, ensure, fail};

/// A process and the handle that keeps its number from meaning another one.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Process {
    /// Takes hold of a living (or not yet reaped) process.
    pub fn of(pid: Pid) -> Verdict<Self> {
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).context(format!("pidfd of {}", pid.as_raw_nonzero()))?;
        Ok(Self { pid, pidfd, reaped: false })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Verdict {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until it has ended, whoever its parent is.
    pub fn ended(&self, deadline: &Deadline) -> Verdict {
        deadline.readable(&self.pidfd, &[self.pid])
    }

    /// Whether it ends within `limit`.
    pub fn ends_within(&self, limit: Duration) -> Verdict<bool> {
        crate::deadline::readable_within(self.pidfd.as_fd(), limit)
    }

    /// How it has ended, if it has and is our child; it is not reaped.
    #[must_use]
    pub fn how_it_ended(&self) -> String {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(Some(status)) => {
                format!("exit code {:?}, signal {:?}", status.exit_status(), status.terminating_signal())
            }
            _ => "nobody knows how".to_owned(),
        }
    }

    /// Waits for its end and reaps it; it must be our child by now.
    pub fn reap(&mut self, deadline: &Deadline) -> Verdict<WaitStatus> {
        self.ended(deadline)?;
        match waitpid(Some(self.pid), WaitOptions::empty()).context("reaping it")? {
            Some((_, status)) => {
                self.reaped = true;
                Ok(status)
            }
            None => fail!("process {} has ended but cannot be reaped", self.pid.as_raw_nonzero()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped || self.signal(Signal::KILL).is_err() {
            return;
        }
        let _ = self.ends_within(Duration::from_secs(10));
        let _ = waitpid(Some(self.pid), WaitOptions::NOHANG); // fails when its parent is another process: that one reaps
    }
}

/// A program with the pipes that are its standard input and output.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    /// Dropped first, as it is found through the program.
    family: Family,
    /// Our child: the program itself, or the restorer in the foreground that is its parent and copies its exit status.
    child: Process,
    /// The program, if it is not our child; held so that it does not outlive the test.
    _grandchild: Option<Process>,
    input: Option<OwnedFd>,
    output: Lines,
    errors: PathBuf,
    restorer_errors: Option<File>,
}

/// Our ends of a child's standard input and output.
#[derive(Debug)]
pub struct Pipes {
    /// What we write to; none if it was given something else.
    pub input: Option<OwnedFd>,
    /// What we read from.
    pub output: OwnedFd,
}

impl Pipes {
    /// Takes the pipes of a child just started.
    pub fn of(child: &mut Child) -> Verdict<Self> {
        let input = child.stdin.take().map(OwnedFd::from);
        let Some(output) = child.stdout.take() else { fail!("the child has no pipe as standard output") };
        Ok(Self { input, output: output.into() })
    }
}

impl Program {
    /// Starts `executable` in the scene's directory, standard error appended to the scene's file for that, with no
    /// descriptor but the standard ones and hardly any environment.
    pub fn start(executable: &Path, arguments: &[&str], scene: &Scene) -> Verdict<Self> {
        let errors = OpenOptions::new().append(true).create(true).open(scene.errors())?;
        let mut command = Command::new(compile::tool("start")?);
        command.arg(executable).args(arguments).current_dir(scene.directory());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let pipes = Pipes::of(&mut child)?;
        Ok(Self::child(Process::of(Pid::from_child(&child))?, pipes, scene))
    }

    /// A program that is our child.
    #[must_use]
    pub fn child(child: Process, pipes: Pipes, scene: &Scene) -> Self {
        let Pipes { input, output } = pipes;
        let output = Lines::from(output);
        Self {
            pid: child.pid,
            family: Family::of(child.pid),
            child,
            _grandchild: None,
            input,
            output,
            errors: scene.errors(),
            restorer_errors: None,
        }
    }

    /// A program whose parent is a restorer in the foreground. It may have ended by now; its restorer has not been reaped.
    #[must_use]
    pub fn of_restorer(pid: Pid, restorer: Run, pipes: Pipes, scene: &Scene) -> Self {
        let (restorer, errors) = restorer.into_parts();
        let mut program = Self::child(restorer, pipes, scene);
        program.family.forget(); // that of the restorer
        let grandchild = Process::of(pid).ok();
        let restorer_errors = Some(errors);
        Self { pid, family: Family::of(pid), _grandchild: grandchild, restorer_errors, ..program }
    }

    /// The number of the program's process (not of its restorer).
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Our child: the program, or its restorer.
    #[must_use]
    pub fn our_child(&self) -> &Process {
        &self.child
    }

    /// Its descendants.
    pub fn family(&mut self) -> &mut Family {
        &mut self.family
    }

    fn in_foreground(&self) -> bool {
        self.pid != self.child.pid
    }

    /// The processes to look at when a step hangs.
    fn watched(&self) -> [Pid; 2] {
        [self.pid, self.child.pid]
    }

    /// Reads lines until the subject says that it is at its save point, and waits until all its threads are blocked there.
    pub fn await_save_point(&mut self) -> Verdict {
        match self.line()?.as_str() {
            "save point" => {
                self.await_still()?;
                self.family.note();
                Ok(())
            }
            other => match other.strip_prefix("skipped: needs ") {
                Some(what) => Err(Trouble::Needs(what.to_owned())),
                None => {
                    fail!("the subject says '{other}' instead of reaching its save point{}", self.errors())
                }
            },
        }
    }

    /// Waits until the main thread is blocked reading standard input, every other thread and every descendant sleeps (or is
    /// stopped, or has ended), and nobody traces any.
    pub fn await_still(&self) -> Verdict {
        Deadline::step("the program to stand still at its save point").until(&self.watched(), || {
            let ended = self.child.ends_within(Duration::ZERO)?;
            ensure!(
                !ended,
                "the program has ended by itself: {}{}",
                self.child.how_it_ended(),
                self.errors()
            );
            Ok(is_still(self.pid()).then_some(()))
        })
    }

    /// The next line that the program writes.
    pub fn line(&mut self) -> Verdict<String> {
        let deadline = Deadline::step("a line from the program");
        let watched = self.watched();
        match self.output.next(&deadline, &watched)? {
            Some(line) => Ok(line),
            None => fail!("the program ended without a word: {:?}{}", self.end()?, self.errors()),
        }
    }

    /// Writes a line to the program's standard input.
    pub fn say(&mut self, line: &str) -> Verdict {
        let Some(input) = &self.input else { fail!("the program has no standard input to write to") };
        File::from(input.try_clone()?)
            .write_all(format!("{line}\n").as_bytes())
            .context("writing to the program")
    }

    /// Sends a command and waits for the answer.
    pub fn tell(&mut self, command: &str, answer: &str) -> Verdict {
        self.say(command)?;
        let line = self.line()?;
        ensure!(line == answer, "told '{command}', the program says '{line}', not '{answer}'");
        Ok(())
    }

    /// Lets the subject go on from its save point, frozen for `gap` so far, and sees it to its good end.
    pub fn go_on(mut self, gap: Duration) -> Verdict {
        self.say(&format!("go on {}", gap.as_nanos()))?;
        self.finish()
    }

    /// The same for a subject whose waits may take longer than they were to: it is not told for how long it was frozen.
    pub fn go_on_untimed(mut self) -> Verdict {
        self.say("go on -1")?;
        self.finish()
    }

    /// Sees the subject to its good end: it says ok, and exits with 0, which its restorer copies.
    pub fn finish(mut self) -> Verdict {
        let line = self.line()?;
        ensure!(line == "ok", "the subject says: {line}{}", self.errors());
        let status = self.end()?;
        ensure!(
            status.exit_status() == Some(0),
            "the subject said ok, but then: {status:?}{}",
            self.errors()
        );
        Ok(())
    }

    /// Closes standard input and waits for the end: what our child, the program or its restorer, ended with.
    pub fn end(&mut self) -> Verdict<WaitStatus> {
        self.input = None;
        let status = self.child.reap(&Deadline::step("the program to end"))?;
        self.family.forget();
        Ok(status)
    }

    /// What has to happen after a `checkpoint --kill`: the program was killed by SIGKILL, and its parent reaps it; so were
    /// all its descendants that have been noted.
    pub fn await_killed(&mut self) -> Verdict {
        let status = self.child.reap(&Deadline::step("the killed program to be gone"))?;
        let killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
        // a restorer in the foreground copies what it can: by dying of the same signal, or as a shell says it
        let copied = self.in_foreground() && status.exit_status() == Some(128 + Signal::KILL.as_raw());
        ensure!(killed || copied, "after checkpoint --kill the program ended with {status:?}");
        self.family.await_gone()
    }

    /// What the program and its restorer wrote on standard error, as a clause to append to a failure.
    #[must_use]
    pub fn errors(&self) -> String {
        let of_restorer = self.restorer_errors.as_ref().map_or_else(Vec::new, whole);
        let text = [fs::read(&self.errors).unwrap_or_default(), of_restorer].concat();
        if text.is_empty() { String::new() } else { format!(" (stderr: {})", text.escape_ascii()) }
    }
}

/// All of a file that others write to, wherever they are in it.
pub(crate) fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().map_or(0, |file| usize::try_from(file.len()).unwrap_or(0))];
    let _ = file.read_exact_at(&mut bytes, 0);
    bytes
}

/// proc(5): `/proc/PID/task/TID/syscall` begins with the call's number and its first argument; "running" if in none.
pub(crate) fn is_still(root: Pid) -> bool {
    let main = fs::read_to_string(format!("/proc/{}/syscall", root.as_raw_nonzero())).unwrap_or_default();
    main.starts_with("0 0x0 ")
        && is_at_rest(root, &["S"])
        && descendants(root).into_iter().all(|pid| is_at_rest(pid, &["S", "T", "Z"]))
}

fn is_at_rest(pid: Pid, states: &[&str]) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read(task.path().join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let is_in = |state: &&str| status.contains(&format!("\nState:\t{state}"));
        let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        states.iter().any(is_in)
            && status.contains("\nTracerPid:\t0\n")
            && (is_in(&"Z") || !call.starts_with("running"))
    })
}

/// Waits until nothing has this number any more; what has ended and come back to us is reaped.
pub fn await_gone(pid: Pid) -> Verdict {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    Deadline::after(Duration::from_secs(5), "a process to be gone").until(&[pid], || {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG); // fails when it is not ours, or gone
        Ok((!process.exists()).then_some(()))
    })
}

/// Lines from a pipe, each waited for no longer than it should take.
#[derive(Debug)]
pub struct Lines {
    from: File,
    rest: Vec<u8>,
}

impl Lines {
    /// Lines from the read end of a pipe.
    #[must_use]
    pub fn from(pipe: OwnedFd) -> Self {
        Self { from: pipe.into(), rest: Vec::new() }
    }

    /// The next line, or nothing at the end.
    pub fn next(&mut self, deadline: &Deadline, watched: &[Pid]) -> Verdict<Option<String>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(line.trim_ascii_end().escape_ascii().to_string()));
            }
            deadline.readable(&self.from, watched)?;
            let mut bytes = [0; 4096];
            match self.from.read(&mut bytes)? {
                0 => return Ok(None),
                count => self.rest.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            }
        }
    }
}
