//! `rekindle man [DIR]`.

use crate::failure::{Failure, Outcome};
use crate::{Cli, show};
use clap::CommandFactory;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  rekindle man | man -l -               read the page of rekindle itself
  rekindle man /usr/local/share/man/man1";

/// Print the manual page, or write those of all subcommands into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to write rekindle.1, rekindle-checkpoint.1, ...
    dir: Option<PathBuf>,
}

/// Prints or writes it.
pub(crate) fn run(args: &Args) -> Outcome {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| Failure::io("making the page", &error))?;
            show::print(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => {
            let what = format!("writing pages to {}", dir.display());
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
                .map_err(|error| Failure::io(&what, &error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
