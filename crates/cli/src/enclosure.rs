//! A restore by somebody who has no right to choose pids: in namespaces of its own, which anybody may make.
//!
//! ```text
//! rekindle restore ── outside: stands in for the program towards the shell, as ever
//!    └─ between: has made the namespaces, and only waits
//!         └─ inside, pid 1 of them: restores, reaps, tells what happens ── the program, with its old pid
//! ```
//!
//! The program is who it was (the one user and group that the user namespace knows are those outside), and sees its old pid;
//! outside it has another. It lives as long as its pid 1 does, and this lives until all are gone. As long as the program
//! is in the making, pid 1 dies with the process outside.
//!
//! Who makes a pid namespace can have no more threads (clone(2), `EINVAL`), so that it takes one in between.

use crate::failure::Failure;
use rekindle::restore::{Report, Restored};
use rekindle_sys::enclosure::{self, Die};
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, errno_text, probe};
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Where we are.
pub(crate) enum Side {
    /// There are no namespaces, as none are needed.
    InPlace,
    /// We are the process that the user has started.
    Outside(Outside),
    /// We were in between, and all is over.
    Between(ExitCode),
    /// We are pid 1, and have yet to restore.
    Inside(Inside),
}

/// The process that the user has started.
pub(crate) struct Outside {
    between: i32,
    told: BufReader<PipeReader>,
    /// Closed when we have found the program, which is not reaped before.
    found: Option<PipeWriter>,
}

/// Pid 1 of the new namespace.
pub(crate) struct Inside {
    tell: PipeWriter,
    found: PipeReader,
}

/// Makes the namespaces, if pids cannot be chosen without.
pub(crate) fn enter() -> Result<Side, Failure> {
    if probe::may_choose_pids() != Err(Errno::PERM) {
        return Ok(Side::InPlace);
    }
    let failed = |what: &'static str| {
        move |errno: Errno| {
            Failure::lacking(format!(
                "you may not choose pids, and {what} failed: {}; run rekindle as root, or give it CAP_CHECKPOINT_RESTORE",
                errno_text(errno)
            ))
        }
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    rekindle::restore::remember_groups()?;
    let pipe = || io::pipe().map_err(|error| Failure::io("making a pipe", &error));
    let ((told, tell), (found, find)) = (pipe()?, pipe()?);
    let forking = failed("making a process");
    let dying = failed("asking for the end with a parent's");
    if let Some(between) = enclosure::fork().map_err(&forking)? {
        return Ok(Side::Outside(Outside { between, told: BufReader::new(told), found: Some(find) }));
    }
    drop((told, find));
    enclosure::unshare().map_err(failed("making namespaces"))?;
    // A change of credentials, as this was one, makes the kernel forget it.
    enclosure::die_with_parent(Die::WithParent).map_err(&dying)?;
    let map = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(|error| Failure::io(&path, &error))
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("{uid} {uid} 1"))?;
    map("gid_map", format!("{gid} {gid} 1"))?;
    if let Some(init) = enclosure::fork().map_err(&forking)? {
        drop((tell, found));
        return Ok(Side::Between(code_of(init)));
    }
    enclosure::die_with_parent(Die::WithParent).map_err(&dying)?;
    enclosure::mount_proc().map_err(failed("mounting /proc"))?;
    Ok(Side::Inside(Inside { tell, found }))
}

impl Inside {
    /// The program runs.
    pub(crate) fn tell_running(&mut self, restored: &Restored) -> Result<(), Failure> {
        let Restored { pid, report } = *restored;
        let Report { took, processes, tasks, mappings, descriptors, page_bytes } = report;
        let took_us = took.as_micros();
        // Those outside may end as soon as they know.
        enclosure::die_with_parent(Die::Alone)
            .map_err(|errno| Failure::failed(format!("PR_SET_PDEATHSIG: {}", errno_text(errno))))?;
        self.tell(&format!(
            "running {pid} {took_us} {processes} {tasks} {mappings} {descriptors} {page_bytes}"
        ));
        Ok(())
    }

