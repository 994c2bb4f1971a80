//! What is measured: each case is a subject and the lines that it adds to the report.

mod descriptors;
mod mappings;
mod memory;
mod small;
mod sparse;
mod threads;
mod tree;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::lab::{Lab, Measured};
use crate::report::Report;
use crate::subject::Subject;

/// Something to measure.
pub(crate) struct Case {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What its subject is.
    pub(crate) about: &'static str,
    /// Measures it.
    pub(crate) run: fn(&Lab, &mut Report) -> Result<()>,
}

/// All of them, in the order in which they are measured.
pub(crate) const CASES: &[Case] =
    &[memory::CASE, small::CASE, threads::CASE, mappings::CASE, descriptors::CASE, tree::CASE, sparse::CASE];

/// Their names, for people.
pub(crate) fn names() -> String {
    CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
}

/// Checkpoints the subject once.
fn checkpoint(lab: &Lab, report: &mut Report, subject: &Subject, image: &Path) -> Result<Measured> {
    let measured = lab.checkpoint(subject.pid(), image)?;
    report.checkpoint_rss(measured.max_rss);
    Ok(measured)
}

/// Restores the image once; the program that comes back looks whether all is as it was, and ends.
fn restore(lab: &Lab, report: &mut Report, pid: i32, image: &Path) -> Result<Measured> {
    let measured = lab.restore(image)?;
    report.restore_rss(measured.max_rss);
    Subject::restored(pid)?.verify()?;
    Ok(measured)
}

/// Checkpoints the subject, kills it, and restores it, as often as the lab says.
fn both(
    lab: &Lab,
    report: &mut Report,
    subject: Subject,
    image: &Path,
) -> Result<(Vec<Measured>, Vec<Measured>)> {
    let pid = subject.pid();
    let saved =
        (0..lab.runs).map(|_| checkpoint(lab, report, &subject, image)).collect::<Result<Vec<_>>>()?;
    subject.kill()?;
    let restored = (0..lab.runs).map(|_| restore(lab, report, pid, image)).collect::<Result<Vec<_>>>()?;
    crate::lab::remove(image)?;
    Ok((saved, restored))
}

fn walls(measured: &[Measured]) -> Vec<Duration> {
    measured.iter().map(|one| one.wall).collect()
}

fn pauses(measured: &[Measured]) -> Vec<Duration> {
    measured.iter().map(Measured::pause).collect()
}
