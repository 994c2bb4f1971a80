//! `--freeze-cgroup DIR`: the control group (cgroups(7)) whose freezer may stop the tree.
//!
//! CRIU lets the freezer stop a tree that it could not collect otherwise. Here a tree that forks without pause is caught
//! anyway, so that the freezer need not be touched. But the tree must be in that group, and must not be frozen: what is
//! frozen executes nothing, not even for us.

use crate::failure::Failure;
use std::path::{Path, PathBuf};

/// A control group with a freezer.
pub(crate) struct FreezerGroup {
    directory: PathBuf,
    state: State,
}

/// What the freezer of a group is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Thawed,
    Frozen,
}

impl FreezerGroup {
    /// That of a directory below /sys/fs/cgroup, of either version.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let read = |name: &str| std::fs::read_to_string(directory.join(name));
        // Linux's Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst
        let is_frozen = match (read("freezer.state"), read("cgroup.events")) {
            (Ok(state), _) => state.trim_end() != "THAWED",
            (_, Ok(events)) => events.lines().any(|line| line == "frozen 1"),
            (Err(error), Err(_)) => {
                let what =
                    format!("--freeze-cgroup {}: it is no control group with a freezer", directory.display());
                return Err(Failure::io(&what, &error));
            }
        };
        let state = if is_frozen { State::Frozen } else { State::Thawed };
        Ok(Self { directory: directory.to_owned(), state })
    }

    /// Refuses a tree that is not in it, or that is frozen.
    pub(crate) fn must_hold(&self, pid: i32) -> Result<(), Failure> {
        let shown = self.directory.display();
        if !holds(&self.directory, &pid.to_string()) {
            return Err(Failure::new(format!("--freeze-cgroup {shown}: process {pid} is not in that group")));
        }
        if self.state == State::Frozen {
            return Err(Failure::new(format!(
                "--freeze-cgroup {shown}: the group is frozen, and a tree that is frozen cannot be dumped yet; thaw it first"
            )));
        }
        Ok(())
    }
}

/// Whether a process is in a group, or one below it.
fn holds(directory: &Path, pid: &str) -> bool {
    let members = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut below = std::fs::read_dir(directory).into_iter().flatten().flatten();
    members.lines().any(|member| member == pid)
        || below.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && holds(&entry.path(), pid))
}
