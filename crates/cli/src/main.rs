//! `rekindle`: checkpoint and restore for running Linux processes, on the command line.
//!
//! This file takes the command line apart; each subcommand is a file of `commands`. What fails becomes a `Failure`:
//! one sentence on standard error, and an exit status that docs/exit-codes.md describes.

mod commands;
mod enclosure;
mod failure;
mod image;
mod progress;
mod show;

use clap::{ArgAction, Parser};
use commands::Command;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// Save running programs, and bring them back
///
/// A program is saved into one file, with its memory, its threads and its open files, and goes on from there when it is
/// brought back. It need not be prepared, and does not notice.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, after_help = EXAMPLES, after_long_help = EXAMPLES_AND_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more of what is done, on standard error (twice: more still)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
}

macro_rules! examples {
    () => {
        "\
Examples:
  rekindle demo                        the main job, on a real program
  rekindle check                       what this machine allows
  rekindle check 4711                  can process 4711 be saved? If not, why?
  rekindle checkpoint 4711 -o job.rkd  save it; it runs on
  rekindle restore job.rkd             bring it back, once it has ended"
    };
}
const EXAMPLES: &str = examples!();
const EXAMPLES_AND_CODES: &str = concat!(
    examples!(),
    "

Exit codes:
  0  done
  1  failed; the program that was to be saved goes on, no half of one is left
  2  the command line makes no sense
  3  refused: it cannot be captured, or not here; nothing was touched
  4  the image is missing, damaged, of a newer version, or no image
  5  the image does not fit this machine now: a pid is taken, a file has changed
`rekindle restore` in the foreground ends as the restored program does."
);

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.verbose);
    let json = cli.command.wants_json();
    cli.command.run(cli.verbose > 0).unwrap_or_else(|failure| failure.report(json))
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(show::stderr_is_terminal())
        .init();
}
