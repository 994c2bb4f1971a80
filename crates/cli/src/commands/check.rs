//! `rekindle check [PID]`: what this machine allows, or what keeps a process from being checkpointed.

use crate::failure::{Failure, Outcome, REFUSED};
use crate::show;
use rekindle::features::{self, Feature};
use rekindle::{Error, Refusal};
use std::fmt::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  rekindle check              what is there, and what is lost without the rest
  rekindle check 4711         what keeps process 4711 from being checkpointed
  rekindle check 4711 --json  the same for programs

A process is only looked at, never stopped. All obstacles are told at once.
Exit code 0: all that is needed is there; the process can be checkpointed.
Exit code 3: it is not; it cannot.";

/// Tell what this machine allows, or whether a process can be checkpointed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The process; without it, the machine is checked
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Tell it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Checks and tells.
pub(crate) fn run(args: &Args) -> Outcome {
    let good = match args.pid {
        Some(pid) => process(pid, args.json)?,
        None => machine(args.json)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn process(pid: i32, json: bool) -> Result<bool, Failure> {
    let refusals = match rekindle::checkpoint::check(pid) {
        Ok(refusals) | Err(Error::Refused(refusals)) => refusals,
        Err(error) => return Err(error.into()),
    };
    let good = refusals.is_empty();
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if json {
        show::json(&serde_json::json!({
            "pid": pid,
            "command": show::command_line(&command),
            "can_be_checkpointed": good,
            "refusals": refusals,
        }))?;
    } else {
        show::print(&process_text(pid, &command, &refusals))?;
    }
    Ok(good)
}

fn process_text(pid: i32, command: &[u8], refusals: &[Refusal]) -> String {
    let mut text = format!("process {pid}");
    if !command.is_empty() {
        let _ = write!(text, " ({})", show::command_line(command));
    }
    if refusals.is_empty() {
        return text + " can be checkpointed\n";
    }
    let _ = writeln!(text, " cannot be checkpointed, for {}:", show::count(refusals.len(), "reason"));
    for refusal in refusals {
        let Refusal { code: _, pid: _, subject, why, remedy } = refusal; // for scripts; said above
        let _ = writeln!(text, "\n  {subject}");
        for line in [why, remedy].into_iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "    {}", show::wrapped(line, show::width().saturating_sub(4), "    "));
        }
    }
    text
}

fn machine(json: bool) -> Result<bool, Failure> {
    let features = features::probe();
    let good = features::suffice(&features);
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    if json {
        show::json(&serde_json::json!({
            "rekindle": env!("CARGO_PKG_VERSION"),
            "kernel": kernel,
            "arch": std::env::consts::ARCH,
            "sufficient": good,
            "features": features,
        }))?;
    } else {
        let mut text = format!("Linux {kernel} on {}\n", std::env::consts::ARCH);
        for (title, required) in [("needed", true), ("needed by some programs", false)] {
            let _ = writeln!(text, "\n{title}");
            let rows = features.iter().filter(|feature| feature.required == required);
            rows.for_each(|feature| text.push_str(&feature_text(feature)));
        }
        let missing = features.iter().filter(|feature| feature.required && !feature.present);
        let missing: Vec<_> = missing.map(|feature| feature.name).collect();
        let _ = match missing.join(", ") {
            none if none.is_empty() => writeln!(text, "\nPrograms can be checkpointed and restored here."),
            missing => writeln!(text, "\nrekindle cannot do without what is missing here: {missing}."),
        };
        show::print(&text)?;
    }
    Ok(good)
}

fn feature_text(feature: &Feature) -> String {
    const INDENT: &str = "                          ";
    let Feature { name, present, required: _, needed_for, without, found } = feature; // said by the title
    let mut said = (*needed_for).to_owned();
    if let Some(found) = found {
        let _ = write!(said, ": {found}");
    }
    let width = show::width().saturating_sub(INDENT.len());
    let mark = if *present { "yes" } else { "NO" };
    let mut text = format!("  {mark:4}{name:20}{}\n", show::wrapped(&said, width, INDENT));
    if !present {
        let lost = format!("without it: {without}");
        let _ = writeln!(text, "{INDENT}{}", show::wrapped(&lost, width, INDENT));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_one_by_one() {
        let refusal = |subject: &str, remedy: &str| Refusal {
            code: "fd-kind",
            pid: 7,
            subject: subject.to_owned(),
            why: "no".to_owned(),
            remedy: remedy.to_owned(),
        };
        let text = process_text(7, b"cat\0", &[refusal("fd 3", "close it"), refusal("fd 4", "")]);
        assert_eq!(
            text,
            "process 7 (cat) cannot be checkpointed, for 2 reasons:\n\n  fd 3\n    no\n    close it\n\n  fd 4\n    no\n"
        );
        assert_eq!(process_text(7, b"", &[]), "process 7 can be checkpointed\n");
    }

    #[test]
    fn what_is_lost_is_said_of_missing_features_only() {
        let feature = |present| Feature {
            name: "x",
            present,
            required: true,
            needed_for: "walking",
            without: "crawl",
            found: None,
        };
        assert!(feature_text(&feature(false)).contains("without it: crawl"));
        assert!(!feature_text(&feature(true)).contains("crawl"));
    }
}
