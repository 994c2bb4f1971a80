//! The real programs that tests run, and how to get the ones that are missing.
//!
//! Run by root on a Debian-like system, `cargo xtask test` installs the packages of missing programs first.
//! Anywhere else, or when that fails, it says in a sentence what is missing and goes on: each test that needs
//! one of them reports itself as skipped. Nothing here makes a test run fail.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How to tell whether something is there.
enum Probe {
    /// A program of this name in PATH.
    Program(&'static str),
    /// A file at this absolute path.
    File(&'static str),
}

/// Something that tests need and a system may lack.
struct Need {
    probe: Probe,
    /// The Debian package that holds it.
    package: &'static str,
    /// Which tests go without it, to follow "the tests of".
    tests: &'static str,
}

const NEEDS: &[Need] = &[
    program("xz", "xz-utils", "compression by two threads"),
    program("sort", "coreutils", "sorting with temporary files"),
    program("sha256sum", "coreutils", "file contents"),
    program("python3", "python3", "an interpreter with threads"),
    program("cc", "gcc", "the C interface and subjects in C"),
    Need {
        probe: Probe::File("/usr/include/stdio.h"),
        package: "libc6-dev",
        tests: "the C interface and subjects in C",
    },
    program("bash", "bash", "shells"),
    program("awk", "mawk", "a shell with a pipeline"),
    program("make", "make", "a build in flight"),
    program("git", "git", "a repository being packed"),
    program("nginx", "nginx-light", "a web server with workers"),
    Need {
        probe: Probe::File("/usr/sbin/apache2"),
        package: "apache2-bin",
        tests: "a web server that forks beforehand",
    },
    program("redis-server", "redis-server", "a database that saves in the background"),
    program("supervisord", "supervisor", "a supervisor with children"),
    program("mariadbd", "mariadb-server", "a database on io_uring"),
    program("node", "nodejs", "a web server on io_uring"),
    program("fio", "fio", "blocks written and read through io_uring"),
    program("ssh-agent", "openssh-client", "an agent that holds a key"),
    program("setpriv", "util-linux", "other users and fewer capabilities"),
    program("unshare", "util-linux", "other namespaces"),
    program("prlimit", "util-linux", "resource limits"),
    program("taskset", "util-linux", "processor affinity"),
    Need {
        probe: Probe::File("/usr/share/doc/postgresql"),
        package: "postgresql",
        tests: "a database server",
    },
    program("gdb", "gdb", "a process that a debugger traces"),
    program("less", "less", "programs that fill the screen"),
    program("setsid", "util-linux", "programs on terminals"),
    program("script", "bsdutils", "a shell under script"),
    program("expect", "expect", "a shell under expect"),
    program("tmux", "tmux", "a server of tmux"),
    program("vim", "vim", "an editor under tmux"),
];

const fn program(name: &'static str, package: &'static str, tests: &'static str) -> Need {
    Need { probe: Probe::Program(name), package, tests }
}

/// Whether packages may be installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Where we are root and the system has apt.
    WherePossible,
    Never,
}

/// Looks for the programs that tests need, and installs what is missing where that is allowed and possible.
pub(crate) fn provide(install: Install) {
    let missing = missing();
    if missing.is_empty() {
        return;
    }
    if install == Install::WherePossible && is_root() && find("apt-get").is_some() {
        install_packages(&packages(&missing));
    }
    if let Some(sentence) = sentence(&self::missing()) {
        println!("{sentence}");
    }
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !need.is_there()).collect()
}

fn packages(missing: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// What is missing and which tests will be skipped for it, in one sentence; `None` when nothing is.
fn sentence(missing: &[&Need]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let names: Vec<_> = missing.iter().map(|need| need.name()).collect();
    let mut tests: Vec<_> = missing.iter().map(|need| need.tests).collect();
    tests.dedup();
    Some(format!(
        "Not installed here: {}; the tests of {} will be skipped (Debian's packages: {}).",
        names.join(", "),
        tests.join(", of "),
        packages(missing).join(" "),
    ))
}

fn install_packages(packages: &[&str]) {
    println!("installing for the tests: {}", packages.join(" "));
    // The lists of a fresh machine are empty or old; stale lists that still work are better than giving up.
    if !apt_get(&["update", "-qq"]) {
        println!("apt-get update failed; trying with the package lists as they are");
    }
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(packages);
    if !apt_get(&install) {
        println!("apt-get install failed");
    }
}

fn apt_get(arguments: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    // The owner of /proc/self is our effective user (proc(5)).
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

impl Need {
    fn name(&self) -> &'static str {
        match self.probe {
            Probe::Program(name) | Probe::File(name) => name,
        }
    }

    fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(name) => find(name).is_some(),
            Probe::File(path) => Path::new(path).exists(),
        }
    }
}

/// The first executable file of this name in PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Need = program("no-such-program", "no-such-package", "nothing at all");
    const NOR_THIS: Need =
        Need { probe: Probe::File("/no/such/file"), package: "no-such-package", tests: "nothing" };

    #[test]
    fn a_missing_program_and_a_missing_file_are_noticed() {
        assert!(!NEVER.is_there());
        assert!(!NOR_THIS.is_there());
        assert!(program("sh", "dash", "").is_there());
    }

    #[test]
    fn the_sentence_names_programs_tests_and_packages_once() {
        let sentence = sentence(&[&NEVER, &NOR_THIS]).unwrap();
        assert_eq!(
            sentence,
            "Not installed here: no-such-program, /no/such/file; the tests of nothing at all, of nothing will be \
             skipped (Debian's packages: no-such-package)."
        );
        assert_eq!(super::sentence(&[]), None);
    }
}
