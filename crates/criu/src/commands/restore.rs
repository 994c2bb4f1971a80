//! `criu restore`: the tree in `rekindle.img` runs again.
//!
//! ```text
//! pre-restore ── root created: setup-namespaces, post-setup-namespaces ── all back: pid file, post-restore,
//!   (network-unlock,) pre-resume ── runs: post-resume ── stats-restore ── end (-d), stay as its parent, or become CMD
//! ```
//!
//! Whatever fails before it runs, a script included, leaves nothing behind.

use crate::commands::Outcome;
use crate::commands::dump::{tcp_policy, tree};
use crate::cpuinfo;
use crate::failure::Failure;
use crate::log;
use crate::places::Places;
use crate::scripts::{Action, Scripts, has_own_network};
use crate::settings::Settings;
use crate::stats::{self, StatsEntry};
use crate::status;
use rekindle::restore::{ChangedFiles, OnTerminal, Report, Restored};
use rekindle::stage::RestoreStage;
use rekindle::{Error, Restore};
use rekindle_foreground::Foreground;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Restores the tree, and stays with it if wanted.
pub(crate) fn run(settings: &Settings, places: &Places) -> Outcome {
    let image = places.image_to_read()?;
    if let Some(capabilities) = settings.capabilities {
        cpuinfo::compare(&places.images, capabilities)?;
    }
    let stays = !settings.detached && settings.exec_cmd.is_none();
    let mut foreground = if stays { Some(Foreground::prepare()?) } else { None };
    let restoring = Restoring {
        settings,
        scripts: Scripts::of(settings, places),
        log: places.log.clone(),
        image: image.clone(),
        pidfile: places.pidfile.as_deref().map(PidFile::prepare).transpose()?,
        begun: Instant::now(),
        forking: Cell::new(Duration::ZERO),
    };
    let Restored { pid, report } = restoring.make(&image, foreground.as_ref())?;
    // It runs: what fails from here on must not look as if it did not.
    if let Some(foreground) = &mut foreground {
        foreground.adopt(pid)?;
    }
    if let Err(failure) = restoring.scripts.run(Action::PostResume, Some(pid)) {
        tracing::warn!("{}", failure.sentence());
    }
    let Report { took, processes: _, tasks: _, mappings: _, descriptors: _, page_bytes } = report;
    let stats = stats::Restore::of(restoring.forking.get(), took, page_bytes);
    stats::keep(&StatsEntry { dump: None, restore: Some(stats) }, &places.work, settings.display_stats);
    status::tell(settings.status_fd);
    tracing::info!("Restore finished successfully. Process {pid} runs again.");
    match (foreground, &settings.exec_cmd) {
        (Some(foreground), _) => Ok(foreground.stay()?),
        (None, Some(command)) => Err(become_command(command)),
        (None, None) => Ok(ExitCode::SUCCESS),
    }
}

/// Executes a command in our place, so that it is the tree's parent. Returns if it cannot.
fn become_command(command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new("--exec-cmd names no command");
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    Failure::io(&format!("the tree runs, but {} cannot be executed", crate::options::shown(program)), &error)
}

/// A restore in the making.
struct Restoring<'s> {
    settings: &'s Settings,
    scripts: Scripts,
    log: Option<PathBuf>,
    image: PathBuf,
    pidfile: Option<PidFile>,
    begun: Instant,
    forking: Cell<Duration>,
}

impl Restoring<'_> {
    fn make(&self, image: &Path, foreground: Option<&Foreground>) -> Result<Restored, Failure> {
        self.scripts.run(Action::PreRestore, None)?;
        tracing::info!("Restoring from {}", image.display());
        let say = |stage, pid| self.at(stage, pid).map_err(|failure| Error::GivenUp(failure.sentence()));
        let ready = |_, terminal: &OnTerminal| {
            if let Some(foreground) = foreground {
                foreground.hand_over(terminal.foreground, terminal.modes);
            }
        };
        let restored = Restore::from_file(image)?
            // As CRIU, which knows no times of files.
            .changed_files(ChangedFiles::SameSize)
            .detached(self.settings.detached && self.settings.exec_cmd.is_none())
            .sibling(self.settings.sibling)
            .leave_stopped(self.settings.leave_stopped)
            .tcp(tcp_policy(self.settings))
            .stages(&say)
            .ready(&ready)
            .spawn();
        let restored = restored?;
        if let Some(pidfile) = &self.pidfile {
            pidfile.is_true.set(true);
        }
        Ok(restored)
    }

    fn at(&self, stage: RestoreStage, pid: i32) -> Result<(), Failure> {
        let run = |action| self.scripts.run(action, Some(pid));
        match stage {
            RestoreStage::Created => {
                self.forking.set(self.begun.elapsed());
                run(Action::SetupNamespaces)?;
                run(Action::PostSetupNamespaces)
            }
            RestoreStage::Restored => {
                if let Some(pidfile) = &self.pidfile {
                    pidfile.write(pid)?;
                }
                run(Action::PostRestore)?;
                if has_own_network(pid) {
                    run(Action::NetworkUnlock)?;
                }
                if self.settings.log_pid {
                    log::write_for_each(self.log.as_deref(), &tree(pid), "Restored from", &self.image);
                }
                run(Action::PreResume)
            }
        }
    }
}

/// A file for the pid, made before there is one: if it cannot be, nothing is restored. It goes again if nothing is.
struct PidFile {
    path: PathBuf,
    file: File,
    is_true: Cell<bool>,
}

impl PidFile {
    fn prepare(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path);
        let file =
            file.map_err(|error| Failure::io(&format!("making the file {}", path.display()), &error))?;
        Ok(Self { path: path.to_path_buf(), file, is_true: Cell::new(false) })
    }

    /// Decimal digits, and nothing else: that is what readers of CRIU's expect.
    fn write(&self, pid: i32) -> Result<(), Failure> {
        let written = (&self.file).write_all(pid.to_string().as_bytes());
        written.map_err(|error| Failure::io(&format!("writing {}", self.path.display()), &error))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.is_true.get() {
            let _ = std::fs::remove_file(&self.path); // an empty one says as much
        }
    }
}
