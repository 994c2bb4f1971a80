//! 20 000 mappings of a page each, neighbours of different protection: what each costs while the program stands still.
//! The image is in memory.

use anyhow::Result;

use super::{Case, both, pauses, walls};
use crate::lab::{Lab, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case = Case { name: "mappings", about: "20 000 mappings, image in memory", run };

const MAPPINGS: u64 = 20_000;
const PAUSE_MS: Option<f64> = Some(200.0);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let subject = Subject::start(lab, "mappings", MAPPINGS)?;
    let (saved, restored) = both(lab, report, subject, &lab.file(Place::Tmpfs, "image"))?;
    report.time("checkpoint: pause", &pauses(&saved), PAUSE_MS);
    report.time("checkpoint, the whole command", &walls(&saved), None);
    report.time("restore, the whole command", &walls(&restored), None);
    Ok(())
}
