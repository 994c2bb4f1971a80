//! `rekindle restore FILE`: an image into a running program.

use crate::enclosure::{self, Inside, Outside, Side};
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::progress::Bar;
use crate::show;
use rekindle::Restore;
use rekindle::restore::{Clocks, OnTerminal, Report, Restored};
use rekindle_foreground::Foreground;
use rekindle_sys::task::{Kcmp, kcmp};
use std::cmp::Ordering;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::NamedTempFile;

const EXAMPLES: &str = "\
Examples:
  rekindle restore job.rkd             here: Ctrl-C and Ctrl-Z work as they did
  rekindle restore job.rkd --detach    leave it alone once it runs
  rekindle restore job.rkd --detach --pidfile job.pid
  ssh other cat job.rkd | rekindle restore -

The program has its old pid, which must be free, and finds the files that it
had open, which must be as they were. Its terminal, or the pipes that led out
of it, are those of this command now.
In the foreground, signals are passed on to the program, and this command ends
as the program does: with its exit code, or of the same signal. The program has
the terminal as it had its own, and draws itself anew if it fills the screen; a
shell that led its session becomes a job of yours. With --detach, a job stays in
the background, and a shell reads the end of the file where the terminal was.
Whoever may not choose pids (see rekindle check) gets the program in user and
pid namespaces of its own: it sees its old pid there, and has another outside.
With --detach, 0 says that the program runs; its pid is printed on standard
output, or on standard error if the program has that standard output.
If nothing could be restored, the exit code is 1 to 5 (see rekindle --help).";

/// Bring the program in an image back to life
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image; `-` is standard input, which is read to the image's end and no further
    #[arg(value_name = "FILE|-")]
    image: PathBuf,
    /// End when the program runs, instead of staying as its parent
    #[arg(long)]
    detach: bool,
    /// Write the program's pid to this file once it runs
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Take files that were modified since the checkpoint as they are now
    #[arg(long)]
    accept_changed_files: bool,
    /// The program's CLOCK_MONOTONIC and CLOCK_BOOTTIME: "auto": on the boot of the checkpoint they have gone on, on
    /// another boot or machine they go on from where they were (in a time namespace); "keep": always so; "host": they
    /// are those of this machine
    #[arg(long, value_name = "MANNER", default_value = "auto")]
    clocks: ClocksArg,
    /// Tell what was done as JSON: on standard error, as standard output is the program's; on standard output
    /// with --detach, unless the program has it
    #[arg(long)]
    pub(super) json: bool,
}

/// The values of `--clocks`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ClocksArg {
    Auto,
    Keep,
    Host,
}

impl From<ClocksArg> for Clocks {
    fn from(arg: ClocksArg) -> Self {
        match arg {
            ClocksArg::Auto => Self::Auto,
            ClocksArg::Keep => Self::Keep,
            ClocksArg::Host => Self::Host,
        }
    }
}

/// Restores the program, and stays with it if wanted.
pub(crate) fn run(args: &Args, verbose: bool) -> Outcome {
    let image = Image::open(&args.image)?;
    let name = image.name();
    let pidfile = args.pidfile.as_deref().map(PidFile::prepare).transpose()?;
    match enclosure::enter()? {
        Side::InPlace => in_place(args, verbose, image, &name, pidfile),
        Side::Outside(outside) => stand_in(args, verbose, outside, pidfile),
        Side::Between(code) => {
            std::mem::forget(pidfile);
            Ok(code)
        }
        Side::Inside(inside) => {
            std::mem::forget(pidfile); // the other's to write, or to remove
            within(args, image, &name, inside)
        }
    }
}

/// For the one who has restored it in namespaces of its own.
fn stand_in(args: &Args, verbose: bool, mut outside: Outside, pidfile: Option<PidFile>) -> Outcome {
    let mut foreground = if args.detach { None } else { Some(Foreground::prepare()?) };
    let restored = match outside.await_running() {
        Ok(restored) => restored,
        Err(code) => return Ok(code),
    };
    if let Some(foreground) = &mut foreground {
        foreground.adopt(restored.pid)?;
    }
    outside.has_found_it();
    let noted = pidfile.map_or(Ok(()), |pidfile| pidfile.write(restored.pid));
    tell(args, verbose, &restored);
    match foreground {
        None => noted.map(|()| ExitCode::SUCCESS),
        Some(foreground) => {
            if let Err(failure) = noted {
                failure.report(false);
            }
            Ok(foreground.stay_told(|_| Ok(outside.next_event()))?)
        }
    }
}

/// As pid 1 of a namespace of its own.
fn within(args: &Args, image: Image, name: &str, mut inside: Inside) -> Outcome {
    let restored = spawn(args, image, None).map_err(|failure| failure.of_image(name))?;
    inside.tell_running(&restored)?;
    if args.detach {
        Inside::let_go_of_streams()?;
    }
    Ok(inside.reap(restored.pid))
}

