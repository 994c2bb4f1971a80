//! Reads the output of test runners line by line and adds it up.
//!
//! ```text
//!      Running tests/memory.rs (...)                    a runner starts
//! test heap ... ok
//! test hugetlb ... ignored (skipped: needs root)        a skipped test with its reason; libtest: `ignored, reason`
//! skipped: needs python3                                a reason that a test printed itself
//! test result: ok. 1 passed; 0 failed; 1 ignored; ...   the runner's own count; it ended in order
//! error: 2 targets failed:                              cargo's own count of runners that failed, at its end
//! ```
//!
//! When cargo counts more failed runners than there were counts with failures, the rest ended out of order (a
//! crash, an early `exit`), and each is one failure more: without that, a crash of the harness would read as
//! fewer tests, all passed.

use std::fmt;

/// Names of tests listed for one reason to skip them.
const NAMES_SHOWN: usize = 5;

/// What all runners together have said.
#[derive(Default)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Why tests were skipped, with their names where known, in the order seen.
    reasons: Vec<(String, Vec<String>)>,
    /// Sentences about what failed beside single tests.
    troubles: Vec<String>,
    /// The runner that has started and not counted yet.
    open: Option<String>,
    /// Runners that ended without a count.
    silent: Vec<String>,
    /// Runners whose count has failures, in this run of cargo.
    failed_counts: u64,
    /// Runners that cargo says failed, in this run.
    failed_runners: u64,
}

impl Summary {
    /// Takes in one line of output, without its line end.
    pub(crate) fn line(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        if let Some(runner) = runner(line) {
            self.close_runner();
            self.open = Some(runner.to_owned());
        } else if let Some([passed, failed, ignored]) = counts(line) {
            self.passed += passed;
            self.failed += failed;
            self.skipped += ignored;
            self.failed_counts += u64::from(failed > 0);
            self.open = None;
        } else if let Some(failed) = failed_runners(line) {
            self.failed_runners = failed;
        } else if let Some((name, reason)) = skipped(line) {
            self.add_reason(reason, name);
        }
    }

    /// The runner that has started and not given its counts yet.
    pub(crate) fn running(&self) -> Option<&str> {
        self.open.as_deref()
    }

    /// Ends one run of cargo: `succeeded` is its exit status.
    pub(crate) fn end_of_run(&mut self, succeeded: bool) {
        self.close_runner();
        let silent = std::mem::take(&mut self.silent);
        let failed_counts = std::mem::take(&mut self.failed_counts);
        let crashed = std::mem::take(&mut self.failed_runners).saturating_sub(failed_counts);
        if succeeded {
            return;
        }
        if crashed > 0 {
            self.trouble(format!(
                "{crashed} test programs ended out of order; without a result: {}",
                silent.join(", ")
            ));
            self.failed += crashed - 1;
        }
        if self.failed == 0 {
            self.trouble("cargo test failed before any test did; see above".to_owned());
        }
    }

    /// Counts something that went wrong outside of any test as one failure.
    pub(crate) fn trouble(&mut self, sentence: String) {
        self.failed += 1;
        self.troubles.push(sentence);
    }

    /// Whether tests ran, and none failed.
    pub(crate) fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    fn add_reason(&mut self, reason: &str, name: Option<&str>) {
        let known = self.reasons.iter().position(|(known, _)| known == reason);
        let at = known.unwrap_or_else(|| {
            self.reasons.push((reason.to_owned(), Vec::new()));
            self.reasons.len() - 1
        });
        self.reasons[at].1.extend(name.map(str::to_owned));
    }

    fn close_runner(&mut self) {
        self.silent.extend(self.open.take());
    }
}

/// The reasons of skipped tests, what failed beside tests, and the closing line.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, names) in &self.reasons {
            writeln!(f, "skipped: {reason}{}", in_brackets(names))?;
        }
        for trouble in &self.troubles {
            writeln!(f, "failed: {trouble}")?;
        }
        if self.passed + self.failed == 0 {
            writeln!(f, "no test ran")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The name in the line by which cargo announces a runner.
fn runner(line: &str) -> Option<&str> {
    let name = line.strip_prefix("Running ").or_else(|| line.starts_with("Doc-tests ").then_some(line))?;
    // "Running tests/memory.rs (target/debug/deps/memory-0123456789abcdef)"; a program's own "Running for 3
    // s" is not one.
    (name == line || name.ends_with(')')).then(|| name.split(" (").next().unwrap_or(name))
}

/// Passed, failed and ignored, from a runner's closing line.
fn counts(line: &str) -> Option<[u64; 3]> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some([count("passed")?, count("failed")?, count("ignored")?])
}

