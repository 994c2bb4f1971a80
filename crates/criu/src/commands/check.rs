//! `criu check`: whether this kernel, and our rights, are enough. Exit status 0: they are.

use crate::commands::{Outcome, features};
use crate::failure::Failure;
use crate::options::shown;
use crate::settings::Settings;
use rekindle::features::Feature;
use std::process::ExitCode;

/// Features whose absence costs nothing: there is a better one.
const NOT_MISSED: &[&str] = &["soft-dirty"];

/// Checks what is asked for.
pub(crate) fn run(settings: &Settings) -> Outcome {
    let found = rekindle::features::probe();
    if !settings.features.is_empty() {
        return single(settings, &found);
    }
    let missing = |required: bool| {
        let missing = found.iter().filter(move |feature| feature.required == required && !feature.present);
        missing.filter(|feature| !NOT_MISSED.contains(&feature.name)).collect::<Vec<_>>()
    };
    let tell = |feature: &&Feature| {
        format!("{} is missing, which is for {}: {}", feature.name, feature.needed_for, feature.without)
    };
    let needed = missing(true);
    if !needed.is_empty() {
        crate::print("Does not look good.\n");
        return Err(Failure::of(needed.iter().map(tell).collect()));
    }
    let extra = if settings.extra { missing(false) } else { Vec::new() };
    if extra.is_empty() {
        // Nothing experimental is in use.
        return Ok(crate::print("Looks good.\n"));
    }
    crate::print(
        "Looks good but some kernel features are missing\n\
         which, depending on your process tree, may cause\n\
         dump or restore failure.\n",
    );
    extra.iter().for_each(|feature| tracing::warn!("{}", tell(feature)));
    Ok(ExitCode::FAILURE)
}

/// `--feature NAME`, perhaps several times: all must be there.
fn single(settings: &Settings, found: &[Feature]) -> Outcome {
    let mut missing = Vec::new();
    for name in &settings.features {
        let name = shown(name);
        if name == "list" {
            crate::print(&format!("{}\n", features::names().collect::<Vec<_>>().join(", ")));
            continue;
        }
        match features::ask(&name, found) {
            None => return Err(Failure::new(format!("unknown feature {name}; `--feature list` lists them"))),
            Some(Ok(())) => tracing::info!("{name} is supported"),
            Some(Err(why)) => missing.push(format!("{name} is not supported: {why}")),
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    missing.iter().for_each(|line| tracing::warn!("{line}"));
    Ok(ExitCode::FAILURE)
}
