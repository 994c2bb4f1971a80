//! `cargo xtask fuzz`: builds the fuzz targets, and runs each for its share of the time.
//!
//! fuzz/ has cargo-fuzz's layout, and works with it; here plain cargo builds it, with the flags in its
//! .cargo/config.toml, so that a machine needs nothing but a C++ compiler (for libFuzzer). With a nightly
//! toolchain AddressSanitizer is added, which finds what the C libraries that we call do wrong.
//!
//! What was found interesting goes to fuzz/corpus/TARGET, and is where the next run starts; seeds that are
//! under version control are read from fuzz/seeds/TARGET; an input that fails is kept in
//! fuzz/artifacts/TARGET.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run::{self, End};
use crate::{programs, workspace};

/// Joined by cargo to the flags of fuzz/.cargo/config.toml.
const SANITIZER: &str = r#"build.rustflags=["-Zsanitizer=address"]"#;

/// One input may take this long, in seconds, before it counts as a hang.
const INPUT_TIMEOUT_S: u64 = 10;
/// Memory of a target, in MiB: readers of images must stay small whatever the image says.
const MEMORY_LIMIT_MIB: u64 = 1024;
/// What a target may take beyond its time, to start and to finish an input, before it is ended.
const SLACK: Duration = Duration::from_secs(60);

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Time for all targets together, building apart
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// The targets to run; all of them without any
    targets: Vec<String>,
}

pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    if let Some(missing) = missing() {
        println!("skipped: needs {missing}");
        return Ok(ExitCode::SUCCESS);
    }
    let toolchain = Toolchain::best();
    if toolchain == Toolchain::Ours {
        println!("fuzz: without AddressSanitizer, which needs a nightly toolchain");
    }
    let metadata = metadata(toolchain)?;
    let targets = chosen(targets(&metadata)?, &options.targets)?;
    let binaries = build(toolchain, &metadata)?;

    let share = (options.seconds / targets.len() as u64).max(1);
    let mut failed = Vec::new();
    for target in &targets {
        println!("fuzz: {target}, {share} s");
        if !fuzz(&binaries.join(target), target, share)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        println!("fuzz: {} targets found nothing", targets.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("fuzz: failed: {}; the inputs are in fuzz/artifacts", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The first thing that fuzzing needs and that is not here.
fn missing() -> Option<&'static str> {
    if !directory().join("Cargo.toml").exists() {
        return Some("the fuzz targets");
    }
    if ["c++", "g++", "clang++"].iter().all(|compiler| programs::find(compiler).is_none()) {
        return Some("a C++ compiler");
    }
    None
}

fn chosen(all: Vec<String>, wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    ensure!(!all.is_empty(), "fuzz/Cargo.toml names no targets");
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}

fn fuzz(binary: &Path, target: &str, seconds: u64) -> Result<bool> {
    let corpus = directory().join("corpus").join(target);
    let artifacts = directory().join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));

    let mut command = Command::new(binary);
    command
        .arg(prefix)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(corpus)
        .args(Some(directory().join("seeds").join(target)).filter(|seeds| seeds.is_dir()))
        .current_dir(directory());
    let end = run::stream(command, Some(Duration::from_secs(seconds) + SLACK), echo)?;
    if end == End::TimedOut {
        println!("fuzz: {target} did not end by itself");
    }
    Ok(end == End::Success)
}

/// Lets a line through, unless it is of the dictionary that libFuzzer recommends at its end.
fn echo(line: &[u8]) {
    if !line.starts_with(b"\"") && !line.starts_with(b"###### ") {
        run::echo(line);
    }
}

/// fuzz/, a workspace of its own because its flags are.
fn directory() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The names of the targets: every binary of the fuzz package.
fn targets(metadata: &Value) -> Result<Vec<String>> {
    let targets = metadata["packages"][0]["targets"].as_array().context("fuzz/Cargo.toml has no targets")?;
    let binaries = targets.iter().filter(|target| target["kind"][0] == "bin");
    Ok(binaries.filter_map(|target| target["name"].as_str()).map(str::to_owned).collect())
}

/// Builds all targets, and returns the folder they are in.
fn build(toolchain: Toolchain, metadata: &Value) -> Result<PathBuf> {
    let host = host(toolchain)?;
    let mut command = toolchain.command("cargo");
    command.args(["build", "--release", "--bins", "--target", &host]);
    if toolchain == Toolchain::Nightly {
        command.args(["--config", SANITIZER]);
    }
    let status = command.status().context("cannot start cargo build")?;
    ensure!(status.success(), "the fuzz targets do not build");
    let target_directory = metadata["target_directory"].as_str().context("fuzz/ has no target directory")?;
    Ok(Path::new(target_directory).join(host).join("release"))
}

fn metadata(toolchain: Toolchain) -> Result<Value> {
    let output = toolchain
        .command("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata cannot read fuzz/Cargo.toml");
    serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")
}

/// The platform's name, as in `--target`.
fn host(toolchain: Toolchain) -> Result<String> {
    let output = toolchain.command("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

/// Which compiler the targets are built with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Toolchain {
    /// Rustup's nightly, which has the sanitizers.
    Nightly,
    /// The one that builds everything else.
    Ours,
}

impl Toolchain {
    fn best() -> Self {
        let output = Command::new("rustup").args(["toolchain", "list"]).stderr(Stdio::null()).output();
        let list = output.map(|output| output.stdout).unwrap_or_default();
        let has_nightly = String::from_utf8_lossy(&list).lines().any(|line| line.starts_with("nightly-"));
        if has_nightly { Self::Nightly } else { Self::Ours }
    }

    /// A program of this toolchain, run in fuzz/.
    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", program]);
                // What cargo told us about our own toolchain is wrong for this one.
                command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
            Self::Ours => Command::new(program),
        };
        // They would replace the flags of fuzz/.cargo/config.toml.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(directory());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn all_targets_are_run_when_none_is_named() {
        assert_eq!(chosen(names(&["a", "b"]), &[]).unwrap(), ["a", "b"]);
        assert_eq!(chosen(names(&["a", "b"]), &names(&["b"])).unwrap(), ["b"]);
    }

    #[test]
    fn an_unknown_target_is_refused_with_those_there_are() {
        let error = chosen(names(&["a", "b"]), &names(&["c"])).unwrap_err().to_string();
        assert_eq!(error, "there is no fuzz target c; there are a, b");
        assert!(chosen(Vec::new(), &[]).is_err());
    }
}
