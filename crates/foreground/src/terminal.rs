//! The terminal that we are on, and who has it.
//!
//! It is lent to the group of the program that had it at the checkpoint, before the program runs, with the settings that it
//! had given its own. A shell does the same with its jobs. What we find when the program stops or ends goes back to our
//! caller: the foreground, and the settings.
//!
//! ```text
//!            lend                         stop, end                        SIGCONT in the foreground
//!  caller's ───────> program's group ───────────────────> caller's again ─────────────────────────> program's group
//!  settings          its settings          kept for later                                           as kept
//! ```

use rekindle_sys::tty::{self, SETTINGS_LEN};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use std::fs::{File, OpenOptions};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Modes = [u8; SETTINGS_LEN];

/// See the module's story.
pub(crate) struct Terminal {
    tty: Option<File>,
    lending: Mutex<Lending>,
}

#[derive(Default)]
struct Lending {
    /// The group that has it, or had it when it was last taken back.
    borrower: Option<Pid>,
    /// What our caller had set, while the program's settings are in place.
    ours: Option<Modes>,
    /// What the program had set, while our caller has the terminal.
    theirs: Option<Modes>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok();
        Self { tty, lending: Mutex::default() }
    }

    fn lending(&self) -> MutexGuard<'_, Lending> {
        self.lending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn foreground(&self) -> Option<(&File, Pid)> {
        let tty = self.tty.as_ref()?;
        Some((tty, tcgetpgrp(tty).ok()?))
    }

    /// The settings that the program is to find, once it is lent the terminal.
    pub(crate) fn note_settings(&self, modes: Option<Modes>) {
        self.lending().theirs = modes;
    }

    /// The group of the program that was last lent it.
    pub(crate) fn borrower(&self) -> Option<Pid> {
        self.lending().borrower
    }

    /// Whether what is typed goes to us, or to the program through us.
    pub(crate) fn is_ours_or_lent(&self) -> bool {
        let borrower = self.borrower();
        self.foreground().is_some_and(|(_, group)| is_with_us(group, borrower))
    }

    /// Gives it to a group of the program, if it is ours to give. Tells whether that has it now.
    pub(crate) fn lend(&self, to: Pid) -> bool {
        let Some((tty, group)) = self.foreground() else { return false };
        let mut lending = self.lending();
        if group != getpgrp() {
            return group == to;
        }
        if to != getpgrp() {
            // Fails for a group of another session.
            if tcsetpgrp(tty, to).is_err() {
                return false;
            }
            lending.borrower = Some(to);
        }
        if let Some(theirs) = lending.theirs.take() {
            lending.ours = tty::settings(tty).ok();
            let _ = tty::set_settings(tty, &theirs);
        }
        to != getpgrp()
    }

    /// Takes it back from the program, unless somebody else has it by now. The program may be without a group by then.
    pub(crate) fn take_back(&self) {
        let mut lending = self.lending();
        let ours = lending.ours.take();
        let Some((tty, group)) = self.foreground() else { return };
        if !is_with_us(group, lending.borrower) {
            return;
        }
        if group != getpgrp() {
            if group_exists(group) {
                lending.borrower = Some(group); // a shell in the program may have given it to another job of its own
            }
            let _ = tcsetpgrp(tty, getpgrp());
        }
        if let Some(ours) = ours {
            lending.theirs = tty::settings(tty).ok();
            let _ = tty::set_settings(tty, &ours);
        }
    }
}

/// Whether a group is ours, or one of the program's.
fn is_with_us(group: Pid, borrower: Option<Pid>) -> bool {
    let was_lent = borrower.is_some();
    group == getpgrp()
        || Some(group) == borrower
        || (was_lent && (!group_exists(group) || descends_from_us(group.as_raw_pid())))
}

fn group_exists(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_ok()
}

fn descends_from_us(pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    let parent = |pid: &i32| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        rekindle_procfs::stat::parse(&stat).ok().map(|stat| stat.ppid).filter(|parent| *parent > 0)
    };
    std::iter::successors(Some(pid), parent).any(|ancestor| ancestor == own)
}
