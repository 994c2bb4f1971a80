//! `rekindle fault-points`: for tests that go through all of them.

use crate::failure::Outcome;
use crate::show;
use std::process::ExitCode;

/// Prints them, one a line.
pub(crate) fn run() -> Outcome {
    show::print(&(rekindle::fault::POINTS.join("\n") + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
