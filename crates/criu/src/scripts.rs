//! Action scripts: programs of the user's that run at stages of a dump and a restore (criu(8), `--action-script`).
//!
//! ```text
//! dump:    pre-dump ─ (frozen) network-lock ─ (image complete) post-dump ─ network-unlock, if the tree goes on
//! restore: pre-restore ─ (root created) setup-namespaces ─ post-setup-namespaces ─ (all back) post-restore ─
//!          network-unlock ─ pre-resume ─ (it runs) post-resume
//! ```
//!
//! The network is locked for a tree with a network namespace of its own. A script that fails aborts what goes on, but
//! after the last stage, when it is too late.

use crate::failure::Failure;
use crate::options::shown;
use crate::places::Places;
use crate::settings::Settings;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// When a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    PreDump,
    NetworkLock,
    PostDump,
    PreRestore,
    SetupNamespaces,
    PostSetupNamespaces,
    PostRestore,
    NetworkUnlock,
    PreResume,
    PostResume,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreDump => "pre-dump",
            Self::NetworkLock => "network-lock",
            Self::PostDump => "post-dump",
            Self::PreRestore => "pre-restore",
            Self::SetupNamespaces => "setup-namespaces",
            Self::PostSetupNamespaces => "post-setup-namespaces",
            Self::PostRestore => "post-restore",
            Self::NetworkUnlock => "network-unlock",
            Self::PreResume => "pre-resume",
            Self::PostResume => "post-resume",
        })
    }
}

/// The scripts that were named.
pub(crate) struct Scripts {
    list: Vec<Script>,
    images: PathBuf,
    work: PathBuf,
}

/// One of them.
enum Script {
    /// The path of a file.
    File(PathBuf),
    /// A command line for a shell, as there is no file of that name.
    Text(OsString),
}

impl Scripts {
    /// Those of the settings. A name is looked up here, then in the work directory.
    pub(crate) fn of(settings: &Settings, places: &Places) -> Self {
        let script = |name: &OsString| {
            let here = std::path::absolute(name).ok();
            let found = here.into_iter().chain([places.work.join(name)]).find(|path| path.is_file());
            found.map_or_else(|| Script::Text(name.clone()), Script::File)
        };
        let list = settings.action_scripts.iter().map(script).collect();
        Self { list, images: places.images.clone(), work: places.work.clone() }
    }

    /// Runs all of them, up to the first that fails. `pid`: of the tree's root, where there is one.
    pub(crate) fn run(&self, action: Action, pid: Option<i32>) -> Result<(), Failure> {
        if self.list.is_empty() {
            return Ok(());
        }
        tracing::info!("Running {action} scripts");
        self.list.iter().try_for_each(|script| self.run_one(script, action, pid))
    }

    fn run_one(&self, script: &Script, action: Action, pid: Option<i32>) -> Result<(), Failure> {
        // The shell also runs files that do not say in their first line who runs them.
        let mut command = Command::new("/bin/sh");
        let name = match script {
            Script::File(path) => {
                command.args(["-c", "exec \"$0\""]).arg(path);
                shown(path.as_os_str())
            }
            Script::Text(text) => {
                command.arg("-c").arg(text);
                shown(text)
            }
        };
        command.current_dir(&self.work);
        command.env("CRTOOLS_SCRIPT_ACTION", action.to_string()).env("CRTOOLS_IMAGE_DIR", &self.images);
        match pid {
            Some(pid) => command.env("CRTOOLS_INIT_PID", pid.to_string()),
            None => command.env_remove("CRTOOLS_INIT_PID"),
        };
        let status = command.status();
        let status =
            status.map_err(|error| Failure::io(&format!("running the action script {name}"), &error))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("the action script {name} failed at {action}: {status}")))
    }
}

/// Whether a process has a network namespace of its own, not ours: then the network of its tree can be locked.
pub(crate) fn has_own_network(pid: i32) -> bool {
    let namespace = |process: &str| std::fs::read_link(Path::new("/proc").join(process).join("ns/net")).ok();
    match (namespace(&pid.to_string()), namespace("self")) {
        (Some(its), Some(ours)) => its != ours,
        _ => false,
    }
}
