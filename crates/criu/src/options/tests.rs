//! Tests of the taking apart.

use super::*;

fn parse(words: &[&str]) -> Line {
    Line::parse(words.iter().map(OsString::from))
}

fn given(line: &Line) -> Vec<String> {
    let told = |given: &Given| match &given.value {
        Value::On => given.option.name.to_owned(),
        Value::Off => format!("no-{}", given.option.name),
        Value::Text(text) => format!("{}={}", given.option.name, shown(text)),
    };
    line.given.iter().map(told).collect()
}

#[test]
fn options_stand_anywhere_and_in_every_form() {
    let line = parse(&["-t7", "dump", "--images-dir=a", "-D", "b", "--log-file", "c", "-Rv4", "-vvv", "-j"]);
    assert_eq!(line.complaints, [""; 0]);
    assert_eq!(line.words, ["dump"]);
    let expected = [
        "tree=7",
        "images-dir=a",
        "images-dir=b",
        "log-file=c",
        "leave-running",
        "verbosity=4",
        "verbosity=vv",
        "shell-job",
    ];
    assert_eq!(given(&line), expected);
}

#[test]
fn a_value_that_may_be_left_out_is_attached_or_none() {
    let line = parse(&["--manage-cgroups", "soft", "--manage-cgroups=full", "-v", "3", "--cpu-cap"]);
    assert_eq!(line.words, ["soft", "3"]);
    assert_eq!(given(&line), ["manage-cgroups", "manage-cgroups=full", "verbosity", "cpu-cap"]);
}

#[test]
fn switches_can_be_taken_back() {
    let line = parse(&["--shell-job", "--no-shell-job", "--no-page-server", "--leave-running"]);
    assert_eq!(line.complaints, [""; 0]);
    assert!(!line.has("shell-job") && line.has("leave-running") && !line.has("page-server"));
    for wrong in ["--no-tree", "--no-version", "--no-no-default-config", "--no-shell-job=x", "--shell-job=x"]
    {
        assert_eq!(parse(&[wrong]).complaints.len(), 1, "{wrong}");
    }
    assert!(parse(&["--no-default-config"]).has("no-default-config"));
}

#[test]
fn beginnings_of_one_name_are_that_name() {
    assert_eq!(given(&parse(&["--track", "--no-shell"])), ["track-mem", "no-shell-job"]);
    // The beginning of others, but a name itself.
    assert_eq!(given(&parse(&["--root", "/"])), ["root=/"]);
    assert!(parse(&["--cgroup"]).complaints[0].contains("several options"));
    assert!(parse(&["--=x"]).complaints[0].contains("no option"));
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let line = parse(&["dump", "--bogus", "-q", "--tcp-close=1", "--tree"]);
    assert_eq!(line.complaints.len(), 4, "{:?}", line.complaints);
    for (complaint, says) in line.complaints.iter().zip(["--bogus", "-q", "--tcp-close", "PID"]) {
        assert!(complaint.contains(says), "{complaint}");
    }
}

#[test]
fn a_command_follows_two_dashes() {
    let line = parse(&["restore", "--exec-cmd", "--", "sh", "-c", "--"]);
    assert_eq!(
        (line.words, line.rest),
        (vec!["restore".into()], vec!["sh".into(), "-c".into(), "--".into()])
    );
}

#[test]
fn help_names_every_option() {
    let help = help();
    assert!(OPTIONS.iter().all(|option| help.contains(&format!("--{}", option.name))));
}
