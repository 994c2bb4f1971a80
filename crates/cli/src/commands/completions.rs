//! `rekindle completions SHELL`.

use crate::failure::Outcome;
use crate::{Cli, show};
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  rekindle completions bash > /etc/bash_completion.d/rekindle
  rekindle completions zsh > \"${fpath[1]}/_rekindle\"
  rekindle completions fish > ~/.config/fish/completions/rekindle.fish";

/// Print a script by which a shell completes rekindle's command lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rekindle", &mut script);
    show::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
