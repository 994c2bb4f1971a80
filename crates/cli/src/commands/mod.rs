//! The subcommands, one file each: its arguments, its help, what it does.

mod check;
mod checkpoint;
mod completions;
mod demo;
mod fault_points;
mod inspect;
mod man;
mod restore;
mod verify;

use crate::failure::Outcome;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Checkpoint(checkpoint::Args),
    Restore(restore::Args),
    Check(check::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// The program that the demo saves where there is no python3
    #[command(hide = true)]
    DemoProgram(demo::program::Args),
    /// The names of the points at which REKINDLE_FAULT can make a command die or fail
    #[command(hide = true)]
    FaultPoints,
}

impl Command {
    /// Does it. `verbose`: whether to say more than is needed.
    pub(crate) fn run(self, verbose: bool) -> Outcome {
        match self {
            Self::Checkpoint(args) => checkpoint::run(&args, verbose),
            Self::Restore(args) => restore::run(&args, verbose),
            Self::Check(args) => check::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Verify(args) => verify::run(&args),
            Self::Demo(args) => demo::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
            Self::DemoProgram(args) => demo::program::run(&args),
            Self::FaultPoints => fault_points::run(),
        }
    }

    /// Whether failures are to be told as JSON too.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Checkpoint(args) => args.json,
            Self::Restore(args) => args.json,
            Self::Check(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Verify(args) => args.json,
            _ => false,
        }
    }
}
