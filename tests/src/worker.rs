//! The subject that works all the time (`subjects/worker.c`, and `worker_tree.c`, which is many processes), seen from outside:
//! whether it goes on, and whether it is right.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::Pid;

use crate::deadline::Deadline;
use crate::family::descendants;
use crate::law::{self, Occasion};
use crate::program::{Pipes, Process, Program};
use crate::scene::Scene;
use crate::snapshot::Snapshot;
use crate::subjects::{Subject, WORKER, WORKER_TREE};
use crate::trial::{Context, Trouble, Verdict};
use crate::{ensure, fail};

/// A worker at work.
#[derive(Debug)]
pub struct Worker {
    program: Program,
    /// Its descendants.
    others: Vec<Pid>,
    progress: PathBuf,
    before: Snapshot,
}

impl Worker {
    /// Starts one of one process, and notes how it looks when it stands still.
    pub fn start(scene: &Scene) -> Verdict<Self> {
        Self::of(&WORKER, scene)
    }

    /// Starts one of ten processes.
    pub fn start_tree(scene: &Scene) -> Verdict<Self> {
        Self::of(&WORKER_TREE, scene)
    }

    fn of(subject: &Subject, scene: &Scene) -> Verdict<Self> {
        scene.images()?;
        let mut program = Program::start(&subject.executable()?, subject.arguments, scene)?;
        let line = program.line()?;
        ensure!(line == "save point", "the worker says '{line}'");
        be_quiet(&mut program)?;
        let before = Snapshot::of(program.pid())?;
        program.tell("work", "working")?;
        program.family().note();
        let others = program.family().known();
        Ok(Self { program, others, progress: scene.directory().join("progress"), before })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The same worker in its next life.
    #[must_use]
    pub fn reborn(self, mut program: Program) -> Self {
        program.family().note();
        Self { program, ..self }
    }

    /// Whether it has been killed; it is reaped if so. One that is about to die of a SIGKILL makes no step any more, so either
    /// its end or a step of every thread decides.
    pub fn has_been_killed(&mut self) -> Verdict<bool> {
        let start = read_progress(&self.progress);
        let deadline = Deadline::after(Duration::from_secs(10), "the worker to make a step, or to die");
        let dead = deadline.until(&[self.pid()], || {
            if self.program.our_child().ends_within(Duration::ZERO)? {
                return Ok(Some(true));
            }
            Ok(all_more(&read_progress(&self.progress), &start).then_some(false))
        })?;
        if dead {
            self.program.family().kill_the_rest();
            self.program.await_killed()?;
        }
        Ok(dead)
    }

    /// Every thread works on, none is stopped or traced.
    pub fn goes_on(&mut self) -> Verdict {
        let held = || std::iter::once(self.pid()).chain(descendants(self.pid())).try_for_each(not_held);
        let worked = await_work(&self.program, &self.progress).and_then(|()| held());
        if worked.is_err() && self.program.our_child().ends_within(Duration::ZERO)? {
            fail!("the worker has ended, its last words: {}", self.program.line().context("words")?);
        }
        worked.context("the worker does not go on")
    }

    /// Keeps what is in the worker's files. The worker must be dead.
    pub fn keep_files(&self) -> Verdict<Files> {
        let directory = self.progress.parent().unwrap_or(&self.progress);
        let mut files = Vec::new();
        for path in ["progress", "scratch"].map(|name| directory.join(name)) {
            files.push((path.clone(), fs::read(&path)?, fs::metadata(&path)?.modified()?));
        }
        Ok(Files(files))
    }

    /// Looks as it looked in the beginning; then it works on.
    pub fn looks_as_before(&mut self, occasion: Occasion) -> Verdict {
        self.goes_on()?;
        be_quiet(&mut self.program)?;
        law::holds(&self.before, &Snapshot::of(self.pid())?, occasion)?;
        self.program.tell("work", "working")
    }

    /// Looks as it looked in the beginning, and all its work is right.
    pub fn is_whole(mut self, occasion: Occasion) -> Verdict {
        self.looks_as_before(occasion)?;
        self.program.go_on(Duration::ZERO)
    }

    /// After a restore that did not succeed: there is no process, or a whole one that works (then it is ended, by force).
    pub fn gone_or_whole(&self, pipes: Pipes, scene: &Scene) -> Verdict {
        let pid = self.pid();
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let start = read_progress(&self.progress);
        let works =
            Deadline::after(Duration::from_secs(10), "a failed restore to leave no process, or a whole one");
        let works = works.until(&[pid], || {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG); // an orphan came to us
            if !process.exists() && self.others.iter().all(|pid| is_gone(*pid)) {
                return Ok(Some(false));
            }
            Ok(all_more(&read_progress(&self.progress), &start).then_some(true))
        })?;
        if works {
            not_held(pid)?;
            let mut program = Program::child(Process::of(pid)?, pipes, scene);
            be_quiet(&mut program)?;
            program.family().kill();
            program.await_killed()?;
        }
        Ok(())
    }
}

/// The files of a dead worker, for the case that one image is restored more than once: an image holds memory, not files, and
/// an earlier life has written to them.
#[derive(Debug)]
pub struct Files(Vec<(PathBuf, Vec<u8>, SystemTime)>);

impl Files {
    /// Makes the files what they were, in place, with the time of their last change.
    pub fn put_back(&self) -> Verdict {
        for (path, bytes, modified) in &self.0 {
            fs::write(path, bytes)?;
            File::options().write(true).open(path)?.set_modified(*modified)?;
        }
        Ok(())
    }
}

/// Whether nothing has this number any more; an orphan that has come to us is reaped.
fn is_gone(pid: Pid) -> bool {
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    rustix::process::test_kill_process(pid).is_err()
}

/// Parks the workers, and waits until the main thread stands still too.
fn be_quiet(program: &mut Program) -> Verdict {
    program.tell("quiet", "quiet")?;
    program.await_still()
}

/// How many steps each thread has made.
fn read_progress(path: &PathBuf) -> Vec<u64> {
    let bytes = fs::read(path).unwrap_or_default();
    let words =
        bytes.chunks_exact(8).map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    words.take_while(|steps| *steps > 0).collect()
}

fn all_more(now: &[u64], start: &[u64]) -> bool {
    !now.is_empty() && now.len() == start.len() && now.iter().zip(start).all(|(now, start)| now > start)
}

fn await_work(program: &Program, progress: &PathBuf) -> Verdict {
    let start = read_progress(progress);
    let deadline = Deadline::after(Duration::from_secs(10), "every thread of the worker to make a step");
    deadline.until(&[program.pid()], || {
        ensure!(!program.our_child().ends_within(Duration::ZERO)?, "it has ended");
        Ok(all_more(&read_progress(progress), &start).then_some(()))
    })
}

fn not_held(pid: Pid) -> Verdict {
    for task in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let held = status.contains("State:\tt")
            || status.contains("State:\tT")
            || !status.contains("TracerPid:\t0\n");
        if held {
            return Err(Trouble::Failed(format!("a thread of the worker is held: {status}")));
        }
    }
    Ok(())
}
