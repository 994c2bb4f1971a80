//! 1 000 threads: what each costs while all stand still. The image is in memory.

use anyhow::Result;

use super::{Case, both, pauses, walls};
use crate::lab::{Lab, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case = Case { name: "threads", about: "1 000 threads, image in memory", run };

const THREADS: u64 = 1000;
const PAUSE_MS: Option<f64> = Some(100.0);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let subject = Subject::start(lab, "threads", THREADS - 1)?; // and the first one
    let (saved, restored) = both(lab, report, subject, &lab.file(Place::Tmpfs, "image"))?;
    report.time("checkpoint: pause", &pauses(&saved), PAUSE_MS);
    report.time("checkpoint, the whole command", &walls(&saved), None);
    report.time("restore, the whole command", &walls(&restored), None);
    Ok(())
}
