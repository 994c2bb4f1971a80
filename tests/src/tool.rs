//! The two command lines that take a program through a checkpoint and a restore: the same tests run with each.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Pid;

use crate::deadline::STEP;
use crate::program::{Process, Program};
use crate::rekindle::{self, Outcome, start_with_pipes};
use crate::scene::Scene;
use crate::trial::{Context, Verdict, trial};
use crate::{ensure, fail};

/// A command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `rekindle checkpoint PID -o FILE --kill`, `rekindle restore FILE --detach`
    Rekindle,
    /// `criu dump -t PID -D DIR -o dump.log -v4`, `criu restore -D DIR -d -o restore.log -v4`
    Criu,
}

impl Tool {
    /// A test for each of the two.
    pub fn each(name: &str, body: fn(Self) -> Verdict) -> [Trial; 2] {
        [trial(name, move || body(Self::Rekindle)), trial(format!("{name}::criu"), move || body(Self::Criu))]
    }

    /// The image that it writes.
    pub fn image(self, scene: &Scene) -> Verdict<PathBuf> {
        Ok(scene.images()?.join(match self {
            Self::Rekindle => "image",
            Self::Criu => "rekindle.img",
        }))
    }

    /// Checkpoints a tree and kills it, within a step's time. Nobody is waited for.
    pub fn dump(self, pid: Pid, scene: &Scene) -> Verdict {
        self.dump_within(pid, scene, STEP)
    }

    /// The same, for a tree whose memory takes longer.
    fn dump_within(self, pid: Pid, scene: &Scene, limit: Duration) -> Verdict {
        let mut command = match self {
            Self::Rekindle => rekindle::checkpoint(pid, &self.image(scene)?, &["--kill"])?,
            Self::Criu => {
                let mut command = criu("dump", "dump.log", scene)?;
                command.args(["-t", &pid.as_raw_nonzero().to_string()]);
                command
            }
        };
        let outcome = rekindle::start(&mut command)?.outcome_within(limit)?;
        self.went_well(outcome, "dump.log", scene)
    }

    /// Checkpoints a program and kills it; it is reaped, and so are its descendants.
    pub fn checkpoint_and_kill(self, program: &mut Program, scene: &Scene) -> Verdict {
        self.checkpoint_and_kill_within(program, scene, STEP)
    }

    /// The same, for a program whose memory takes longer.
    pub fn checkpoint_and_kill_within(
        self,
        program: &mut Program,
        scene: &Scene,
        limit: Duration,
    ) -> Verdict {
        self.dump_within(program.pid(), scene, limit)?;
        // Its descendants may have come and gone until the very moment: the image tells whom it holds.
        program.family().add(rekindle::pids_in(&self.image(scene)?)?);
        program.await_killed()
    }

    /// Restores it, detached: it comes back as our own child, which has a pipe of ours as standard input and output.
    pub fn restore(self, pid: Pid, scene: &Scene) -> Verdict<Program> {
        if self == Self::Rekindle {
            return rekindle::restore_detached(pid, &self.image(scene)?, scene);
        }
        let mut command = criu("restore", "restore.log", scene)?;
        let (run, pipes) = start_with_pipes(command.args(["-d", "--pidfile", "pid"]).stdin(Stdio::piped()))?;
        self.went_well(run.outcome()?, "restore.log", scene)?;
        let program = Program::child(Process::of(pid).context("after restore -d")?, pipes, scene);
        let written = fs::read_to_string(scene.images()?.join("pid")).context("the pid file")?;
        ensure!(written == pid.as_raw_nonzero().to_string(), "the pid file says '{written}'");
        Ok(program)
    }

    /// It did what it was to do, without a word; CRIU's log tells of success and of no error.
    fn went_well(self, outcome: Outcome, log: &str, scene: &Scene) -> Verdict {
        if self == Self::Rekindle {
            return outcome.succeeded().map(drop);
        }
        let log = fs::read_to_string(scene.images()?.join(log)).unwrap_or_default();
        let outcome = outcome.succeeded().context(&log)?;
        ensure!(outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome}");
        if log.contains("Error") || !log.contains(" finished successfully") {
            fail!("the log says: {log}");
        }
        Ok(())
    }
}

/// The `criu` beside the `rekindle` to test, with the images' directory and a log in it.
fn criu(command: &str, log: &str, scene: &Scene) -> Verdict<Command> {
    let binary = rekindle::binary()?.with_file_name("criu");
    ensure!(
        binary.is_file(),
        "there is no {}: build it with `cargo build -p rekindle-criu`",
        binary.display()
    );
    let mut criu = Command::new(binary);
    criu.arg(command).arg("-D").arg(scene.images()?).args(["-o", log, "-v4"]).stdin(Stdio::null());
    criu.env("HOME", scene.images()?).env_remove("CRIU_CONFIG_FILE").env_remove(rekindle::FAULT);
    Ok(criu)
}
