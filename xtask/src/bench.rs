//! `cargo xtask bench`: the benchmarks, optimised, on this machine.
//!
//! They are a package of their own with a `main` that prints ratios; what follows `--` is passed on to it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

const PACKAGE: &str = "rekindle-benches";

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the benchmarks: for example the names of those to run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    if !Workspace::read()?.has_package(PACKAGE) {
        println!("skipped: needs the package {PACKAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let status = workspace::cargo()
        .args(["run", "--release", "--package", PACKAGE, "--"])
        .args(&options.arguments)
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
