//! `criu`: the command line of CRIU 4.2, over rekindle, so that scripts and tools that call `criu` work unchanged.
//!
//! ```text
//! words ─ options (table, configuration files) ─> settings ─> descriptors closed ─> log ─> command ─> exit 0 or 1
//! ```
//!
//! The image is one stream, `rekindle.img`, in the directory that `-D` names; beside it lie the files that tools read
//! (stats.rs). What fails is told as `Error (rekindle): ` lines, the last ones of the log; nothing else is printed
//! than what `-v` asks for.

mod commands;
mod cpuinfo;
mod failure;
mod freezer;
mod log;
mod options;
mod places;
mod scripts;
mod settings;
mod stats;
mod status;

use commands::Command;
use failure::Failure;
use options::Line;
use places::Places;
use settings::Settings;
use std::io::Write;
use std::process::ExitCode;

/// The version of CRIU that this stands in for.
pub(crate) const VERSION: &str = "4.2";

fn main() -> ExitCode {
    log::begin();
    let line = Line::parse(std::env::args_os().skip(1));
    if line.has("help") {
        return print(&options::help());
    }
    if line.has("version") {
        return print(&format!("Version: {VERSION}\nrekindle {}\n", env!("CARGO_PKG_VERSION")));
    }
    let line = options::config::apply(line);
    let (settings, mut complaints) = Settings::of(&line);
    let command = Command::of(&line.words).map_err(|why| complaints.push(why));
    for fd in &settings.close {
        if let Err(errno) = rekindle_sys::fs::close_inherited(*fd) {
            complaints.push(format!("--close {fd}: {}", rekindle_sys::errno_text(errno)));
        }
    }
    if let Some(fd) = settings.status_fd
        && !status::is_open(fd)
    {
        complaints.push(format!("--status-fd {fd}: there is no such descriptor"));
    }
    let started = match &command {
        Ok(command) => start_log(command, &settings),
        Err(()) => Err(Failure::of(Vec::new())),
    };
    let places = match started {
        Ok(places) => places,
        // Without a log: all that is wrong goes to standard error.
        Err(failure) => {
            complaints.extend(failure.into_lines());
            log::tell_without_log(Failure::of(complaints));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match (command, complaints.is_empty()) {
        (Ok(command), true) => command.run(&settings, &places),
        _ => Err(Failure::of(complaints)),
    };
    outcome.unwrap_or_else(|failure| {
        failure.tell();
        ExitCode::FAILURE
    })
}

fn start_log(command: &Command, settings: &Settings) -> Result<Places, Failure> {
    let places = Places::of(settings, command.has_images())?;
    log::start(places.log.as_deref(), settings.verbosity)?;
    Ok(places)
}

/// Prints what was asked for. (`print!` would panic if nobody reads it.)
pub(crate) fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
