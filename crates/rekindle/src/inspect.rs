//! What is in an image, without restoring it.
//!
//! Of a file, header, index and records are read, and hardly a page; of a stream, everything, as there is no other way
//! past the pages. Either way nothing is created and nothing runs.

use crate::error::Error;
use crate::kinds::mem::mapping::{self, Backing};
use crate::record::{AnyRecord, FIRST_OBJECT, Plan, ProcessPlan, space_of_process};
use crate::refusal::show;
use rekindle_image::{
    Entry, EntryKind, Extent, Frame, Header, Index, PageBuffer, Reader, Summary, layout, read_pages,
    read_record,
};
use serde::Serialize;
use std::fs::File;
use std::io::Read;

/// What an image holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What its first bytes say.
    pub header: HeaderView,
    /// Its records.
    pub plan: Plan,
    /// The mappings of each process of the plan, with their names and how much of each is saved.
    pub mappings: Vec<Vec<MappingView>>,
    /// The objects of shared memory, likewise.
    pub objects: Vec<ObjectView>,
    /// Its counts and digest.
    pub summary: SummaryView,
    /// Whether every byte was checked on the way (a stream), or only what was read (a file: see `rekindle verify`).
    pub verified: bool,
}

/// The header of an image.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderView {
    /// Version of the format.
    pub format: u32,
    /// The architecture of the program.
    pub arch: String,
    /// Page size of the machine that made it, in bytes.
    pub page_size: u32,
    /// Features that a reader must know.
    pub required_features: Vec<String>,
    /// Features that it may ignore.
    pub optional_features: Vec<String>,
}

/// A mapping, as /proc/PID/maps would show it.
#[derive(Clone, Debug, Serialize)]
pub struct MappingView {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// `rwxp`
    pub perms: String,
    /// What is behind it: a path, `[heap]`, `[stack]`, `[anon:name]`, or nothing.
    pub what: String,
    /// Bytes of its own contents in the image, before compression; `None` where telling would mean to read it all.
    pub saved_bytes: Option<u64>,
}

/// An object of shared memory.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectView {
    /// Its id.
    pub id: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of its contents in the image, as of a mapping.
    pub saved_bytes: Option<u64>,
}

/// What the end of an image says.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryView {
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Bytes of memory in it, before compression.
    pub page_bytes: u64,
    /// Records.
    pub records: u64,
    /// Frames of pages.
    pub page_frames: u64,
    /// The digest of all of it, in hexadecimal.
    pub digest: String,
}

impl From<Summary> for SummaryView {
    fn from(summary: Summary) -> Self {
        let Summary { frames: _, records, page_frames, page_bytes, length, digest } = summary; // frames: a sum of the others
        Self { image_bytes: length, page_bytes, records, page_frames, digest: digest.to_string() }
    }
}

impl From<&Header> for HeaderView {
    fn from(header: &Header) -> Self {
        let Header { required, optional, page_size, arch } = *header;
        Self {
            format: layout::VERSION,
            arch: arch.to_string(),
            page_size,
            required_features: required.names(),
            optional_features: optional.names(),
        }
    }
}

/// Looks into an image that begins at the start of a file and ends at its end.
pub fn file(file: &File) -> Result<Inspection, Error> {
    let len = file.metadata().map_err(|error| Error::io("looking at the image", &error))?.len();
    let index = Index::read_at(file, len)?;
    let mut plan = Plan::default();
    let mut payload = Vec::new();
    for entry in index.entries().iter().filter(|entry| matches!(entry.kind, EntryKind::Record(_))) {
        if let Some(record) = AnyRecord::decode(&read_record(file, entry, &mut payload)?)? {
            plan.add(record)?;
        }
    }
    let mut saved = Saved::of(&plan);
    let mut reading = FrameReading { file, left: FRAMES_READ, pages: PageBuffer::new() };
    for entry in index.entries() {
        if let EntryKind::Pages(extent) = &entry.kind {
            reading.count(entry, extent, &mut saved)?;
        }
    }
    Ok(put_together(index.header(), plan, &saved, *index.summary(), false))
}

/// Looks into an image in a stream, of which exactly the image is read, and verified.
pub fn stream(input: impl Read) -> Result<Inspection, Error> {
    let mut reader = Reader::new(input)?;
    let mut plan = Plan::default();
    let mut saved = None;
    while let Some(frame) = reader.next()? {
        match frame {
            Frame::Record(record) => {
                if let Some(record) = AnyRecord::decode(&record)? {
                    plan.add(record)?;
                }
            }
            // All records come before the first pages.
            Frame::Pages(pages) => {
                let saved = saved.get_or_insert_with(|| Saved::of(&plan));
                for run in pages.runs() {
                    saved.add(run.space, run.address, run.end());
                }
            }
        }
    }
    let saved = saved.unwrap_or_else(|| Saved::of(&plan));
    let Some(summary) = reader.summary() else {
        return Err(Error::Nonsense("it has no end".into())); // `next` gives `None` only after one
    };
    Ok(put_together(reader.header(), plan, &saved, summary, true))
}

