//! 300 idle children of a parent with 64 MiB, which all have in common; then 1 000. The image is in memory.

use anyhow::Result;

use super::{Case, checkpoint, pauses, restore, walls};
use crate::lab::{Lab, Place};
use crate::report::{Report, Unit, mib};
use crate::subject::Subject;

pub(super) const CASE: Case = Case { name: "tree", about: "idle children, image in memory", run };

const PAUSE_MS: Option<f64> = Some(250.0);
const RESTORE_MS: Option<f64> = Some(300.0);
/// The parent's memory, and a tenth.
const IMAGE_MIB: Option<f64> = Some(70.4);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let image = lab.file(Place::Tmpfs, "image");
    for (children, has_targets) in [(300, true), (1000, false)] {
        let target = |target: Option<f64>| target.filter(|_| has_targets);
        let subject = Subject::start(lab, "tree", children)?;
        let pid = subject.pid();
        let saved =
            (0..lab.runs).map(|_| checkpoint(lab, report, &subject, &image)).collect::<Result<Vec<_>>>()?;
        subject.kill_with_children()?;
        let size = mib(std::fs::metadata(&image)?.len());
        let restored =
            (0..lab.runs).map(|_| restore(lab, report, pid, &image)).collect::<Result<Vec<_>>>()?;
        crate::lab::remove(&image)?;
        report.time(format!("{children} children: checkpoint: pause"), &pauses(&saved), target(PAUSE_MS));
        report.time(format!("{children} children: checkpoint, the whole command"), &walls(&saved), None);
        report.time(
            format!("{children} children: restore, the whole command"),
            &walls(&restored),
            target(RESTORE_MS),
        );
        report.add(format!("{children} children: image"), Unit::MiB, vec![size], target(IMAGE_MIB));
    }
    Ok(())
}
