//! 4 GiB with a page in every second place: the most runs that so much memory can have, to see what the supervisor keeps
//! of them. Once only, as it takes long; left out where there is too little memory or disk.

use anyhow::Result;

use super::{Case, checkpoint, restore};
use crate::lab::{self, Lab, Place};
use crate::report::Report;
use crate::subject::Subject;

pub(super) const CASE: Case =
    Case { name: "sparse", about: "4 GiB with every second page in use, image on the disk", run };

const SIZE_MIB: u64 = 4096;
/// What the subject, and the page cache while its image is written, need.
const NEEDED_BYTES: u64 = 4 << 30;

fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let image = lab.file(Place::Disk, "image");
    if available_memory() < NEEDED_BYTES || free_on_disk(lab)? < NEEDED_BYTES {
        eprintln!("  skipped: needs 4 GiB of free memory, and as much on the disk");
        return Ok(());
    }
    let subject = Subject::start(lab, "sparse", SIZE_MIB)?;
    let pid = subject.pid();
    let saved = checkpoint(lab, report, &subject, &image)?;
    subject.kill()?;
    let restored = restore(lab, report, pid, &image)?;
    report.time("checkpoint", &[saved.wall], None);
    report.time("restore", &[restored.wall], None);
    lab::remove(&image)
}

/// proc_meminfo(5)
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn free_on_disk(lab: &Lab) -> Result<u64> {
    let disk = rustix::fs::statvfs(lab.program("subject"))?;
    Ok(disk.f_bavail * disk.f_frsize)
}
