//! The command line as its users meet it: arguments, help, exit codes, JSON, completions, manual pages. What it does to
//! real programs is tested in tests/.

#![expect(clippy::unwrap_used, reason = "in a test, and in what only tests call, a failure is a failure")]

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs `rekindle` with standard input empty.
fn rekindle<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    command(arguments).output().unwrap()
}

fn command<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    command.args(arguments).stdin(Stdio::null()).env_remove("REKINDLE_FAULT");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn out(output: &Output) -> String {
    text(&output.stdout)
}

/// It failed with this code, and with one sentence.
fn assert_fails(output: &Output, code: i32, says: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.starts_with("error: "), "{errors}");
    assert!(errors.contains(says), "no '{says}' in {errors}");
}

const SUBCOMMANDS: [&str; 8] =
    ["checkpoint", "restore", "check", "inspect", "verify", "demo", "completions", "man"];

#[test]
fn a_command_line_without_sense_is_refused_by_name() {
    let lines = [
        (&["rekindel"][..], "rekindel"),
        (&["checkpoint", "init"], "init"),
        (&["checkpoint", "0"], "0"),
        (&["checkpoint", "--", "-4"], "-4"),
        (&["checkpoint", "7", "--compress", "gzip"], "gzip"),
        (&["checkpoint", "7", "--compress", "zstd:99"], "zstd:99"),
        (&["checkpoint", "7", "--timeout", "never"], "never"),
        (&["restore"], "FILE"),
        (&["check", "7", "8"], "8"),
        (&["completions", "cobol"], "cobol"),
    ];
    for (line, says) in lines {
        assert_fails(&rekindle(line), 2, says);
    }
}

#[test]
fn help_teaches() {
    let help = out(&rekindle(["--help"]));
    for subcommand in SUBCOMMANDS {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{help}");
        let help = out(&rekindle([subcommand, "--help"]));
        assert!(help.contains("Examples:") || help.contains("Exit code"), "{help}");
    }
    for hidden in ["demo-program", "fault-points"] {
        assert!(!help.contains(hidden), "{help}");
    }
}

/// On a terminal of the usual width nothing is broken in odd places.
#[test]
fn help_fits_80_columns() {
    let of_subcommands = SUBCOMMANDS.map(|subcommand| vec![subcommand, "--help"]);
    for command in of_subcommands.into_iter().chain([vec!["--help"], vec!["-h"]]) {
        let help = out(&rekindle(&command));
        let behind =
            help.split_once("\nExamples:").or(help.split_once("\nIt starts")).map_or("", |(_, after)| after);
        for line in behind.lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
    }
}

#[test]
fn exit_codes_are_documented() {
    let help = out(&rekindle(["--help"]));
    let page = include_str!("../../../docs/exit-codes.md");
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code} is not in --help");
        assert!(page.contains(&format!("\n| {code} | ")), "{code} is not in docs/exit-codes.md");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = rekindle(["completions", shell]);
        assert!(output.status.success());
        let script = out(&output);
        assert!(
            script.contains("checkpoint") && script.contains("--kill") || shell == "fish",
            "{shell}: {script}"
        );
        assert!(script.contains("kill"), "{shell}");
    }
}

