//! `cargo xtask tidy`: the rules of the code that a program can check. They run as a test too.
//!
//! Each rule is a function from what it looks at to complaints; [`check`] gathers the files and runs them
//! all, and reports everything at once. What clippy or the compiler can check is theirs (Cargo.toml,
//! `[workspace.lints]`). Exceptions stand in `exceptions.rs`, each with its reason.

mod exceptions;
mod source;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, Workspace};
use exceptions::Exception;

/// Lines that a file of Rust may have before it needs a reason.
const LONGEST_FILE: usize = 600;

/// Which of our crates each crate may use; dependencies for tests alone are free. Every package must be here.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "rekindle-cli",
        &[
            "rekindle-foreground",
            "rekindle",
            "rekindle-image",
            "rekindle-tracee",
            "rekindle-procfs",
            "rekindle-sys",
        ],
    ),
    (
        "rekindle-criu",
        &["rekindle-foreground", "rekindle", "rekindle-image", "rekindle-procfs", "rekindle-sys"],
    ),
    ("rekindle-capi", &["rekindle", "rekindle-image", "rekindle-tracee", "rekindle-procfs", "rekindle-sys"]),
    ("rekindle", &["rekindle-image", "rekindle-tracee", "rekindle-procfs", "rekindle-sys"]),
    ("rekindle-foreground", &["rekindle-procfs", "rekindle-sys"]), // knows no images: signals and terminals only
    ("rekindle-tracee", &["rekindle-procfs", "rekindle-sys"]),
    ("rekindle-image", &[]), // knows no Linux
    ("rekindle-procfs", &[]),
    ("rekindle-sys", &[]),
    // Beside the order: they look at all of it, and nothing depends on them.
    ("rekindle-tests", &["rekindle", "rekindle-image", "rekindle-tracee", "rekindle-procfs", "rekindle-sys"]),
    (
        "rekindle-benches",
        &["rekindle", "rekindle-image", "rekindle-tracee", "rekindle-procfs", "rekindle-sys"],
    ),
    ("xtask", &[]),
];

/// The manifest that may list the workspace's lints itself: a table of lints is inherited as a whole or not
/// at all, and this crate may have unsafe code.
const OWN_LINTS: &str = "crates/sys/Cargo.toml";

/// Directories of one machine, which mean nothing on another. `concat!` keeps this file clean.
const LOCAL_PATHS: &[&str] = &[HOMES, concat!("/ro", "ot/"), concat!("/wo", "rk/")];
const HOMES: &str = concat!("/ho", "me/");
/// The owner of the home directory in examples.
const EXAMPLE_USER: &str = "user";

/// Hosts of package registries: where a package comes from is the business of each machine's configuration.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];

/// A file under version control, or about to be.
struct SourceFile {
    /// From the root of the workspace, with `/`.
    path: String,
    text: String,
}

pub(crate) fn main() -> Result<ExitCode> {
    let complaints = check()?;
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() {
        println!("tidy");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} complaints; exceptions with their reasons go to xtask/src/tidy/exceptions.rs",
        complaints.len()
    );
    Ok(ExitCode::FAILURE)
}

/// Runs every rule on this repository and returns all complaints, as sentences that start with a place.
pub(crate) fn check() -> Result<Vec<String>> {
    let files = source_files()?;
    let rust: Vec<_> = files.iter().filter(|file| file.path.ends_with(".rs")).collect();
    let mut complaints = Vec::new();
    complaints.extend(excepted(exceptions::LONG_FILES, &rust, long_file));
    complaints.extend(excepted(exceptions::NO_STORY, &rust, story));
    complaints.extend(excepted(exceptions::UNSAFE_CODE, &rust, unsafe_code));
    complaints.extend(rust.iter().flat_map(|file| lint_reasons(file)));
    complaints.extend(excepted(exceptions::PLACES, &files.iter().collect::<Vec<_>>(), places));
    complaints.extend(manifests(&files));
    complaints.extend(decisions(&files));
    complaints.extend(dependencies(&Workspace::read()?));
    Ok(complaints)
}

/// The text files that git tracks or would track.
fn source_files() -> Result<Vec<SourceFile>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace::root())
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.filter_map(|name| read_text(name).transpose()).collect()
}

/// The file, or `None` when it is gone, a link, or not text.
fn read_text(name: &[u8]) -> Result<Option<SourceFile>> {
    let file = workspace::root().join(OsStr::from_bytes(name));
    let path = String::from_utf8_lossy(name).into_owned();
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        // Removed and not committed yet; or a link, to a folder or to nothing.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).context(path),
    };
    Ok(String::from_utf8(bytes).ok().map(|text| SourceFile { path, text }))
}

/// Runs `rule` on each file, drops what the exceptions cover, and complains about exceptions that cover
/// nothing.
fn excepted(
    table: &[Exception],
    files: &[&SourceFile],
    rule: impl Fn(&SourceFile) -> Vec<String>,
) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut complaints = Vec::new();
    for file in files {
        let found = rule(file);
        match table.iter().find(|(path, _)| covers(path, &file.path)) {
            Some((path, _)) if !found.is_empty() => drop(used.insert(*path)),
            Some(_) => {}
            None => complaints.extend(found),
        }
    }
    let unused = table.iter().filter(|(path, _)| !used.contains(path));
    complaints
        .extend(unused.map(|(path, reason)| format!("{path}: no longer needs its exception ({reason})")));
    complaints
}

fn covers(exception: &str, path: &str) -> bool {
    if exception.ends_with('/') { path.starts_with(exception) } else { path == exception }
}