/// N from cargo's "error: N targets failed:".
fn failed_runners(line: &str) -> Option<u64> {
    let (count, rest) = line.strip_prefix("error: ")?.split_once(' ')?;
    (rest.starts_with("target") && rest.ends_with(" failed:")).then(|| count.parse().ok())?
}

/// The name, where the line has it, and the reason of a skipped test.
fn skipped(line: &str) -> Option<(Option<&str>, &str)> {
    if let Some(reason) = line.strip_prefix("skipped: ") {
        return Some((None, reason));
    }
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = outcome.strip_prefix(" (").and_then(|reason| reason.strip_suffix(')')).unwrap_or(outcome);
    let reason = reason.trim_start_matches(", ").trim_start_matches("skipped: ");
    Some((Some(name.trim()), if reason.is_empty() { "no reason given" } else { reason }))
}

/// The first few names, and how many more there are.
fn in_brackets(names: &[String]) -> String {
    match names {
        [] => String::new(),
        _ if names.len() > NAMES_SHOWN => {
            let shown = names[..NAMES_SHOWN - 1].join(", ");
            format!(" ({shown}, and {} more)", names.len() + 1 - NAMES_SHOWN)
        }
        _ => format!(" ({})", names.join(", ")),
    }
}

/// The line without terminal escape sequences of the form `ESC [ ... letter`.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or("");
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(lines: &str, succeeded: bool) -> Summary {
        let mut summary = Summary::default();
        lines.lines().for_each(|line| summary.line(line));
        summary.end_of_run(succeeded);
        summary
    }

    const OK: &str = "\
     Running unittests src/lib.rs (target/debug/deps/a-0123456789abcdef)
test one ... ok
test two ... ignored, needs huge pages
test three ... ignored
test four     ... ignored (skipped: needs huge pages)
skipped: needs python3
skipped: needs python3
test result: ok. 1 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests rekindle
test result: \x1b[32mok\x1b[m. 4 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s";

    #[test]
    fn counts_of_all_runners_are_added_and_reasons_listed_once() {
        let summary = summary(OK, true);
        assert!(summary.is_success());
        assert_eq!(
            summary.to_string(),
            "skipped: needs huge pages (two, four)\nskipped: no reason given (three)\nskipped: needs python3\n\
             5 passed, 0 failed, 3 skipped"
        );
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<_> = "abcdefg".chars().map(String::from).collect();
        assert_eq!(in_brackets(&names[..5]), " (a, b, c, d, e)");
        assert_eq!(in_brackets(&names), " (a, b, c, d, and 3 more)");
    }

    #[test]
    fn a_failed_test_fails_the_whole() {
        let lines =
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let summary = summary(lines, false);
        assert!(!summary.is_success());
        assert_eq!(summary.to_string(), "3 passed, 2 failed, 0 skipped");
    }

    #[test]
    fn a_runner_that_crashes_counts_as_a_failure_and_is_named() {
        let crash = format!(
            "{OK}\n     Running suites/empty.rs (target/debug/deps/empty-0123456789abcdef)\n     \
             Running tests/memory.rs (target/debug/deps/memory-0123456789abcdef)\ntest a ...\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n     \
             Running tests/threads.rs (target/debug/deps/threads-0123456789abcdef)\ntest a ...\n\
             error: 2 targets failed:\n    `-p a --test memory`\n    `-p a --test threads`"
        );
        let summary = summary(&crash, false);
        assert!(!summary.is_success());
        let text = summary.to_string();
        let sentence =
            "1 test programs ended out of order; without a result: suites/empty.rs, tests/threads.rs\n";
        assert!(text.contains(sentence), "{text}");
        assert!(text.ends_with("\n5 passed, 2 failed, 3 skipped"), "{text}");
    }

    #[test]
    fn a_build_that_fails_is_a_failure_even_without_a_runner() {
        let summary = summary("error: could not compile `rekindle`", false);
        assert!(!summary.is_success());
        assert!(summary.to_string().ends_with("\n0 passed, 1 failed, 0 skipped"));
    }

    #[test]
    fn no_test_at_all_is_no_success() {
        let nothing =
            "test result: ok. 0 passed; 0 failed; 3 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        let summary = summary(nothing, true);
        assert!(!summary.is_success());
        assert_eq!(summary.to_string(), "no test ran\n0 passed, 0 failed, 3 skipped");
    }

    #[test]
    fn what_a_program_prints_is_not_taken_for_a_runner() {
        assert_eq!(runner("Running for 3 s"), None);
        assert_eq!(runner("Running tests/a.rs (target/debug/deps/a-1)"), Some("tests/a.rs"));
        assert_eq!(counts("test result: no idea"), None);
    }
}
