//! What was measured: one line for each quantity, its target if it has one, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of two times.
    Ratio,
    /// Milliseconds.
    Ms,
    /// Mebibytes.
    MiB,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Ratio => "x",
            Unit::Ms => "ms",
            Unit::MiB => "MiB",
        }
    }
}

/// A quantity: one sample a round, of which the median counts.
#[derive(Debug)]
struct Line {
    case: &'static str,
    what: String,
    unit: Unit,
    samples: Vec<f64>,
    /// What it must not exceed.
    target: Option<f64>,
}

/// All lines so far, and the most memory that a supervisor took.
#[derive(Debug, Default)]
pub(crate) struct Report {
    case: &'static str,
    lines: Vec<Line>,
    checkpoint_rss: Vec<f64>,
    restore_rss: Vec<f64>,
}

/// Supervisor memory, in MiB, however large the program is.
const RSS_TARGET: f64 = 64.0;

impl Report {
    /// The lines that come belong to this case.
    pub(crate) fn begin(&mut self, case: &'static str) {
        self.case = case;
    }

    /// Adds a quantity.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        unit: Unit,
        samples: Vec<f64>,
        target: Option<f64>,
    ) {
        let line = Line { case: self.case, what: what.into(), unit, samples, target };
        eprintln!("  {} {} {}", line.what, show(line.median(), unit), unit.name());
        self.lines.push(line);
    }

    /// Adds a time.
    pub(crate) fn time(&mut self, what: impl Into<String>, times: &[Duration], target_ms: Option<f64>) {
        self.add(what, Unit::Ms, times.iter().map(|time| time.as_secs_f64() * 1000.0).collect(), target_ms);
    }

    /// Adds how much longer `times` are than `others`, round by round.
    pub(crate) fn ratio(
        &mut self,
        what: impl Into<String>,
        times: &[Duration],
        others: &[Duration],
        target: Option<f64>,
    ) {
        let ratios = times.iter().zip(others).map(|(time, other)| time.as_secs_f64() / other.as_secs_f64());
        self.add(what, Unit::Ratio, ratios.collect(), target);
    }

    /// Notes the memory that a checkpoint's supervisor took, in bytes.
    pub(crate) fn checkpoint_rss(&mut self, bytes: u64) {
        self.checkpoint_rss.push(mib(bytes));
    }

    /// Notes the memory that a restore's supervisor took, in bytes.
    pub(crate) fn restore_rss(&mut self, bytes: u64) {
        self.restore_rss.push(mib(bytes));
    }

    /// Adds the most memory that any supervisor took.
    pub(crate) fn supervisor(&mut self) {
        self.begin("all");
        let most = |samples: Vec<f64>| samples.into_iter().reduce(f64::max).into_iter().collect::<Vec<_>>();
        for (what, rss) in [
            ("checkpoint: supervisor's memory, at most", most(std::mem::take(&mut self.checkpoint_rss))),
            ("restore: supervisor's memory, at most", most(std::mem::take(&mut self.restore_rss))),
        ] {
            if !rss.is_empty() {
                self.add(what, Unit::MiB, rss, Some(RSS_TARGET));
            }
        }
    }

    /// Whether no target was missed.
    pub(crate) fn all_met(&self) -> bool {
        self.lines.iter().all(|line| line.met() != Some(false))
    }

    /// For people (and for docs/performance.md: it is Markdown).
    pub(crate) fn table(&self) -> String {
        let mut rows =
            vec![["case", "what", "measured", "target", "ok"].map(str::to_owned), Default::default()];
        for line in &self.lines {
            let unit = line.unit.name();
            rows.push([
                line.case.to_owned(),
                line.what.clone(),
                format!("{} {unit}", show(line.median(), line.unit)),
                line.target.map_or_else(String::new, |target| format!("≤ {target} {unit}")),
                line.met().map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4].map(width);
        let mut text = String::new();
        for row in &rows {
            let rule = row.iter().all(String::is_empty);
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let _ = match (rule, column) {
                    (true, 2 | 3) => write!(text, "|-{}:", "-".repeat(width)),
                    (true, _) => write!(text, "|-{}-", "-".repeat(width)),
                    (false, 2 | 3) => write!(text, "| {cell:>width$} "),
                    (false, _) => write!(text, "| {cell:<width$} "),
                };
            }
            text.push_str("|\n");
        }
        text
    }

    /// For programs: all samples too.
    pub(crate) fn json(&self, runs: u32) -> String {
        let lines: Vec<Value> = self.lines.iter().map(Line::json).collect();
        let uname = rustix::system::uname();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let report = json!({
            "machine": {
                "processors": processors,
                "kernel": uname.release().to_string_lossy(),
                "arch": uname.machine().to_string_lossy(),
            },
            "runs": runs,
            "all_met": self.all_met(),
            "lines": lines,
        });
        format!("{report:#}\n")
    }
}

impl Line {
    fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[count / 2],
            count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        }
    }

    /// Whether its target was met, if it has one.
    fn met(&self) -> Option<bool> {
        self.target.map(|target| self.median() <= target)
    }

    fn json(&self) -> Value {
        let Line { case, what, unit, samples, target } = self;
        json!({
            "case": case,
            "what": what,
            "unit": unit.name(),
            "median": self.median(),
            "samples": samples,
            "target": target,
            "met": self.met(),
        })
    }
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => format!("{value:.2}"),
        Unit::Ms | Unit::MiB if value < 100.0 => format!("{value:.1}"),
        Unit::Ms | Unit::MiB => format!("{value:.0}"),
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_targets() {
        let mut report = Report::default();
        report.begin("x");
        report.add("odd", Unit::Ms, vec![3.0, 1.0, 2.0], Some(2.0));
        report.add("even", Unit::Ms, vec![4.0, 1.0, 2.0, 3.0], None);
        assert_eq!(report.lines.iter().map(Line::median).collect::<Vec<_>>(), [2.0, 2.5]);
        assert!(report.all_met());
        report.add("missed", Unit::Ratio, vec![1.31], Some(1.3));
        assert!(!report.all_met());
        assert_eq!(report.table().lines().last(), Some("| x    | missed |   1.31 x | ≤ 1.3 x | NO  |"));
    }
}
