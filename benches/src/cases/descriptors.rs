//! 10 000 open files: eventfds, ends of pipes, sockets and files in equal parts; then as many eventfds that one epoll
//! watches. The image is in memory.

use anyhow::Result;

use super::{Case, both, pauses, walls};
use crate::lab::{Lab, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case = Case { name: "descriptors", about: "10 000 open files, image in memory", run };

const DESCRIPTORS: u64 = 10_000;
const PAUSE_MS: Option<f64> = Some(300.0);
const RESTORE_MS: Option<f64> = Some(300.0);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for (subject, what) in [("descriptors", "of all kinds"), ("epoll", "in one epoll")] {
        let subject = Subject::start(lab, subject, DESCRIPTORS)?;
        let (saved, restored) = both(lab, report, subject, &lab.file(Place::Tmpfs, "image"))?;
        report.time(format!("{what}: checkpoint: pause"), &pauses(&saved), PAUSE_MS);
        report.time(format!("{what}: checkpoint, the whole command"), &walls(&saved), None);
        report.time(format!("{what}: restore, the whole command"), &walls(&restored), RESTORE_MS);
    }
    Ok(())
}
