//! A process of 4 MiB: what the commands cost beside moving memory. The image is in memory, as the disk's sync has a
//! price of its own, which is told beside it.

use anyhow::Result;

use super::{Case, both, pauses, walls};
use crate::lab::{self, Lab, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case = Case { name: "small", about: "4 MiB, image in memory", run };

const SIZE_MIB: u64 = 4;
const TARGET_MS: Option<f64> = Some(15.0);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let subject = Subject::start(lab, "memory", SIZE_MIB)?;
    let (saved, restored) = both(lab, report, subject, &lab.file(Place::Tmpfs, "image"))?;
    report.time("checkpoint, the whole command", &walls(&saved), TARGET_MS);
    report.time("restore, the whole command", &walls(&restored), TARGET_MS);
    report.time("checkpoint: pause", &pauses(&saved), None);
    let (mut nothing, mut synced) = (Vec::new(), Vec::new());
    let file = lab.file(Place::Disk, "plain-bytes");
    for _ in 0..lab.runs {
        nothing.push(lab.nothing()?);
        synced.push(lab.plain("write", &file, Some(SIZE_MIB << 20))?);
        lab::remove(&file)?;
    }
    report.time("rekindle --version, the whole command", &walls(&nothing), None);
    report.time("plain write and fsync of 4 MiB on the disk", &walls(&synced), None);
    Ok(())
}
