//! 1 GiB of random memory: how near a checkpoint is to a plain write of the same bytes, and a restore to a plain read.

use std::path::Path;

use anyhow::Result;

use super::{Case, checkpoint, pauses, restore, walls};
use crate::lab::{self, Lab, Measured, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case =
    Case { name: "memory", about: "1 GiB of random memory, image on the disk", run };

const SIZE_MIB: u64 = 1024;
const TARGET: Option<f64> = Some(1.3);

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let image = lab.file(Place::Disk, "image");
    let subject = Subject::start(lab, "memory", SIZE_MIB)?;
    let pid = subject.pid();
    save(lab, report, &subject, &image)?;
    subject.kill()?;
    bring_back(lab, report, pid, &image, Cache::Warm)?;
    bring_back(lab, report, pid, &image, Cache::Cold)?;
    lab::remove(&image)
}

fn save(lab: &Lab, report: &mut Report, subject: &Subject, image: &Path) -> Result<()> {
    let (mut ours, mut buffered, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    let plain = lab.file(Place::Disk, "plain-bytes");
    for _ in 0..lab.runs {
        ours.push(checkpoint(lab, report, subject, image)?);
        let bytes = ours.last().map(|one: &Measured| one.number("image_bytes"));
        lab::forget(image)?; // or writing it back would be part of the next measurement
        buffered.push(lab.plain("write", &plain, bytes)?);
        lab::remove(&plain)?;
        direct.push(lab.plain("write-direct", &plain, bytes)?);
        lab::remove(&plain)?;
    }
    let (ours_wall, buffered, direct) = (walls(&ours), walls(&buffered), walls(&direct));
    report.ratio("checkpoint / plain write and fsync", &ours_wall, &buffered, TARGET);
    report.ratio("checkpoint / plain O_DIRECT write and fsync", &ours_wall, &direct, None);
    report.time("checkpoint", &ours_wall, None);
    report.time("checkpoint: processor time", &ours.iter().map(|one| one.cpu).collect::<Vec<_>>(), None);
    report.time("checkpoint: pause", &pauses(&ours), None);
    report.time("plain write and fsync", &buffered, None);
    report.time("plain O_DIRECT write and fsync", &direct, None);
    Ok(())
}

/// Whether the page cache has the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Warm,
    Cold,
}

fn bring_back(lab: &Lab, report: &mut Report, pid: i32, image: &Path, cache: Cache) -> Result<()> {
    let prepare = || match cache {
        Cache::Warm => lab::warm(image),
        Cache::Cold => lab::forget(image),
    };
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..lab.runs {
        prepare()?;
        ours.push(restore(lab, report, pid, image)?);
        prepare()?;
        plain.push(lab.plain("read", image, None)?);
    }
    let (ours_wall, plain) = (walls(&ours), walls(&plain));
    let from = match cache {
        Cache::Warm => "from the page cache",
        Cache::Cold => "from the disk",
    };
    report.ratio(format!("restore / plain read into fresh memory, {from}"), &ours_wall, &plain, TARGET);
    report.time(format!("restore {from}"), &ours_wall, None);
    report.time(
        format!("restore {from}: processor time"),
        &ours.iter().map(|one| one.cpu).collect::<Vec<_>>(),
        None,
    );
    report.time(format!("plain read into fresh memory, {from}"), &plain, None);
    Ok(())
}
