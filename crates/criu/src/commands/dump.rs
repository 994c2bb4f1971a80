//! `criu dump`: the tree into `rekindle.img`, then killed unless told otherwise.
//!
//! ```text
//! pre-dump ── frozen: network-lock ── image complete: post-dump ── killed, stopped, or goes on ── stats-dump
//! ```
//!
//! Whatever fails before the last step, a script included, the tree goes on as before.

use crate::commands::Outcome;
use crate::cpuinfo;
use crate::failure::Failure;
use crate::freezer::FreezerGroup;
use crate::log;
use crate::places::Places;
use crate::scripts::{Action, Scripts, has_own_network};
use crate::settings::Settings;
use crate::stats::{self, Dump, DumpTimes, StatsEntry};
use crate::status;
use rekindle::checkpoint::{DELETED_MAX, Report, TcpPolicy, Unaccepted};
use rekindle::stage::CheckpointStage;
use rekindle::{Checkpoint, Error};
use rekindle_foreground::interrupt::Watch;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Dumps the tree.
pub(crate) fn run(settings: &Settings, places: &Places) -> Outcome {
    let pid = settings.tree()?;
    let image = places.image();
    let dump = Dumping::new(settings, places, pid);
    let report = dump.make(&image)?;
    if dump.kills() {
        await_reaped(&dump.tree.borrow());
    }
    let Report {
        pause,
        took: _,
        processes: _,
        tasks: _,
        mappings: _,
        descriptors: _,
        page_bytes,
        image_bytes,
    } = report;
    let times = DumpTimes { pause, ..dump.times.get() };
    let stats = StatsEntry { dump: Some(Dump::of(times, page_bytes)), restore: None };
    stats::keep(&stats, &places.work, settings.display_stats);
    if settings.log_pid {
        log::write_for_each(places.log.as_deref(), &dump.tree.borrow(), "Dumped into", &image);
    }
    status::tell(settings.status_fd);
    tracing::info!("{page_bytes} bytes of memory in {image_bytes} bytes of {}", image.display());
    tracing::info!("Dumping finished successfully");
    Ok(ExitCode::SUCCESS)
}

/// What becomes of established connections.
pub(super) fn tcp_policy(settings: &Settings) -> TcpPolicy {
    if settings.tcp_close { TcpPolicy::Close } else { TcpPolicy::Keep }
}

/// How long to wait for init.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits until the pids of a killed tree are free. Those without a parent of their own any more are init's to take notice
/// of: it will, and then `criu restore` may follow at once. Other parents may have been told to wait for us first.
fn await_reaped(tree: &[i32]) {
    let of_init = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("\nState:\tZ") && status.contains("\nPPid:\t1\n")
    };
    let deadline = Instant::now() + PATIENCE;
    while tree.iter().any(of_init) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1)); // an end could be waited for; that it is reaped, cannot
    }
}

/// The processes of a tree that stands still.
pub(super) fn tree(root: i32) -> Vec<i32> {
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let children: String = children.collect();
        pids.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        next += 1;
    }
    pids
}

/// A dump in the making.
struct Dumping<'s> {
    settings: &'s Settings,
    places: &'s Places,
    pid: i32,
    scripts: Scripts,
    begun: Cell<Instant>,
    times: Cell<DumpTimes>,
    network_is_locked: Cell<bool>,
    is_complete: Cell<bool>,
    /// Its pids, once it stands still.
    tree: RefCell<Vec<i32>>,
}

impl<'s> Dumping<'s> {
    fn new(settings: &'s Settings, places: &'s Places, pid: i32) -> Self {
        Self {
            settings,
            places,
            pid,
            scripts: Scripts::of(settings, places),
            begun: Cell::new(Instant::now()),
            times: Cell::default(),
            network_is_locked: Cell::new(false),
            is_complete: Cell::new(false),
            tree: RefCell::default(),
        }
    }

    fn kills(&self) -> bool {
        !self.settings.leave_running && !self.settings.leave_stopped
    }

    fn make(&self, image: &Path) -> Result<Report, Failure> {
        self.scripts.run(Action::PreDump, Some(self.pid))?;
        if let Some(capabilities) = self.settings.capabilities {
            cpuinfo::note(&self.places.images, capabilities)?;
        }
        tracing::info!("Dumping process {}", self.pid);
        let told = |_, message: &str| tracing::error!("{message}");
        let watch = Watch::over_checkpoint(Some(image), told)?;
        self.begun.set(Instant::now());
        let say = |stage, _| self.at(stage).map_err(|failure| Error::GivenUp(failure.sentence()));
        let group = self.settings.freeze_cgroup.as_deref().map(FreezerGroup::open).transpose()?;
        if let Some(group) = &group {
            group.must_hold(self.pid)?;
        }
        let made = Checkpoint::of(self.pid)
            .kill(self.kills())
            .leave_stopped(self.settings.leave_stopped)
            .timeout(self.settings.timeout)
            .deleted_files_max(self.settings.ghost_limit.unwrap_or(DELETED_MAX))
            .tcp(tcp_policy(self.settings))
            .unaccepted(if self.settings.skip_in_flight { Unaccepted::LeaveOut } else { Unaccepted::Refuse })
            .search_below(self.settings.scan_paths.clone())
            .stages(&say)
            .to_file(image);
        watch.over();
        if made.is_err() && self.is_complete.get() {
            // Complete, but of a tree that has gone on: nobody should take it for what this dump was to be.
            let _ = std::fs::remove_file(image);
        }
        if self.network_is_locked.get() && (made.is_err() || !self.kills()) {
            let unlocked = self.scripts.run(Action::NetworkUnlock, Some(self.pid));
            unlocked.unwrap_or_else(|failure| tracing::warn!("{}", failure.sentence()));
        }
        Ok(made?)
    }

    fn at(&self, stage: CheckpointStage) -> Result<(), Failure> {
        let times = self.times.get();
        match stage {
            CheckpointStage::Frozen => {
                self.times.set(DumpTimes { freezing: self.begun.get().elapsed(), ..times });
                self.begun.set(Instant::now());
                if has_own_network(self.pid) {
                    self.network_is_locked.set(true);
                    self.scripts.run(Action::NetworkLock, Some(self.pid))?;
                }
            }
            CheckpointStage::Complete => {
                self.times.set(DumpTimes { writing: self.begun.get().elapsed(), ..times });
                self.is_complete.set(true);
                self.tree.replace(tree(self.pid));
                self.scripts.run(Action::PostDump, Some(self.pid))?;
            }
        }
        Ok(())
    }
}
