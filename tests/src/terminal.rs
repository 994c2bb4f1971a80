//! Terminals for tests: what a person does at one, typing and looking.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::deadline::Deadline;
use crate::family::descendants;
use crate::program::{Process, await_gone};
use crate::rekindle::{self, checkpoint};
use crate::trial::{Context, Trouble, Verdict};
use crate::{compile, ensure, fail};

/// The right to have names of terminals free for a while: pseudo-terminals get the lowest free index, so tests that need
/// theirs back take turns, on the whole machine.
pub fn turn() -> Verdict<File> {
    let path = std::env::temp_dir().join("rekindle-tests.terminals");
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// A program in PATH.
pub fn find(name: &str) -> Verdict<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Trouble::Needs(name.to_owned()))
}

/// A terminal with a program on it that leads a session there.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    program: Process,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts a program on a fresh terminal of so many rows and columns.
    pub fn start(program: &Path, arguments: &[&str], directory: &Path, size: (u16, u16)) -> Verdict<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .map_err(|errno| Trouble::Needs(format!("pseudo-terminals ({errno})")))?;
        grantpt(&master)?;
        unlockpt(&master)?;
        set_size(&master, size)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty())?;
        // Without what this process has been left by whoever started it.
        let mut command = Command::new(compile::tool("start")?);
        command.arg(find("setsid")?).arg("--ctty").arg(program).args(arguments).current_dir(directory);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C").env("TERM", "xterm").env("PS1", "$ ").env("HOME", directory);
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(OwnedFd::try_clone(&slave)?);
        let child = command.spawn().context("starting setsid(1)")?;
        drop((command, slave));
        Ok(Self { master: master.into(), program: Process::of(Pid::from_child(&child))?, seen: Vec::new() })
    }

    /// The program that leads its session.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// Makes the window larger or smaller.
    pub fn resize(&self, size: (u16, u16)) -> Verdict {
        set_size(&self.master, size)
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Verdict {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits until this is shown, after what was waited for before.
    pub fn shows(&mut self, text: &str) -> Verdict {
        let deadline = Deadline::step(format!("a terminal to show '{}'", text.escape_default()));
        loop {
            let found = self.seen.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            let so_far = || format!("it shows '{}'", self.seen.escape_ascii());
            deadline.readable(&self.master, &[self.program.pid()]).context(so_far())?;
            let mut bytes = [0; 4096];
            match self.master.read(&mut bytes) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                _ => fail!("nobody has the terminal any more; {}", so_far()),
            }
        }
    }

    /// Its settings.
    pub fn settings(&self) -> Verdict<Termios> {
        Ok(tcgetattr(&self.master)?)
    }

    /// Waits until lines are edited by the kernel, or until they are not.
    pub fn await_lines(&self, are_edited: LineEditing) -> Verdict {
        Deadline::step(format!("a terminal with lines edited by {are_edited:?}")).until(&[self.pid()], || {
            let edited = self.settings()?.local_modes.contains(LocalModes::ICANON);
            Ok((edited == (are_edited == LineEditing::Kernel)).then_some(()))
        })
    }

    /// Waits until the program's process group, or that of a descendant, is in the foreground: the one of `pid`.
    pub fn await_foreground(&self, pid: Pid) -> Verdict {
        Deadline::step("a job in the foreground").until(&[self.pid()], || {
            let group = rustix::termios::tcgetpgrp(&self.master).ok();
            Ok((group.is_some() && group == rustix::process::getpgid(Some(pid)).ok()).then_some(()))
        })
    }

    /// Checkpoints the program with all that descends from it, kills and reaps it. The terminal goes too.
    pub fn checkpoint_and_kill(mut self, image: &Path) -> Verdict {
        let family = descendants(self.pid());
        rekindle::run(&mut checkpoint(self.pid(), image, &["--kill"])?)?.succeeded()?;
        self.program.reap(&Deadline::step("the killed program to be gone"))?;
        family.into_iter().try_for_each(await_gone)
    }

    /// Waits for the end of the program that leads the session.
    pub fn end(mut self) -> Verdict<WaitStatus> {
        self.program.reap(&Deadline::step("the program on the terminal to end"))
    }

    /// The same, which must be a good one.
    pub fn ends_well(self) -> Verdict {
        let status = self.end()?;
        ensure!(status.exit_status() == Some(0), "it ended with {status:?}");
        Ok(())
    }
}

fn set_size(terminal: impl AsFd, (rows, columns): (u16, u16)) -> Verdict {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Who edits lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEditing {
    /// The line discipline (canonical mode).
    Kernel,
    /// The program.
    Program,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for pid in descendants(self.pid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
