//! Compiles the C programs of `tests/subjects`, once, into the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::trial::{Context, Verdict};
use crate::{ensure, fail};

const FLAGS: &[&str] = &["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// What subjects include.
const HEADERS: [&str; 3] = ["subject.h", "waits.h", "tree.h"];

/// The executable of one of `subjects/tools`.
pub fn tool(name: &str) -> Verdict<PathBuf> {
    compile(&format!("tools/{name}.c"), name, &[])
}

/// Compiles `source` (below `tests/subjects`) with `flags` into an executable called `name`, unless that is up to date.
///
/// Two tests, or two runs of the tests, may want it at once: the first compiles it, the others wait for that. None may
/// find its program replaced by an equal one while it runs: that would be a deleted executable.
pub fn compile(source: &str, name: &str, flags: &[&str]) -> Verdict<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("subjects");
    let source = sources.join(source);
    let directory = target_directory()?.join("tmp/subjects");
    fs::create_dir_all(&directory).context(directory.display())?;
    let executable = directory.join(name);
    let lock = fs::File::create(directory.join(format!("{name}.lock"))).context("the lock of a subject")?;
    lock.lock().context("the lock of a subject")?; // until it is dropped
    let headers = HEADERS.map(|name| sources.join(name));
    let newest = newest(headers.iter().map(PathBuf::as_path).chain([source.as_path()]))?;
    if fs::metadata(&executable).and_then(|found| found.modified()).is_ok_and(|made| made > newest) {
        return Ok(executable);
    }
    let draft = tempfile::Builder::new().prefix(name).tempdir_in(&directory)?;
    let draft = draft.path().join(name);
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(&compiler)
        .args(FLAGS)
        .arg(&source)
        .arg("-o")
        .arg(&draft)
        .args(flags)
        .arg("-lm")
        .output();
    let output = output.context(format!("running the C compiler {compiler}"))?;
    ensure!(
        output.status.success(),
        "{} does not compile: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&draft, &executable)?;
    Ok(executable)
}

/// `target/`, two levels above the test executable (`target/PROFILE/deps/NAME`).
pub fn target_directory() -> Verdict<PathBuf> {
    Ok(profile_directory()?.parent().map_or_else(PathBuf::new, Path::to_path_buf))
}

/// `target/PROFILE/`, where executables are.
pub fn profile_directory() -> Verdict<PathBuf> {
    let test = std::env::current_exe()?;
    match test.ancestors().nth(2) {
        Some(directory) => Ok(directory.to_path_buf()),
        None => fail!("{} is not in a target directory", test.display()),
    }
}

fn newest<'p>(files: impl IntoIterator<Item = &'p Path>) -> Verdict<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in files {
        newest = newest.max(fs::metadata(file).and_then(|found| found.modified()).context(file.display())?);
    }
    Ok(newest)
}
