//! Where measurements are made: the programs, the directories, and commands run under measurement.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// The programs that are compiled, and their sources.
const PROGRAMS: [(&str, &str); 3] = [
    ("measure", include_str!("../programs/measure.c")),
    ("plain", include_str!("../programs/plain.c")),
    ("subject", include_str!("../programs/subject.c")),
];

/// All that a case needs. Dropped, its directories go.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Rounds of each measurement.
    pub(crate) runs: u32,
    rekindle: PathBuf,
    disk: TempDir,
    tmpfs: TempDir,
    interrupted: Arc<AtomicBool>,
}

/// Where an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the disk.
    Disk,
    /// In memory.
    Tmpfs,
}

/// A command that succeeded, as wait4(2) and the command itself tell of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From before fork(2) until it was reaped.
    pub(crate) wall: Duration,
    /// Processor time, its own and the kernel's for it.
    pub(crate) cpu: Duration,
    /// The most memory it had, in bytes.
    pub(crate) max_rss: u64,
    /// The report of rekindle's --json; null for others.
    pub(crate) report: Value,
}

impl Measured {
    /// How long the program stood still.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_micros(self.number("pause_us"))
    }

    /// A number of the report; 0 if it is not there.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap_or(0)
    }
}

impl Lab {
    /// Builds and compiles what is needed.
    pub(crate) fn open(runs: u32, disk: Option<&Path>, tmpfs: &Path) -> Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        let target = target_directory()?;
        let rekindle = match std::env::var_os("REKINDLE_BIN") {
            Some(path) => path.into(),
            None => build(&target)?,
        };
        let inside = |dir: &Path| {
            let made = tempfile::Builder::new().prefix("rekindle-bench").tempdir_in(dir);
            made.with_context(|| dir.display().to_string())
        };
        let lab = Self {
            runs,
            rekindle,
            disk: inside(disk.unwrap_or(&target))?,
            tmpfs: inside(tmpfs)?,
            interrupted,
        };
        for (name, source) in PROGRAMS {
            compile(&lab.program(name), source)?;
        }
        Ok(lab)
    }

    /// One of [`PROGRAMS`].
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// A file in one of the directories.
    pub(crate) fn file(&self, place: Place, name: &str) -> PathBuf {
        let dir = match place {
            Place::Disk => &self.disk,
            Place::Tmpfs => &self.tmpfs,
        };
        dir.path().join(name)
    }

    /// `rekindle checkpoint`, the program left running; the image is new.
    pub(crate) fn checkpoint(&self, pid: i32, image: &Path) -> Result<Measured> {
        remove(image)?;
        let pid = pid.to_string();
        self.measure(
            &self.rekindle,
            &["checkpoint".as_ref(), pid.as_ref(), "--json".as_ref(), "-o".as_ref(), image.as_ref()],
        )
    }

    /// `rekindle restore --detach`: the program is our child afterwards.
    pub(crate) fn restore(&self, image: &Path) -> Result<Measured> {
        self.measure(
            &self.rekindle,
            &["restore".as_ref(), "--detach".as_ref(), "--json".as_ref(), image.as_ref()],
        )
    }

    /// `rekindle --version`: what starting and ending it costs.
    pub(crate) fn nothing(&self) -> Result<Measured> {
        self.measure(&self.rekindle, &["--version".as_ref()])
    }

    /// One of the plain programs that rekindle is compared with.
    pub(crate) fn plain(&self, what: &str, file: &Path, bytes: Option<u64>) -> Result<Measured> {
        if bytes.is_some() {
            remove(file)?;
        }
        let bytes = bytes.map(|bytes| bytes.to_string());
        let mut args: Vec<&OsStr> = vec![what.as_ref(), file.as_ref()];
        args.extend(bytes.as_deref().map(OsStr::new));
        self.measure(&self.program("plain"), &args)
    }

    fn measure(&self, program: &Path, args: &[&OsStr]) -> Result<Measured> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        let words = || format!("{} {args:?}", program.display());
        // Files, not pipes: what is restored may keep them open.
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut command = Command::new(self.program("measure"));
        command.arg(program).args(args).stdin(Stdio::null());
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let status = command.status().with_context(words)?;
        let (stdout, stderr) = (text(&mut stdout)?, text(&mut stderr)?);
        let last = stderr.lines().last().and_then(|line| line.strip_prefix("measured "));
        let numbers: Vec<u64> =
            last.unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
        match numbers.as_slice() {
            [0, wall, cpu, max_rss] if status.success() => Ok(Measured {
                wall: Duration::from_nanos(*wall),
                cpu: Duration::from_nanos(*cpu),
                max_rss: *max_rss,
                report: serde_json::from_str(&stdout).unwrap_or_default(),
            }),
            _ => bail!("{}: {}", words(), stderr.trim_end()),
        }
    }
}

/// Removes a file that may not be there.
pub(crate) fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| file.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Writes a file out and forgets what the page cache has of it: the next reader has to go to the disk.
pub(crate) fn forget(file: &Path) -> Result<()> {
    let file = File::open(file)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Reads a file, so that the page cache has it.
pub(crate) fn warm(file: &Path) -> Result<()> {
    std::io::copy(&mut File::open(file)?, &mut std::io::sink())?;
    Ok(())
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `target/`, above `target/PROFILE/rekindle-benches`.
fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).context("the benchmark is not in a target directory")?.to_path_buf())
}

/// The release build of the command line, up to date.
fn build(target: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--quiet", "--package", "rekindle-cli", "--target-dir"]).arg(target);
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("starting cargo")?;
    ensure!(status.success(), "rekindle does not build");
    Ok(target.join("release/rekindle"))
}

fn compile(program: &Path, source: &str) -> Result<()> {
    let file = program.with_extension("c");
    fs::write(&file, source)?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(&compiler);
    command.args(["-std=gnu17", "-O2", "-pthread"]).arg(&file).arg("-o").arg(program);
    let output = command.output().with_context(|| format!("starting the C compiler {compiler}"))?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Ok(())
}
