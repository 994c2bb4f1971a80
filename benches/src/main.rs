//! The benchmarks: what a checkpoint and a restore cost, as ratios to the plainest program that moves the same bytes.
//!
//! ```text
//!   cases/*  ──  a subject (C, compiled here) ── rekindle checkpoint, and what it is compared with, in turn, N times
//!                          killed, reaped     ── rekindle restore, and what it is compared with, in turn, N times
//!                                                └─ each command by programs/measure.c: wall time, maximum RSS
//!            ──  lines of the report: medians, targets
//! ```
//!
//! `rekindle` is run as a user runs it, as whole commands. The benchmark is the parent of its subjects and a child
//! subreaper, so that what is restored comes back to it; it kills only its own children, and its files are in directories
//! that go when it ends. The exit code is 1 if a target is missed. docs/performance.md explains the lines.

mod cases;
mod lab;
mod report;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cases::CASES;
use lab::Lab;
use report::Report;

/// Measure checkpoints and restores against plain writes and reads
#[derive(Debug, Parser)]
struct Options {
    /// What to measure: memory, small, threads, mappings, descriptors, tree, sparse [default: all]
    cases: Vec<String>,
    /// Rounds of each measurement; the median counts
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Three rounds
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Write all that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A directory on the disk that images go to [default: the target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A directory in memory, for what is measured without a disk
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let unknown = options.cases.iter().find(|name| !CASES.iter().any(|case| case.name == **name));
    if let Some(name) = unknown {
        anyhow::bail!("there is no case {name}; there are {}", cases::names());
    }
    let runs = if options.quick { 3 } else { options.runs };
    let lab = Lab::open(runs, options.dir.as_deref(), &options.tmpfs)?;
    let mut report = Report::default();
    for case in CASES {
        if options.cases.is_empty() || options.cases.iter().any(|name| name == case.name) {
            eprintln!("{}: {}", case.name, case.about);
            report.begin(case.name);
            (case.run)(&lab, &mut report)?;
        }
    }
    report.supervisor();
    print!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json(runs))?;
    }
    Ok(if report.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
