//! Each rule seen complaining, and the repository seen without complaints.

use super::*;
use crate::workspace::Package;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn the_repository_is_tidy() {
    let complaints = check().unwrap();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn a_long_file_needs_a_reason() {
    assert!(long_file(&file("a.rs", &"//\n".repeat(LONGEST_FILE))).is_empty());
    let long = file("a.rs", &"//\n".repeat(LONGEST_FILE + 1));
    assert_eq!(long_file(&long), ["a.rs: 601 lines, more than 600; split it, or give a reason"]);
    assert!(excepted(&[("a.rs", "a table")], &[&long], long_file).is_empty());
}

#[test]
fn an_exception_that_covers_nothing_is_a_complaint() {
    let short = file("tests/a.rs", "//! a");
    let complaints = excepted(&[("tests/", "subjects"), ("gone.rs", "was long")], &[&short], long_file);
    let expected = [
        "tests/: no longer needs its exception (subjects)",
        "gone.rs: no longer needs its exception (was long)",
    ];
    assert_eq!(complaints, expected);
}

#[test]
fn an_exception_covers_its_file_or_its_folder_only() {
    assert!(covers("a/b.rs", "a/b.rs") && covers("a/", "a/b.rs"));
    assert!(!covers("a/b", "a/b.rs") && !covers("a/", "b/a/c.rs"));
}

#[test]
fn a_file_opens_with_its_story() {
    assert!(story(&file("a.rs", "//! What it is.\n")).is_empty());
    assert_eq!(story(&file("a.rs", "use std::fmt;\n")).len(), 1);
    assert_eq!(story(&file("a.rs", "")).len(), 1);
}

#[test]
fn the_word_unsafe_is_found_in_code_only_and_outside_of_sys() {
    let text = "// unsafe\nlet a = \"unsafe\";\nlet unsafe_a = 1;\nunsafe { a() }\n#[unsafe(no_mangle)]\n";
    let expected = [
        "crates/cli/a.rs:4: `unsafe` outside of crates/sys",
        "crates/cli/a.rs:5: `unsafe` outside of crates/sys",
    ];
    assert_eq!(unsafe_code(&file("crates/cli/a.rs", text)), expected);
    assert!(unsafe_code(&file("crates/sys/src/a.rs", text)).is_empty());
}

#[test]
fn a_lint_is_switched_off_with_a_reason() {
    let good = "#[expect(dead_code, reason = \"later\")]\n// #[allow(x)]\n#[expect(\n    a,\n    reason = \"b\"\n)]\n";
    assert!(lint_reasons(&file("a.rs", good)).is_empty());
    let bad = "\n#[allow(dead_code)]\n#![expect(unused)]\n";
    let expected = |line| format!("a.rs:{line}: a lint is switched off without `reason = \"...\"`");
    assert_eq!(lint_reasons(&file("a.rs", bad)), [expected(2), expected(3)]);
}

#[test]
fn local_paths_and_registries_are_found() {
    let [homes, root, work] = LOCAL_PATHS else { panic!("the test knows three") };
    for bad in [format!("see {homes}jane/x"), format!("`{root}x`"), format!("{work}x")] {
        assert_eq!(places(&file("a.md", &bad)), ["a.md:1: names a directory of one machine"], "{bad}");
    }
    let longer = [format!("/proc/PID{root}etc"), format!("target{work}x"), format!("/proc/{{pid}}{root}")];
    for good in longer.into_iter().chain([format!("{homes}{EXAMPLE_USER}/x"), format!("{homes}file")]) {
        assert!(places(&file("a.md", &good)).is_empty(), "{good}");
    }
    let host = format!("\nhttps://{}/a", REGISTRY_HOSTS[0]);
    assert_eq!(places(&file("a.md", &host)), ["a.md:2: names the host of a package registry"]);
    assert!(places(&file("Cargo.lock", &host)).is_empty());
}

#[test]
fn a_crate_takes_part_in_the_lints() {
    let root = file(
        "Cargo.toml",
        "[workspace]\na = 1\n\n[workspace.lints.rust]\nmissing_docs = \"warn\" # why\nunsafe_code = \"deny\"\n\n\
         [workspace.lints.clippy]\npanic = \"deny\"\nlarge_enum_variant = \"allow\"\n\n[profile.dev]\nopt-level = 1\n",
    );
    let with = file("crates/a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n");
    let without = file("crates/b/Cargo.toml", "[package]\n");
    let own = file(OWN_LINTS, "[package]\n\n[lints.rust]\nmissing_docs = \"warn\"\n");
    let expected = [
        "crates/b/Cargo.toml: lacks `[lints] workspace = true`",
        "crates/sys/Cargo.toml: its own lints lack `panic`",
    ];
    assert_eq!(manifests(&[root, with, without, own]), expected);
}

#[test]
fn decision_records_are_numbered_titled_and_dated() {
    let first = || file("docs/decisions/0001-a.md", "# 0001. A\n\nDate: 2026-11-23\n");
    let second = file("docs/decisions/0002-b.md", "# 0002. B\n\nDate: 2026-11-24\n");
    assert!(decisions(&[second, first()]).is_empty());

    let third = file("docs/decisions/0003-c.md", "# 3. C\nDate: soon\n");
    let expected = [
        "docs/decisions/0003-c.md: the next decision record is 0002-title.md",
        "docs/decisions/0003-c.md: does not open with `# 0002. Title`",
        "docs/decisions/0003-c.md: has no line `Date: YYYY-MM-DD`",
    ];
    assert_eq!(decisions(&[first(), third]), expected);
}

#[test]
fn a_date_has_its_digits() {
    assert!(is_date("2026-11-23"));
    for wrong in ["2026-1-23", "23-11-2026", "2026-11-2x", "2026-11", "2026-11-23-01", ""] {
        assert!(!is_date(wrong), "{wrong}");
    }
}

#[test]
fn dependencies_go_downward() {
    let package = |name: &str, dependencies: &[&str]| Package {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
    };
    let workspace = Workspace {
        target_directory: "/".into(),
        packages: vec![
            package("rekindle", &["rekindle-image", "rekindle-sys", "serde"]),
            package("rekindle-image", &["rekindle-sys", "prost"]),
            package("rekindle-sys", &["rekindle"]),
            package("newcomer", &[]),
        ],
    };
    let expected = [
        "rekindle-image: must not depend on rekindle-sys",
        "rekindle-sys: must not depend on rekindle",
        "newcomer: has no place in the order of crates (MAY_USE in xtask/src/tidy.rs)",
    ];
    assert_eq!(dependencies(&workspace), expected);
}