#[test]
fn manual_pages_are_made() {
    let page = out(&rekindle(["man"]));
    assert!(page.contains(".TH rekindle 1") && page.contains("Exit codes"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("new/man1");
    assert!(rekindle([Path::new("man"), &pages]).status.success());
    for subcommand in SUBCOMMANDS {
        assert!(pages.join(format!("rekindle-{subcommand}.1")).is_file(), "{subcommand}");
    }
    assert!(pages.join("rekindle.1").is_file());
}

#[test]
fn fault_points_are_listed_one_a_line() {
    let list = out(&rekindle(["fault-points"]));
    assert_eq!(list.lines().collect::<Vec<_>>(), rekindle::fault::POINTS);
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let mut child = command(["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

// ---- images

#[test]
fn what_is_no_image_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    std::fs::write(place("empty"), b"").unwrap();
    std::fs::write(place("other"), b"PK\x03\x04 something else".repeat(100)).unwrap();
    let cases = [
        (place("missing"), "No such file"),
        (dir.path().to_path_buf(), "directory"),
        (place("empty"), "empty"),
        (place("other"), "not a rekindle image"),
    ];
    for (image, says) in cases {
        for subcommand in ["restore", "inspect", "verify"] {
            let output = rekindle([subcommand.as_ref(), image.as_os_str()]);
            assert_fails(&output, 4, says);
            let errors = text(&output.stderr);
            assert!(errors.contains(&image.display().to_string()), "{subcommand}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
            assert!(!errors.contains("os error"), "{errors}");
            assert_eq!(out(&output), "");
        }
    }
    for subcommand in ["restore", "inspect", "verify"] {
        assert_fails(&rekindle([subcommand, "-"]), 4, "standard input: the image is empty");
    }
}

#[test]
fn failures_are_json_too_when_that_is_asked_for() {
    let output = rekindle(["inspect", "--json", "no/such/image"]);
    assert_fails(&output, 4, "no/such/image");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &json["error"];
    assert_eq!((&error["code"], &error["exit_code"]), (&"image".into(), &4.into()));
    assert!(error["message"].as_str().unwrap().contains("no/such/image"));
    assert_eq!(error["refusals"], Value::Array(Vec::new()));
}

#[test]
fn a_pidfile_that_cannot_be_made_is_told_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::write(&image, b"whatever").unwrap();
    let output =
        command(["restore".as_ref(), image.as_os_str()]).args(["--pidfile", "no/such/dir/pid"]).output();
    assert_fails(&output.unwrap(), 1, "no/such/dir/pid");
    // And one that can be made is not there after a restore that failed.
    let pidfile = dir.path().join("pid");
    let output =
        command(["restore".as_ref(), image.as_os_str()]).arg("--pidfile").arg(&pidfile).output().unwrap();
    assert_fails(&output, 4, "not a rekindle image");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the image");
}

// ---- processes

/// A program with nothing but /dev/null open; killed and reaped when dropped.
struct Program(Child);

impl Program {
    fn start() -> Self {
        // Whatever the tests were started with is not the program's.
        rekindle_sys::fs::keep_descriptors_from_children().unwrap();
        let null = Stdio::null;
        Self(Command::new("sleep").arg("1000").stdin(null()).stdout(null()).stderr(null()).spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_is_not_there_is_refused() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id().to_string();
    assert_fails(&rekindle(["check", &pid]), 3, &pid);
    let output = rekindle(["checkpoint", &pid, "-o", "no-image", "--json"]);
    assert_fails(&output, 3, &pid);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "no-such-process");
    assert!(!Path::new("no-image").exists());
}

#[test]
fn the_machine_is_checked_and_the_exit_code_says_the_same() {
    let output = rekindle(["check", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let features = json["features"].as_array().unwrap();
    let lacks_required = features.iter().any(|f| f["required"] == true && f["present"] == false);
    assert_eq!(json["sufficient"], !lacks_required);
    assert_eq!(output.status.code(), Some(if lacks_required { 3 } else { 0 }));
    let table = out(&rekindle(["check"]));
    for feature in features {
        assert!(table.contains(feature["name"].as_str().unwrap()), "{table}");
    }
}

#[test]
fn a_process_is_checked_without_being_stopped() {
    let program = Program::start();
    let output = rekindle(["check", &program.pid(), "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["can_be_checkpointed"], true, "{json}");
    assert_eq!(json["command"], "sleep 1000");
    assert_eq!(output.status.code(), Some(0));
    let table = out(&rekindle(["check", &program.pid()]));
    assert!(table.contains("can be checkpointed"), "{table}");
}

#[test]
fn a_checkpoint_can_be_looked_into() {
    let program = Program::start();
    let dir = tempfile::tempdir().unwrap();
    let output = command(["checkpoint", &program.pid(), "--json"]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let name = format!("sleep-{}.rkd", program.pid());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["image"], &report["killed"]), (&name.as_str().into(), &false.into()));
    assert!(text(&output.stderr).contains(&name), "the name that was chosen is said");
    let image = dir.path().join(name);
    let len = image.metadata().unwrap().len();
    assert_eq!(report["image_bytes"], len);

    let json = out(&rekindle(["inspect".as_ref(), image.as_os_str(), "--json".as_ref()]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["plan"]["info"]["root_pid"].to_string(), program.pid());
    let mappings = json["mappings"][0].as_array().unwrap();
    let saved: u64 = mappings.iter().map(|mapping| mapping["saved_bytes"].as_u64().unwrap()).sum();
    assert_eq!(json["summary"]["page_bytes"], saved, "every page is in some mapping");
    for what in ["[stack]", "[vdso]"] {
        assert!(mappings.iter().any(|mapping| mapping["what"] == what), "{what}");
    }
    let table = out(&rekindle(["inspect".as_ref(), image.as_os_str()]));
    for what in ["sleep 1000", "[stack]", "/dev/null", &program.pid()] {
        assert!(table.contains(what), "no {what} in {table}");
    }
    let whole = rekindle(["verify".as_ref(), image.as_os_str()]);
    assert!(whole.status.success() && out(&whole).contains("is whole"), "{}", out(&whole));

    // Through a pipe all of it is read and checked, and so says the same and more.
    let stream = |subcommand: &str, extra: &[&str]| {
        let input = std::fs::File::open(&image).unwrap();
        command([subcommand, "-"]).args(extra).stdin(input).output().unwrap()
    };
    let mut streamed: Value = serde_json::from_slice(&stream("inspect", &["--json"]).stdout).unwrap();
    assert_eq!(streamed["verified"], true);
    streamed["verified"] = false.into();
    assert_eq!(streamed, json);
    assert!(stream("verify", &[]).status.success());
    std::fs::write(&image, [std::fs::read(&image).unwrap(), b"!".to_vec()].concat()).unwrap();
    assert_fails(&stream("verify", &[]), 4, "follows the end");
    assert_fails(&rekindle(["verify".as_ref(), image.as_os_str()]), 4, "");
}

/// Ctrl-C removes a file of this name; should the library choose another one, this fails.
#[test]
fn an_image_in_the_making_has_the_name_that_an_interruption_removes() {
    let program = Program::start();
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = command(["checkpoint", &program.pid(), "-o"]);
    checkpoint.arg(dir.path().join("image")).env("REKINDLE_FAULT", "checkpoint-finished:kill");
    let mut checkpoint = checkpoint.spawn().unwrap();
    checkpoint.wait().unwrap();
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [format!("image.{}.part", checkpoint.id()).as_str()]);
}
