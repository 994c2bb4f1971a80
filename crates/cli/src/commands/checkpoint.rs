//! `rekindle checkpoint PID`: a running program into an image.

use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::show;
use rekindle::Checkpoint;
use rekindle::checkpoint::{OuterPeers, Report, TcpPolicy, Unaccepted};
use rekindle_foreground::interrupt::Watch;
use rekindle_image::Codec;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  rekindle checkpoint 4711                     into NAME-4711.rkd; it runs on
  rekindle checkpoint 4711 -o job.rkd --kill   end it, once the image is safe
  rekindle checkpoint 4711 -o job.rkd --compress zstd:3
  rekindle checkpoint 4711 --kill -o - | ssh other rekindle restore - --detach

The program stands still while its memory is written. If anything goes wrong,
even if rekindle is killed, it goes on as if nothing had happened.
`rekindle check PID` tells beforehand what stands in the way.
An image holds all that was in the program's memory, passwords too; it can be
read by its owner alone.";

/// Save a running program into an image
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The process
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// Where the image goes; `-` is standard output [default: NAME-PID.rkd]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End the program (by SIGKILL) once its image is complete
    #[arg(long)]
    kill: bool,
    /// none, lz4 (fast), or zstd, with a level from -7 to 19 if you like (small)
    #[arg(long, value_name = "none|lz4|zstd[:LEVEL]", default_value = "none", value_parser = codec)]
    compress: Codec,
    /// Refuse if a process outside has the other end of a socket; else, in the image, it is as if that had closed
    #[arg(long)]
    refuse_outer_peers: bool,
    /// How long a thread may take to stop
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// How large a deleted file that the program still uses may be: it goes into the image
    #[arg(long, value_name = "BYTES|1G", default_value = "1G", value_parser = size)]
    deleted_files_max: u64,
    /// What becomes of TCP connections to other programs: they live again, or are found closed
    #[arg(long, value_name = "keep|close", default_value = "keep", value_parser = tcp)]
    tcp: TcpPolicy,
    /// Leave out TCP connections that the program has not accepted yet, instead of refusing; they end when it is killed
    #[arg(long)]
    skip_in_flight: bool,
    /// Tell what was done as JSON, on standard output (on standard error if the image goes there)
    #[arg(long)]
    pub(super) json: bool,
}