    /// Nobody may be there any more to be told.
    fn tell(&mut self, line: &str) {
        let _ = writeln!(self.tell, "{line}");
    }

    /// Lets go of what the user's shell may wait for the end of.
    pub(crate) fn let_go_of_streams() -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("/dev/null", &error);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        rustix::stdio::dup2_stdin(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .and_then(|()| rustix::stdio::dup2_stderr(&null))
            .map_err(|errno| failed(errno.into()))
    }

    /// Takes notice of the end of everybody, and tells what happens to the program.
    pub(crate) fn reap(mut self, program: i32) -> ExitCode {
        let _ = self.found.read(&mut [0]); // it is closed, then or now
        while let Ok((who, event)) = wait::wait_any_child() {
            if who != program {
                continue;
            }
            match event {
                Event::Exited(code) => self.tell(&format!("exited {code}")),
                Event::Killed(signal) => self.tell(&format!("killed {signal}")),
                Event::Signal(signal) | Event::Stop(signal) => self.tell(&format!("stopped {signal}")),
                Event::Continued => self.tell("continued"),
                Event::SyscallStop | Event::PtraceEvent(_) => {}
            }
        }
        ExitCode::SUCCESS
    }
}

impl Outside {
    /// Waits until the program runs, and tells of it under the pid that it has out here; `Err` is how the restore failed,
    /// which has been said.
    pub(crate) fn await_running(&mut self) -> Result<Restored, ExitCode> {
        let line = self.next_line();
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [pid, took_us, processes, tasks, mappings, descriptors, page_bytes] = numbers[..] else {
            return Err(code_of(self.between));
        };
        let report = Report {
            took: Duration::from_micros(took_us),
            processes: processes as usize,
            tasks: tasks as usize,
            mappings: mappings as usize,
            descriptors: descriptors as usize,
            page_bytes,
        };
        let inner = pid as i32;
        let init = children_of(self.between).next().unwrap_or(0);
        let pid = outer_pid(init, inner).unwrap_or(init);
        crate::show::say(&format!(
            "without the right to choose pids (CAP_CHECKPOINT_RESTORE), the program lives in user and pid namespaces of its \
             own: it sees itself as process {inner}; out here it is {pid}, below {init}",
        ));
        Ok(Restored { pid, report })
    }

    /// The program is held by a pidfd, or nobody wants to: its end may be taken notice of.
    pub(crate) fn has_found_it(&mut self) {
        self.found = None;
    }

    /// What happens next to the program.
    pub(crate) fn next_event(&mut self) -> Event {
        let line = self.next_line();
        let (word, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number = number.parse().unwrap_or(0);
        match word {
            "exited" => Event::Exited(number),
            "stopped" => Event::Signal(number),
            "continued" => Event::Continued,
            "killed" => Event::Killed(number),
            // Whoever told us has been killed, and with it all that lived in its namespace.
            _ => Event::Killed(rustix::process::Signal::KILL.as_raw()),
        }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.told.read_line(&mut line); // an end of the pipe is an empty line
        line.trim_end().to_owned()
    }
}

/// The pid that a child of pid 1 has out here.
fn outer_pid(init: i32, inner: i32) -> Option<i32> {
    children_of(init).find(|pid| {
        let status = std::fs::read(format!("/proc/{pid}/status")).ok();
        let status = status.and_then(|bytes| rekindle_procfs::status::parse(&bytes).ok());
        status.is_some_and(|status| status.nstgid.last() == Some(&inner))
    })
}

fn children_of(pid: i32) -> impl Iterator<Item = i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.into_iter()
}

/// Waits for the end of a child, and ends as it did.
fn code_of(child: i32) -> ExitCode {
    loop {
        match wait::wait_child(child) {
            Ok(Event::Exited(code)) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
            Ok(Event::Killed(_)) | Err(_) => return ExitCode::FAILURE,
            Ok(_) => {}
        }
    }
}