fn put_together(header: &Header, plan: Plan, saved: &Saved, summary: Summary, verified: bool) -> Inspection {
    let mappings = plan.processes.iter().enumerate().map(|(index, process)| {
        let of = |start| saved.bytes(space_of_process(index), start);
        let mut views: Vec<_> =
            process.mappings.iter().map(|m| mapping_view(m, process, &plan, of(m.start))).collect();
        views.extend(vdso_views(process));
        views.sort_by_key(|view| view.start);
        views
    });
    let mappings = mappings.collect();
    let object = |object: &crate::kinds::mem::shared::Record| ObjectView {
        id: object.id,
        size: object.size,
        saved_bytes: saved.bytes(object.id, 0),
    };
    let objects = plan.shared.iter().map(object).collect();
    Inspection { header: header.into(), plan, mappings, objects, summary: summary.into(), verified }
}

fn mapping_view(
    mapping: &mapping::Record,
    process: &ProcessPlan,
    plan: &Plan,
    saved_bytes: Option<u64>,
) -> MappingView {
    let letter = |bit: u32, letter: char| if mapping.prot & bit == 0 { '-' } else { letter };
    let shared = if mapping.shared { 's' } else { 'p' };
    let perms = [letter(1, 'r'), letter(2, 'w'), letter(4, 'x'), shared].iter().collect();
    let what = what(mapping, process, plan);
    // What is shared is saved with its object.
    let saved_bytes = if mapping.has_private_pages() { saved_bytes } else { Some(0) };
    MappingView { start: mapping.start, end: mapping.end, perms, what, saved_bytes }
}

/// The name that proc_pid_maps(5) gives it (fs/proc/task_mmu.c: heap and stack by the bounds).
fn what(mapping: &mapping::Record, process: &ProcessPlan, plan: &Plan) -> String {
    let bounds = &process.bounds;
    match mapping.backing() {
        Backing::File => {
            let file = plan.files.iter().find(|file| file.id == mapping.file);
            file.map_or_else(String::new, |file| show(&file.path))
        }
        Backing::SharedAnonymous | Backing::Object => {
            let name = plan.object(mapping.object).and_then(|object| object.name());
            name.unwrap_or_else(|| format!("[shared memory {}]", mapping.object))
        }
        Backing::Ring => "anon_inode:[io_uring]".to_owned(),
        Backing::Anonymous => match &mapping.name {
            Some(name) => format!("[anon:{}]", show(name)),
            None if mapping.start < bounds.brk && mapping.end > bounds.start_brk => "[heap]".to_owned(),
            None if (mapping.start..=mapping.end).contains(&bounds.start_stack) => "[stack]".to_owned(),
            None => String::new(),
        },
    }
}

/// The kernel's pages, which are mapped again and not saved.
fn vdso_views(process: &ProcessPlan) -> Vec<MappingView> {
    let Some(vdso) = &process.vdso else { return Vec::new() };
    let view = |start, end, perms: &str, what: &str| MappingView {
        start,
        end,
        perms: perms.to_owned(),
        what: what.to_owned(),
        saved_bytes: Some(0),
    };
    let mut views = vec![view(vdso.start, vdso.end, "r-xp", "[vdso]")];
    if vdso.vvar_start != 0 && vdso.vvar_start < vdso.start {
        views.push(view(vdso.vvar_start, vdso.start, "r--p", "[vvar]"));
    }
    views
}

/// How many frames of pages are read to tell of which mappings they are. An index says only between which addresses a
/// frame's pages lie, which is enough when that is inside one mapping.
const FRAMES_READ: u32 = 64;

struct FrameReading<'f> {
    file: &'f File,
    left: u32,
    pages: PageBuffer,
}

impl FrameReading<'_> {
    fn count(&mut self, entry: &Entry, extent: &Extent, saved: &mut Saved) -> Result<(), Error> {
        let Extent { pages, low, high } = extent;
        if low.space == high.space && saved.are_of_one(low.space, low.address, high.address) {
            let bytes = u64::from(*pages) * layout::PAGE_U64;
            saved.add(low.space, low.address, low.address.saturating_add(bytes));
        } else if self.left > 0 {
            self.left -= 1;
            read_pages(self.file, entry, &mut self.pages)?;
            for run in self.pages.runs() {
                saved.add(run.space, run.address, run.end());
            }
        } else {
            saved.unknown(*extent);
        }
        Ok(())
    }
}

