//! `cargo xtask test`: every test there is, and one closing line.
//!
//! ```text
//! programs that tests need   installed, or named as missing
//! release build of the CLI   the tests run it by REKINDLE_BIN: what users run, not a debug build
//! cargo test --workspace     units, integration, docs; dev profile: with overflow checks, debug assertions
//! closing line               N passed, N failed, N skipped
//! ```
//!
//! The closing line comes whatever happens, a failed build included, and the exit status is a failure when
//! anything failed or when no test ran.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::programs::{self, Install};
use crate::run::{self, End};
use crate::summary::Summary;
use crate::workspace::{self, Workspace};

/// Both command lines: the tests look for the second beside the first.
const CLI_PACKAGES: [&str; 2] = ["rekindle-cli", "rekindle-criu"];
const CLI_BINARY: &str = "rekindle";

/// What `--full` sets, unless the environment already does; tests/src/lib.rs says what each means.
const FULL: &[(&str, &str)] =
    &[("REKINDLE_TEST_INSTANTS", "300"), ("REKINDLE_TEST_HOSTILE", "5000"), ("REKINDLE_TEST_STORMS", "100")];

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Try more instants and more damaged images in the tests that draw them at random
    #[arg(long)]
    full: bool,

    /// Do not install missing programs, even where that is possible
    #[arg(long)]
    no_install: bool,

    /// End the run, as failed, after this many minutes
    #[arg(long, value_name = "MINUTES")]
    limit: Option<u64>,

    /// Run only tests whose names contain this; several are run one after the other
    filters: Vec<String>,
}

pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let install = if options.no_install { Install::Never } else { Install::WherePossible };
    programs::provide(install);

    let mut summary = Summary::default();
    if let Err(error) = run_all(options, &mut summary) {
        summary.trouble(format!("{error:#}"));
    }
    println!("\n{summary}");
    Ok(if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_all(options: &Options, summary: &mut Summary) -> Result<()> {
    let deadline = options.limit.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let workspace = Workspace::read()?;
    build_cli()?;
    // libtest-mimic takes one filter at most, so each filter is a run of its own.
    let filters: Vec<Option<&str>> = match options.filters.as_slice() {
        [] => vec![None],
        filters => filters.iter().map(|filter| Some(filter.as_str())).collect(),
    };
    for filter in filters {
        run_tests(&workspace, options, filter, deadline, summary)?;
    }
    Ok(())
}

fn build_cli() -> Result<()> {
    let status = workspace::cargo()
        .args(["build", "--release"])
        .args(CLI_PACKAGES.iter().flat_map(|package| ["--package", package]))
        .status()
        .context("cannot start cargo build")?;
    anyhow::ensure!(status.success(), "{} do not build; no test was run", CLI_PACKAGES.join(" and "));
    Ok(())
}

fn run_tests(
    workspace: &Workspace,
    options: &Options,
    filter: Option<&str>,
    deadline: Option<Instant>,
    summary: &mut Summary,
) -> Result<()> {
    let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let end = run::stream(test_command(workspace, options, filter), remaining, |line| {
        run::echo(line);
        summary.line(&String::from_utf8_lossy(line));
    })?;
    if end == End::TimedOut {
        let place = summary.running().unwrap_or("the build");
        summary.trouble(format!("the time limit was reached in {place}, and the tests were ended"));
    }
    if end == End::LeftProcesses {
        summary.trouble("the tests left a process behind that still holds their output".to_owned());
    }
    summary.end_of_run(end != End::Failure);
    Ok(())
}

fn test_command(workspace: &Workspace, options: &Options, filter: Option<&str>) -> Command {
    let mut command = workspace::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--"])
        .args(filter)
        .env("REKINDLE_BIN", workspace.target_directory.join("release").join(CLI_BINARY));
    if options.full {
        let unset = FULL.iter().filter(|(name, _)| std::env::var_os(name).is_none());
        command.envs(unset.copied());
    }
    command
}