fn long_file(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= LONGEST_FILE {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, more than {LONGEST_FILE}; split it, or give a reason", file.path)]
}

fn story(file: &SourceFile) -> Vec<String> {
    if file.text.starts_with("//!") || file.text.starts_with("#!/") {
        return Vec::new();
    }
    vec![format!("{}:1: does not open with `//!`: what it is, where in the flow, how it fails", file.path)]
}

fn unsafe_code(file: &SourceFile) -> Vec<String> {
    if file.path.starts_with("crates/sys/") {
        return Vec::new();
    }
    let code = source::code_only(&file.text);
    let lines = code.lines().enumerate().filter(|(_, line)| source::words(line).any(|word| word == "unsafe"));
    lines.map(|(index, _)| format!("{}:{}: `unsafe` outside of crates/sys", file.path, index + 1)).collect()
}

/// Attributes that switch a lint off must say why.
fn lint_reasons(file: &SourceFile) -> Vec<String> {
    let code = source::code_only(&file.text);
    let starts = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let found = starts.iter().flat_map(|start| code.match_indices(start));
    let silent = found.filter(|&(at, _)| {
        let attribute = code[at..].split(']').next().unwrap_or_default();
        !source::words(attribute).any(|word| word == "reason")
    });
    let line = |at: usize| 1 + code[..at].matches('\n').count();
    silent
        .map(|(at, _)| {
            format!("{}:{}: a lint is switched off without `reason = \"...\"`", file.path, line(at))
        })
        .collect()
}

/// No file names a directory of one machine, or the host of a package registry.
fn places(file: &SourceFile) -> Vec<String> {
    if Path::new(&file.path).extension().is_some_and(|extension| extension == "lock") {
        return Vec::new(); // cargo writes where each package came from
    }
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut complain = |what: &str| complaints.push(format!("{}:{}: names {what}", file.path, index + 1));
        if LOCAL_PATHS.iter().any(|path| has_local_path(line, path)) {
            complain("a directory of one machine");
        }
        if REGISTRY_HOSTS.iter().any(|host| line.contains(host)) {
            complain("the host of a package registry");
        }
    }
    complaints
}

fn has_local_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        // The middle of a longer path, such as /proc/PID/root/, is no such place.
        let starts =
            line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"_-.}>*$/".contains(c));
        starts && (path != HOMES || is_somebodys(&line[at + path.len()..]))
    })
}

/// Whether what follows /home/ goes into a directory there, of somebody real.
fn is_somebodys(rest: &str) -> bool {
    let name = rest.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).next().unwrap_or_default();
    name != EXAMPLE_USER && rest[name.len()..].starts_with('/')
}

/// Every crate of the workspace takes part in its lints.
fn manifests(files: &[SourceFile]) -> Vec<String> {
    let lints = files.iter().find(|file| file.path == "Cargo.toml").map(workspace_lints).unwrap_or_default();
    let is_member = |file: &SourceFile| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/");
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| is_member(file)) {
        if file.text.contains("[lints]\nworkspace = true") {
            continue;
        }
        if file.path == OWN_LINTS {
            let missing = lints.iter().filter(|lint| !file.text.contains(&format!("\n{lint} = ")));
            complaints.extend(missing.map(|lint| format!("{}: its own lints lack `{lint}`", file.path)));
        } else {
            complaints.push(format!("{}: lacks `[lints] workspace = true`", file.path));
        }
    }
    complaints
}

/// The names of the lints that the workspace switches on, but for the one that [`OWN_LINTS`] is there to
/// leave out.
fn workspace_lints(root: &SourceFile) -> Vec<&str> {
    let tables = root.text.split("\n[").filter(|table| table.starts_with("workspace.lints."));
    let entries = tables.flat_map(str::lines).filter_map(|line| line.split_once(" = "));
    let on = entries.filter(|(name, level)| *name != "unsafe_code" && !level.starts_with("\"allow\""));
    on.map(|(name, _)| name).collect()
}

/// Decision records are numbered in order, titled with their number, and dated.
fn decisions(files: &[SourceFile]) -> Vec<String> {
    let mut names: Vec<_> =
        files.iter().filter_map(|file| Some((file.path.strip_prefix("docs/decisions/")?, file))).collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    let mut complaints = Vec::new();
    for (index, (name, file)) in names.iter().enumerate() {
        let number = format!("{:04}", index + 1);
        let mut complain = |what: String| complaints.push(format!("{}: {what}", file.path));
        if !name.starts_with(&format!("{number}-")) || !name.ends_with(".md") {
            complain(format!("the next decision record is {number}-title.md"));
        }
        if !file.text.starts_with(&format!("# {number}. ")) {
            complain(format!("does not open with `# {number}. Title`"));
        }
        if !file.text.lines().any(|line| line.strip_prefix("Date: ").is_some_and(is_date)) {
            complain("has no line `Date: YYYY-MM-DD`".to_owned());
        }
    }
    complaints
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let digits = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    digits && parts.iter().map(|part| part.len()).eq([4, 2, 2])
}

/// Dependencies among our own crates go one way, as [`MAY_USE`] says.
fn dependencies(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            complaints.push(format!(
                "{}: has no place in the order of crates (MAY_USE in xtask/src/tidy.rs)",
                package.name
            ));
            continue;
        };
        let ours = package.dependencies.iter().filter(|name| workspace.has_package(name));
        let wrong = ours.filter(|name| !allowed.contains(&name.as_str()));
        complaints.extend(wrong.map(|name| format!("{}: must not depend on {name}", package.name)));
    }
    complaints
}

#[cfg(test)]
mod tests;