/// Bytes saved of each range of each space.
struct Saved {
    /// In order of space and start.
    ranges: Vec<SavedRange>,
}

struct SavedRange {
    space: u32,
    start: u64,
    end: u64,
    bytes: Option<u64>,
}

impl Saved {
    fn of(plan: &Plan) -> Self {
        let processes = plan.processes.iter().enumerate();
        let mappings = processes.flat_map(|(index, process)| {
            process.mappings.iter().map(move |m| (space_of_process(index), m.start, m.end))
        });
        let objects = plan.shared.iter().filter(|object| object.id >= FIRST_OBJECT);
        let objects = objects.map(|object| (object.id, 0, u64::MAX));
        let range = |(space, start, end)| SavedRange { space, start, end, bytes: Some(0) };
        let mut ranges: Vec<_> = mappings.chain(objects).map(range).collect();
        ranges.sort_by_key(|range| (range.space, range.start));
        Self { ranges }
    }

    /// The ranges from the one that holds `address` on.
    fn from(&mut self, space: u32, address: u64) -> &mut [SavedRange] {
        let after = self.ranges.partition_point(|range| (range.space, range.start) <= (space, address));
        &mut self.ranges[after.saturating_sub(1)..]
    }

    fn are_of_one(&mut self, space: u32, start: u64, end: u64) -> bool {
        let range = self.from(space, start).first();
        range.is_some_and(|range| range.space == space && range.start <= start && end <= range.end)
    }

    fn add(&mut self, space: u32, start: u64, end: u64) {
        for range in self.from(space, start) {
            if range.space > space || (range.space == space && range.start >= end) {
                break;
            }
            let common = end.min(range.end).saturating_sub(start.max(range.start));
            if range.space == space {
                range.bytes = range.bytes.map(|bytes| bytes.saturating_add(common));
            }
        }
    }

    fn unknown(&mut self, extent: Extent) {
        let Extent { pages: _, low, high } = extent;
        for range in self.from(low.space, low.address) {
            if (range.space, range.start) >= (high.space, high.address) {
                break;
            }
            range.bytes = None;
        }
    }

    fn bytes(&self, space: u32, start: u64) -> Option<u64> {
        let at =
            self.ranges.binary_search_by_key(&(space, start), |range| (range.space, range.start)).ok()?;
        self.ranges[at].bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_image::Place;

    const OWN: u32 = 1;

    fn saved() -> Saved {
        let range = |start, end| mapping::Record { start, end, ..mapping::Record::default() };
        let mappings = vec![range(0x1000, 0x5000), range(0x5000, 0x6000), range(0x9000, 0xa000)];
        let process = ProcessPlan { mappings, ..ProcessPlan::default() };
        Saved::of(&Plan { processes: vec![process], ..Plan::default() })
    }

    fn all(saved: &Saved) -> Vec<Option<u64>> {
        saved.ranges.iter().map(|range| range.bytes).collect()
    }

    #[test]
    fn runs_are_shared_out_to_the_mappings_they_are_of() {
        let mut saved = saved();
        saved.add(OWN, 0x4000, 0x6000);
        saved.add(OWN, 0x9000, 0xa000);
        saved.add(OWN, 0x20_0000, 0x20_1000); // of none
        saved.add(7, 0x1000, 0x2000); // of another space
        assert_eq!(all(&saved), [Some(0x1000), Some(0x1000), Some(0x1000)]);
        assert_eq!(saved.bytes(OWN, 0x5000), Some(0x1000));
        assert_eq!(saved.bytes(OWN, 0x6000), None);
    }

    #[test]
    fn an_extent_is_of_one_mapping_only_if_it_lies_inside() {
        let mut saved = saved();
        assert!(saved.are_of_one(OWN, 0x1000, 0x5000));
        assert!(!saved.are_of_one(OWN, 0x1000, 0x5001));
        assert!(!saved.are_of_one(OWN, 0x0, 0x1000));
        assert!(!saved.are_of_one(OWN, 0x7000, 0x8000));
        assert!(!saved.are_of_one(0, 0x1000, 0x2000));
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let mut saved = saved();
        let place = |address| Place { space: OWN, address };
        saved.unknown(Extent { pages: 2, low: place(0x2000), high: place(0x6000) });
        saved.add(OWN, 0x1000, 0x2000);
        assert_eq!(all(&saved), [None, None, Some(0)]);
    }
}
