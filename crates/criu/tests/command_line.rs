//! The command line as scripts meet it: what is known, what is not supported yet, configuration files, `criu check`. What it
//! does to real programs is tested in live.rs.

#![expect(clippy::unwrap_used, reason = "in a test, and in what only tests call, a failure is a failure")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A directory that is the home, the working directory and the images' directory.
fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn criu(home: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_criu"));
    command.args(line.split_whitespace()).current_dir(home).stdin(Stdio::null());
    command.env("HOME", home).env_remove("CRIU_CONFIG_FILE");
    command
}

fn run(home: &Path, line: &str) -> Output {
    criu(home, line).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// It failed, and each line that it wrote says so; together they say all of this.
fn assert_fails(output: &Output, says: &[&str]) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(text(&output.stdout), "", "{errors}");
    assert!(errors.lines().all(|line| line.starts_with("Error (rekindle): ")), "{errors}");
    for word in says {
        assert!(errors.contains(word), "no '{word}' in {errors}");
    }
}

#[test]
fn the_version_is_told_as_engines_read_it() {
    let home = home();
    for line in ["--version", "-V", "check --version", "-V dump --bogus"] {
        let output = run(home.path(), line);
        assert!(output.status.success());
        assert!(text(&output.stdout).starts_with("Version: 4.2\n"), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
    assert!(text(&run(home.path(), "--help").stdout).contains("--leave-running"));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let home = home();
    let lines = [
        ("", "no command"),
        ("dumb", "dumb"),
        ("dump", "-t PID"),
        ("dump -t x", "x"),
        ("dump -t 7 more", "more"),
        ("dump -t 7 --bogus", "--bogus"),
        ("dump -t 7 -q", "-q"),
        ("dump -t 7 --tcp-established=1", "--tcp-established"),
        ("dump -t", "PID"),
        ("dump -t 7 -D nowhere", "nowhere"),
        ("dump -t 7 -W nowhere", "nowhere"),
        ("dump -t 7 --ghost-limit 1X", "1X"),
        ("dump -t 7 --timeout soon", "soon"),
        ("dump -t 7 --network-lock magic", "magic"),
        ("dump -t 7 -o nowhere/log", "nowhere/log"),
        ("restore", "rekindle.img"),
        ("restore -S", "--restore-detached"),
        ("restore -- sh", "--exec-cmd"),
        ("cpuinfo", "dump or check"),
        ("check --feature magic", "magic"),
    ];
    for (line, says) in lines {
        assert_fails(&run(home.path(), line), &[says]);
    }
    fs::write(home.path().join("inventory.img"), "").unwrap();
    assert_fails(&run(home.path(), "restore"), &["images of CRIU itself"]);
    let all = run(home.path(), "dump -t x --bogus --page-server --timeout soon");
    assert_fails(&all, &["--tree x", "--bogus", "--page-server", "soon"]);
}

#[test]
fn what_is_not_supported_yet_says_so() {
    let home = home();
    for command in ["pre-dump -t 7", "page-server", "lazy-pages", "service", "swrk 3", "dedup", "exec -t 7"] {
        assert_fails(&run(home.path(), command), &["not supported yet"]);
    }
    let options = [
        "--page-server",
        "--lazy-pages",
        "--track-mem",
        "--prev-images-dir=x",
        "--auto-dedup",
        "--stream",
        "--external=x",
        "--inherit-fd=x",
        "--join-ns=x",
        "-Jx",
        "--empty-ns=net",
        "--root=x",
        "-rx",
        "--tls",
        "--manage-cgroups",
        "--manage-cgroups=full",
        "--cgroup-root=x",
        "--freeze-cgroup=x --lsm-profile=x",
        "--enable-fs=x",
        "--skip-mnt=x",
        "--ext-mount-map=x",
        "-Mx",
        "--libdir=x",
        "--veth-pair=x",
    ];
    for option in options {
        for command in ["dump -t 7", "restore"] {
            let output = run(home.path(), &format!("{command} {option}"));
            assert_eq!(output.status.code(), Some(1), "{option}");
            assert!(text(&output.stderr).contains("supported"), "{option}: {output:?}");
        }
    }
}

#[test]
fn failures_before_the_dump_are_in_the_log() {
    let home = home();
    fs::create_dir(home.path().join("work")).unwrap();
    let line = "dump -t 7 -D . -W work -o dump.log -v4 --page-server --external x";
    let output = run(home.path(), line);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
    let log = fs::read_to_string(home.path().join("work/dump.log")).unwrap();
    let last: Vec<_> = log.lines().rev().take(2).collect();
    assert!(last.iter().all(|line| line.contains(") Error (rekindle): --")), "{log}");
    assert!(log.lines().all(|line| line.starts_with("(00.")), "{log}");
}

#[test]
fn levels_say_what_gets_into_the_log() {
    let home = home();
    for (level, lines) in
        [("-v0", 0), ("-v1", 1), ("", 1), ("-v", 3), ("-vv", 4), ("-v4", 4), ("--verbosity=1", 1)]
    {
        let output = run(home.path(), &format!("dump -t 2147483647 {level}"));
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(
            errors.lines().count() == lines || (lines > 1 && errors.lines().count() >= lines),
            "{level}: {errors}"
        );
        assert_eq!(errors.starts_with("(00."), lines > 1, "{level}: {errors}");
    }
}

#[test]
fn configuration_files_are_read_in_their_order() {
    let home = home();
    let write = |name: &str, lines: &str| fs::write(home.path().join(name), lines).unwrap();
    fs::create_dir(home.path().join(".criu")).unwrap();
    write(".criu/default.conf", "# ours\nlog-file default.log # here\nverbosity 3\n");
    write("env.conf", "log-file \"env.log\"\n");
    write("named.conf", "log-file named.log\nno-leave-running\n");
    let made = |name: &str| fs::remove_file(home.path().join(name)).is_ok();
    let line = "dump -t 2147483647";
    assert!(run(home.path(), line).stderr.is_empty() && made("default.log"));
    let mut with_env = criu(home.path(), line);
    assert!(
        with_env.env("CRIU_CONFIG_FILE", "env.conf").output().unwrap().stderr.is_empty() && made("env.log")
    );
    let output = with_env.args(["--config", "named.conf"]).output().unwrap();
    assert!(output.stderr.is_empty() && made("named.log"));
    run(home.path(), &format!("{line} --config=named.conf -o mine.log"));
    assert!(made("mine.log") && !made("named.log"));
    assert_fails(&run(home.path(), &format!("{line} --no-default-config")), &["2147483647"]);
    assert!(!made("default.log"));
}

#[test]
fn wrong_configuration_files_are_refused_with_the_line() {
    let home = home();
    fs::write(home.path().join("c"), "\nbogus\n--shell-job\nexternal x\n").unwrap();
    let output = run(home.path(), "dump -t 7 --config c");
    assert_fails(&output, &["c, line 2: ", "bogus", "c, line 3: ", "--external"]);
    assert_fails(&run(home.path(), "dump -t 7 --config nowhere"), &["nowhere"]);
}

#[test]
fn features_are_answered() {
    let home = home();
    let list = text(&run(home.path(), "check --feature list").stdout);
    let names: Vec<_> = list.trim().split(", ").collect();
    assert!(names.len() >= 45 && names.contains(&"uffd-noncoop"), "{list}");
    for name in names {
        let output = run(home.path(), &format!("check --feature {name}"));
        let said = text(&output.stderr);
        match output.status.code() {
            Some(0) => assert_eq!(said, ""),
            Some(1) => {
                assert!(said.starts_with(&format!("Warn  (rekindle): {name} is not supported: ")), "{said}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // Not here, whatever the kernel has: tools ask before they make pre-dumps.
    assert_eq!(run(home.path(), "check --feature mem_dirty_track").status.code(), Some(1));
    let check = run(home.path(), "check");
    let good = text(&check.stdout) == "Looks good.\n";
    assert_eq!(check.status.success(), good, "{check:?}");
    assert!(text(&run(home.path(), "check --all").stdout).contains("Looks good"));
}

#[test]
fn the_processor_is_noted_and_compared() {
    let home = home();
    assert_fails(&run(home.path(), "cpuinfo check"), &["cpuinfo.img"]);
    assert!(run(home.path(), "cpuinfo dump").status.success());
    assert!(run(home.path(), "cpuinfo check").status.success());
    let file = home.path().join("cpuinfo.img");
    let noted = fs::read_to_string(&file).unwrap();
    fs::write(&file, noted.replace("flags: ", "flags: time_travel ")).unwrap();
    assert_fails(&run(home.path(), "cpuinfo check"), &["time_travel"]);
    assert!(run(home.path(), "cpuinfo check --cpu-cap=none").status.success());
}
