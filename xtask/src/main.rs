//! `cargo xtask ...`: the project's own commands, for what cargo alone cannot say.
//!
//! Each command is one file that mostly starts other programs. A command that cannot run here because
//! something is missing prints `skipped: needs ...` and succeeds; one whose work failed exits with 1.

mod bench;
mod fuzz;
mod programs;
mod run;
mod summary;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test, and close with one line: N passed, N failed, N skipped
    Test(test::Options),
    /// Build the fuzz targets and run each for its share of the time
    Fuzz(fuzz::Options),
    /// Run the benchmarks
    Bench(bench::Options),
    /// Check the rules of the code that a program can check
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Test(options) => test::main(&options),
        Command::Fuzz(options) => fuzz::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::Tidy => tidy::main(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