fn in_place(args: &Args, verbose: bool, image: Image, name: &str, pidfile: Option<PidFile>) -> Outcome {
    let mut foreground = if args.detach { None } else { Some(Foreground::prepare()?) };
    let restored = spawn(args, image, foreground.as_ref()).map_err(|failure| failure.of_image(name))?;
    // It runs: what fails from here on must not look as if it did not.
    if let Some(foreground) = &mut foreground {
        foreground.adopt(restored.pid)?;
    }
    let noted = pidfile.map_or(Ok(()), |pidfile| pidfile.write(restored.pid));
    tell(args, verbose, &restored);
    match foreground {
        None => noted.map(|()| ExitCode::SUCCESS),
        Some(foreground) => {
            if let Err(failure) = noted {
                failure.report(false);
            }
            Ok(foreground.stay()?)
        }
    }
}

fn spawn(args: &Args, image: Image, foreground: Option<&Foreground>) -> Result<Restored, Failure> {
    match image {
        Image::File { path, .. } => spawn_from(args, Restore::from_file(path)?, foreground),
        Image::Stream { input, .. } => spawn_from(args, Restore::<File>::from(input), foreground),
    }
}

fn spawn_from<R: Read + Send>(
    args: &Args,
    restore: Restore<'_, R>,
    foreground: Option<&Foreground>,
) -> Result<Restored, Failure> {
    let ready = |_, terminal: &OnTerminal| {
        if let Some(foreground) = foreground {
            foreground.hand_over(terminal.foreground, terminal.modes);
        }
    };
    let bar = Bar::new("restoring memory");
    let progress = |progress| bar.tell(progress);
    Ok(restore
        .detached(args.detach)
        .parent_stays(std::process::id() == 1)
        .accept_changed_files(args.accept_changed_files)
        .clocks(args.clocks.into())
        .progress(&progress)
        .ready(&ready)
        .spawn()?)
}

/// Says what was done. The program's output is the program's: nothing of ours gets into it.
fn tell(args: &Args, verbose: bool, restored: &Restored) {
    let Restored { pid, report } = *restored;
    let Report { took, processes, tasks, mappings, descriptors, page_bytes } = report;
    let stdout_is_free = args.detach && !has_our_stdout(pid);
    if args.json {
        let json = serde_json::json!({
            "pid": pid,
            "took_us": took.as_micros() as u64,
            "processes": processes,
            "threads": tasks,
            "mappings": mappings,
            "descriptors": descriptors,
            "page_bytes": page_bytes,
        });
        say(stdout_is_free, &json.to_string());
    } else if stdout_is_free && args.pidfile.is_none() {
        say(true, &pid.to_string());
    }
    if verbose || (args.detach && !args.json && show::stderr_is_terminal()) {
        show::say(&format!(
            "process {pid} runs again: {}{}, {}, {}, {} of memory, in {}",
            show::tree(processes),
            show::count(tasks, "thread"),
            show::count(mappings, "mapping"),
            show::count(descriptors, "descriptor"),
            show::bytes(page_bytes),
            show::time(took),
        ));
    } else if args.detach && !args.json && !stdout_is_free && args.pidfile.is_none() {
        show::say(&pid.to_string());
    }
}

fn say(on_stdout: bool, text: &str) {
    if on_stdout {
        let _ = show::print(&format!("{text}\n")); // the program runs all the same
    } else {
        show::say(text);
    }
}

/// Whether what we write to standard output would get into what the program writes.
fn has_our_stdout(pid: i32) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let own = std::process::id() as i32;
    let mut numbers = numbers;
    numbers.any(|fd| kcmp(own, pid, Kcmp::File, 1, fd) == Ok(Ordering::Equal))
}

/// A file for the pid, made before there is one: if it cannot be, nothing is restored.
struct PidFile {
    draft: NamedTempFile,
    path: PathBuf,
}

impl PidFile {
    fn prepare(path: &Path) -> Result<Self, Failure> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let draft = tempfile::Builder::new()
            .prefix(".rekindle-pid.")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(parent.unwrap_or(Path::new(".")));
        let failed = |error| Failure::io(&format!("making the file {}", path.display()), &error);
        Ok(Self { draft: draft.map_err(failed)?, path: path.to_path_buf() })
    }

    fn write(mut self, pid: i32) -> Result<(), Failure> {
        let what = format!("process {pid} runs, but its pid could not be written to {}", self.path.display());
        writeln!(self.draft, "{pid}").map_err(|error| Failure::io(&what, &error))?;
        self.draft.persist(&self.path).map(drop).map_err(|error| Failure::io(&what, &error.error))
    }
}