fn codec(text: &str) -> Result<Codec, String> {
    const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;
    match text.split_once(':') {
        None if text == "none" => Ok(Codec::Raw),
        None if text == "lz4" => Ok(Codec::Lz4),
        None if text == "zstd" => Ok(Codec::Zstd(3)),
        Some(("zstd", level)) => match level.parse() {
            Ok(level) if LEVELS.contains(&level) => Ok(Codec::Zstd(level)),
            _ => Err("the level of zstd is a number from -7 to 19".to_owned()),
        },
        _ => Err("there are none, lz4, zstd, and zstd:LEVEL".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 =
        number.parse().map_err(|_| "a number is needed, with K, M or G behind it if you like")?;
    number.checked_mul(factor).ok_or_else(|| "no file is that large".to_owned())
}

fn tcp(text: &str) -> Result<TcpPolicy, String> {
    match text {
        "keep" => Ok(TcpPolicy::Keep),
        "close" => Ok(TcpPolicy::Close),
        _ => Err("there are keep and close".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err("a time longer than 0 is needed".to_owned()),
    }
}

/// Where the image goes.
enum Output {
    Stdout(File),
    File(PathBuf),
}

/// Makes the checkpoint, and says what was done.
pub(crate) fn run(args: &Args, verbose: bool) -> Outcome {
    let comm = comm(args.pid);
    let output = output(args, &comm)?;
    let path = match &output {
        Output::Stdout(_) => None,
        Output::File(path) => Some(path.as_path()),
    };
    let image = path.map(Path::to_path_buf);
    let watch = Watch::over_checkpoint(path, Failure::interrupted(args.json))?;
    let result = make(args, output);
    watch.over();
    let report = result?;
    let image = image.as_deref();
    if args.json {
        tell_json(args, &comm, image, &report)?;
    } else if verbose || show::stderr_is_terminal() {
        show::say(&sentence(args, &comm, image, &report));
    }
    Ok(ExitCode::SUCCESS)
}

fn make(args: &Args, output: Output) -> Result<Report, rekindle::Error> {
    let bar = Bar::new("saving memory");
    let progress = |progress| bar.tell(progress);
    let checkpoint = Checkpoint::of(args.pid).kill(args.kill).timeout(args.timeout);
    let outer_peers = if args.refuse_outer_peers { OuterPeers::Refuse } else { OuterPeers::Close };
    let checkpoint = checkpoint.codec(args.compress).deleted_files_max(args.deleted_files_max);
    let unaccepted = if args.skip_in_flight { Unaccepted::LeaveOut } else { Unaccepted::Refuse };
    let checkpoint = checkpoint.outer_peers(outer_peers).unaccepted(unaccepted);
    let checkpoint = checkpoint.tcp(args.tcp).progress(&progress);
    match output {
        Output::Stdout(stdout) => checkpoint.to(stdout),
        Output::File(path) => checkpoint.to_file(path),
    }
}

/// The name of the process's first thread; it is only told, and part of the image's name.
fn comm(pid: i32) -> Vec<u8> {
    let comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(comm)
}

fn output(args: &Args, comm: &[u8]) -> Result<Output, Failure> {
    match &args.output {
        Some(path) if path == Path::new("-") => {
            let stdout = std::io::stdout();
            if stdout.is_terminal() {
                let message =
                    "standard output is a terminal, and an image is no text; use `-o FILE`, or a pipe";
                return Err(Failure::usage(message));
            }
            let stdout = stdout.as_fd().try_clone_to_owned();
            let stdout = stdout.map_err(|error| Failure::io("standard output", &error))?;
            Ok(Output::Stdout(stdout.into()))
        }
        Some(path) => Ok(Output::File(path.clone())),
        None => {
            let name = default_name(comm, args.pid);
            show::say(&format!("the image goes to {name}"));
            Ok(Output::File(name.into()))
        }
    }
}

/// A file name made from any bytes that a program has called itself.
fn default_name(comm: &[u8], pid: i32) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' };
    let name: String = String::from_utf8_lossy(comm).chars().map(plain).collect();
    let name = name.trim_start_matches(['-', '.']);
    let name = if name.is_empty() { "process" } else { name };
    format!("{name}-{pid}.rkd")
}

fn sentence(args: &Args, comm: &[u8], image: Option<&Path>, report: &Report) -> String {
    let Report { pause, took: _, processes, tasks, mappings, descriptors, page_bytes, image_bytes } = *report; // the pause is what counts
    let place = match image {
        Some(path) => format!("is in {}", path.display()),
        None => "went to standard output".to_owned(),
    };
    let fate = if args.kill { "and was killed then" } else { "and goes on" };
    format!(
        "process {} ({}) {place}: {}{}, {}, {}, {} of memory, {} in all; it stood still for {}, {fate}",
        args.pid,
        show::name(comm),
        show::tree(processes),
        show::count(tasks, "thread"),
        show::count(mappings, "mapping"),
        show::count(descriptors, "descriptor"),
        show::bytes(page_bytes),
        show::bytes(image_bytes),
        show::time(pause),
    )
}

fn tell_json(args: &Args, comm: &[u8], image: Option<&Path>, report: &Report) -> Result<(), Failure> {
    let Report { pause, took, processes, tasks, mappings, descriptors, page_bytes, image_bytes } = *report;
    let text = show::json_text(&serde_json::json!({
        "pid": args.pid,
        "comm": show::name(comm),
        "image": image.map(|path| path.to_string_lossy()),
        "killed": args.kill,
        "pause_us": pause.as_micros() as u64,
        "took_us": took.as_micros() as u64,
        "processes": processes,
        "threads": tasks,
        "mappings": mappings,
        "descriptors": descriptors,
        "page_bytes": page_bytes,
        "image_bytes": image_bytes,
    }))?;
    if image.is_some() {
        return show::print(&text);
    }
    show::say(text.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs() {
        assert_eq!(codec("none"), Ok(Codec::Raw));
        assert_eq!(codec("lz4"), Ok(Codec::Lz4));
        assert_eq!(codec("zstd"), Ok(Codec::Zstd(3)));
        assert_eq!(codec("zstd:-7"), Ok(Codec::Zstd(-7)));
        for wrong in ["", "gzip", "zstd:", "zstd:20", "zstd:x", "lz4:3", "none:1"] {
            assert!(codec(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timeouts() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "ten", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn default_names_are_plain_files_here() {
        assert_eq!(default_name(b"python3", 7), "python3-7.rkd");
        assert_eq!(default_name(b"../etc/x", 7), "_etc_x-7.rkd");
        assert_eq!(default_name(b"-o a\nb\xff", 7), "o_a_b_-7.rkd");
        assert_eq!(default_name(b"..", 7), "process-7.rkd");
    }
}
