//! Named points at which a fault can be injected, so that tests can show what happens when we fail or die there.
//!
//! `REKINDLE_FAULT=<point>:kill` makes the process kill itself there, `REKINDLE_FAULT=<point>:error` makes the step
//! fail, `REKINDLE_FAULT=<point>:stop` makes it wait there for a `SIGCONT`. Without the variable a point costs a comparison.

use crate::error::Error;
use std::sync::OnceLock;

/// All points, in the order in which they are passed.
pub const POINTS: &[&str] = &[
    "checkpoint-surveyed",
    "checkpoint-frozen",
    "checkpoint-surveyed-again",
    "checkpoint-rings-settled",
    "checkpoint-locked",
    "checkpoint-borrowed",
    "checkpoint-asked",
    "checkpoint-threads-asked",
    "checkpoint-records-written",
    "checkpoint-pages-half",
    "checkpoint-pages-written",
    "checkpoint-given-back",
    "checkpoint-finished",
    "checkpoint-synced",
    "checkpoint-renamed",
    "checkpoint-thawed",
    "restore-planned",
    "restore-born",
    "restore-emptied",
    "restore-mapped",
    "restore-all-born",
    "restore-filled",
    "restore-grouped",
    "restore-objects",
    "restore-protected",
    "restore-connected",
    "restore-opened",
    "restore-files",
    "restore-dead-ended",
    "restore-process",
    "restore-queues",
    "restore-threads",
    "restore-rings",
    "restore-stopped",
    "restore-unlocked",
    "restore-unmapped",
    "restore-registers",
    "restore-released",
];

/// Passes a point: fails or dies there if that was asked for.
pub(crate) fn point(name: &'static str) -> Result<(), Error> {
    debug_assert!(POINTS.contains(&name), "fault point {name} is not listed");
    tracing::debug!("{name}");
    static WANTED: OnceLock<Option<(String, String)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("REKINDLE_FAULT").ok()?;
        let (point, action) = value.split_once(':')?;
        Some((point.to_owned(), action.to_owned()))
    });
    match wanted {
        Some((point, action)) if point == name && action == "kill" => {
            let _ = rekindle_sys::signal::kill(std::process::id() as i32, 9); // does not return
            Ok(())
        }
        Some((point, action)) if point == name && action == "stop" => {
            let _ = rekindle_sys::signal::kill(std::process::id() as i32, libc::SIGSTOP); // of ourselves: it works
            Ok(())
        }
        Some((point, action)) if point == name && action == "error" => Err(Error::Injected(name)),
        _ => Ok(()),
    }
}
