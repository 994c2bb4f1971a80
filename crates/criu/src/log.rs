//! The log: lines as CRIU's, because tools read them.
//!
//! ```text
//! (00.003125) Error (rekindle): pid 41, fd 7 (socket:[123]): ...     from level 3 on with seconds since the start
//! Warn  (rekindle): ...
//! ```
//!
//! A command that succeeds leaves no line with "Error". Without `--log-file` the log is standard error.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::failure::Failure;

/// The level without `-v`: errors and warnings.
pub(crate) const DEFAULT_LEVEL: u32 = 2;
/// From here on lines have times.
const LEVEL_WITH_TIMES: u32 = 3;

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// The command begins now.
pub(crate) fn begin() {
    BEGUN.get_or_init(Instant::now);
}

/// Opens the log. An existing file is emptied, not replaced: an engine may have made it, with a label of its own.
pub(crate) fn start(file: Option<&Path>, level: u32) -> Result<(), Failure> {
    let place = match file {
        None => Place::StandardError,
        Some(path) => {
            let what = format!("opening the log {}", path.display());
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
            Place::File(Arc::new(file.map_err(|error| Failure::io(&what, &error))?))
        }
    };
    let filter = match level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let lines = Lines { with_times: level >= LEVEL_WITH_TIMES };
    tracing_subscriber::fmt().with_max_level(filter).event_format(lines).with_writer(place).init();
    tracing::info!("Version: {} (rekindle {})", crate::VERSION, env!("CARGO_PKG_VERSION"));
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    tracing::info!(
        "Running on {} {} {} {} {}",
        text(system.nodename()),
        text(system.sysname()),
        text(system.release()),
        text(system.version()),
        text(system.machine()),
    );
    Ok(())
}

/// Where lines go.
#[derive(Clone)]
enum Place {
    StandardError,
    File(Arc<File>),
}

impl<'a> MakeWriter<'a> for Place {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::StandardError => io::stderr().write(bytes),
            Self::File(file) => file.as_ref().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is held back
    }
}

/// How lines look.
struct Lines {
    with_times: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut message = Message(String::new());
        event.record(&mut message);
        let elapsed = BEGUN.get_or_init(Instant::now).elapsed();
        for line in message.0.lines() {
            if self.with_times {
                write!(to, "({:02}.{:06}) ", elapsed.as_secs(), elapsed.subsec_micros())?;
            }
            to.write_str(before(*event.metadata().level()))?;
            writeln!(to, "{line}")?;
        }
        Ok(())
    }
}

/// What the line of a level begins with.
fn before(level: Level) -> &'static str {
    match level {
        Level::ERROR => "Error (rekindle): ",
        Level::WARN => "Warn  (rekindle): ",
        _ => "",
    }
}

/// The text of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Says that a command failed before it had a log.
pub(crate) fn tell_without_log(failure: Failure) {
    for line in failure.into_lines() {
        let _ = writeln!(io::stderr(), "{}{line}", before(Level::ERROR)); // perhaps nobody is there to hear it
    }
}

/// Writes a log for each process besides (`--log-pid`): what was done to it. One that cannot be written is told of.
pub(crate) fn write_for_each(log: Option<&Path>, pids: &[i32], what: &str, image: &Path) {
    let Some(log) = log else { return };
    for pid in pids {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{pid}"));
        let elapsed = BEGUN.get_or_init(Instant::now).elapsed();
        let time = format!("({:02}.{:06})", elapsed.as_secs(), elapsed.subsec_micros());
        if let Err(error) = std::fs::write(&name, format!("{time} pid {pid}: {what} {}\n", image.display())) {
            tracing::warn!("writing {}: {error}", Path::new(&name).display());
        }
    }
}
