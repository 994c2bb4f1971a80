//! Mappings: where each lies, how it is protected, and what is behind it.
//!
//! A restore makes each with its final attributes but for two things, settled once its pages are in: its protection
//! (a mapping that gets contents is writable until then) and locks.
//!
//! The kernel joins neighbours that are alike. Mappings that were two (each has had pages of its own, which keeps
//! them apart) are kept apart by a passing difference in `MADV_DONTDUMP` until both have pages.

use super::file::FileTable;
use super::shared::SharedTable;
use super::{advice, deleted, file, memfd, policy, segment, vdso};
use crate::error::Error;
use crate::kinds::fd::uring;
use crate::refusal::{Refusals, show};
use crate::view::ProcessView;
use rekindle_procfs::maps::{Mapping, Perms, Special};
use rekindle_procfs::smaps::{Entry, VmFlags};
use rekindle_sys::nr;
use rekindle_sys::vm::{self, PageFilter, PageIs};
use rekindle_tracee::{Arg, Batch, Hijack};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration, serde::Serialize)]
#[repr(i32)]
pub enum Backing {
    /// Nothing: memory of zeros.
    Anonymous = 0,
    /// A file.
    File = 1,
    /// Shared memory that is no file of anybody's: anonymous, or a System V segment.
    SharedAnonymous = 2,
    /// A file that no path leads to: an object.
    Object = 3,
    /// A ring of io_uring.
    Ring = 4,
}

/// The form of a mapping in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// First address.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// One past the last.
    #[prost(fixed64, tag = "2")]
    pub end: u64,
    /// `PROT_*`
    #[prost(uint32, tag = "3")]
    pub prot: u32,
    /// `MAP_SHARED`
    #[prost(bool, tag = "4")]
    pub shared: bool,
    /// What is behind it.
    #[prost(enumeration = "Backing", tag = "5")]
    pub backing: i32,
    /// Offset in the file or object, in bytes.
    #[prost(uint64, tag = "6")]
    pub offset: u64,
    /// The file.
    #[prost(uint32, tag = "7")]
    pub file: u32,
    /// The shared object.
    #[prost(uint32, tag = "8")]
    pub object: u32,
    /// Its name (`PR_SET_VMA_ANON_NAME`).
    #[prost(bytes = "vec", optional, tag = "9")]
    pub name: Option<Vec<u8>>,
    /// VmFlags of /proc/PID/smaps, two letters each, with a space between.
    #[prost(string, tag = "10")]
    pub flags: String,
    /// Size of its pages in bytes, when they are huge (hugetlb).
    #[prost(uint64, tag = "11")]
    pub huge_page: u64,
    /// Its NUMA policy, if it has its own.
    #[prost(message, optional, tag = "12")]
    pub policy: Option<policy::Record>,
    /// Ranges of guard pages (`MADV_GUARD_INSTALL`): start and length, by turns.
    #[prost(fixed64, repeated, tag = "13")]
    pub guards: Vec<u64>,
    /// It comes, with its pages but for those saved and dropped, from the process that clones this one.
    #[prost(bool, tag = "14")]
    pub inherited: bool,
    /// Ranges of pages that it has not, though that process has: start and length, by turns.
    #[prost(fixed64, repeated, tag = "15")]
    pub dropped: Vec<u64>,
    /// The number of the inode of the ring that it is of.
    #[prost(fixed64, tag = "16")]
    pub ring: u64,
}

/// What rings of io_setup(2) are called (fs/aio.c).
const AIO_RING: &[u8] = b"/[aio] (deleted)";
/// `PROT_READ|PROT_WRITE`
const READ_WRITE: u32 = 3;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: i32 = 0x1;
const MAP_PRIVATE: i32 = 0x2;
const MAP_DROPPABLE: i32 = 0x8;
const MAP_ANONYMOUS: i32 = 0x20;
const MAP_GROWSDOWN: i32 = 0x100;
const MAP_NORESERVE: i32 = 0x4000;
const MAP_HUGETLB: i32 = 0x40000;
const MAP_FIXED_NOREPLACE: i32 = 0x10_0000;
const MAP_HUGE_SHIFT: u32 = 26;
/// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`
const PR_SET_VMA: i32 = 0x5356_4d41;

impl Record {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Its VmFlags.
    pub fn vm_flags(&self) -> VmFlags {
        VmFlags(self.flags.split(' ').filter_map(|code| code.as_bytes().try_into().ok()).collect())
    }

    /// Whether pages of its own can be in it (copied on write, or anonymous).
    pub fn has_private_pages(&self) -> bool {
        !self.shared
    }

    /// The protection it has until its contents are in. A mapping that the kernel accounts for has been writable
    /// once, and must be so again for the accounting to be the same.
    pub fn first_prot(&self) -> u32 {
        let accounted = !self.shared && self.vm_flags().has(*b"ac");
        if accounted { READ_WRITE } else { self.prot }
    }

    /// Whether a shared mapping's file must be open for writing.
    pub fn needs_writable_file(&self) -> bool {
        self.shared && self.vm_flags().has(*b"mw")
    }

    /// The flags of shmat(2) by which it was attached.
    pub fn attach_flags(&self) -> i32 {
        let read_only = if self.vm_flags().has(*b"mw") { 0 } else { libc::SHM_RDONLY };
        read_only | if self.prot & PROT_EXEC != 0 { libc::SHM_EXEC } else { 0 }
    }

    /// Whether the kernel would join it with the one before.
    pub fn would_join(&self, before: &Self) -> bool {
        let like = |m: &Self| {
            (m.first_prot(), m.prot, m.shared, m.backing, (m.file, m.object), m.name.clone(), m.flags.clone())
        };
        let contiguous = self.backing() == Backing::Anonymous
            || before.offset.checked_add(before.length()) == Some(self.offset);
        before.end == self.start
            && contiguous
            && !self.shared
            && like(self) == like(before)
            && self.huge_page == 0
    }

    /// The step that keeps the place of a ring, which is mapped when there is one.
    pub fn keep_place(&self, batch: &mut Batch) {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
        let args = [self.start.into(), self.length().into(), 0.into(), flags.into(), (-1).into(), 0.into()];
        batch.step(format!("keeping a place for an io_uring at {:x}", self.start), nr::MMAP, args);
    }

    fn map_flags(&self) -> i32 {
        let flags = self.vm_flags();
        let mut map = MAP_FIXED_NOREPLACE | if self.shared { MAP_SHARED } else { MAP_PRIVATE };
        if self.backing() == Backing::Anonymous {
            map |= MAP_ANONYMOUS;
        }
        if flags.has(*b"gd") {
            map |= MAP_GROWSDOWN;
        }
        if flags.has(*b"nr") {
            map |= MAP_NORESERVE;
        }
        if flags.has(*b"dp") {
            map = (map & !MAP_PRIVATE) | MAP_DROPPABLE;
        }
        if self.huge_page != 0 && self.backing() == Backing::Anonymous {
            map |= MAP_HUGETLB | ((self.huge_page.trailing_zeros() << MAP_HUGE_SHIFT) as i32);
        }
        map
    }

    /// The step that maps it; `fd` is the file behind it. `apart` keeps it from being joined with the one before,
    /// which was mapped with protection `apart`.
    pub fn restore(&self, fd: Option<Arg>, path: &[u8], apart: Option<u32>, batch: &mut Batch) {
        let at = format!("mapping {:x}-{:x} {}", self.start, self.end, show(path));
        let fd = fd.unwrap_or(Arg::from(-1));
        let first = match apart {
            None => self.first_prot(),
            Some(0) => 1,
            Some(_) => 0,
        };
        let args = [
            self.start.into(),
            self.length().into(),
            first.into(),
            self.map_flags().into(),
            fd,
            self.offset.into(),
        ];
        batch.step(at, nr::MMAP, args);
        // A mapping that is not to be dumped differs by being dumped for the time being.
        if apart.is_some() != self.vm_flags().has(*b"dd") {
            let args = [self.start.into(), self.length().into(), advice::DONTDUMP.into()];
            batch.step("MADV_DONTDUMP", nr::MADVISE, args);
        }
        if apart.is_some() {
            let args = [self.start.into(), self.length().into(), self.first_prot().into()];
            batch.step("mprotect", nr::MPROTECT, args);
        }
        self.restore_attributes(batch);
    }

    /// The steps that make it of the one that came with the fork.
    pub fn restore_inherited(&self, from: &Self, batch: &mut Batch) {
        if self.end > from.end {
            let (old, new) = (from.end - self.start, self.length());
            let label = format!("making {:x}-{:x} longer", self.start, from.end);
            // In place: what is behind it is free.
            let args = [self.start.into(), old.into(), new.into(), 0.into()];
            batch.step(label, nr::MREMAP, args);
        }
        if self.first_prot() != from.first_prot() {
            let args = [self.start.into(), self.length().into(), self.first_prot().into()];
            batch.step("mprotect", nr::MPROTECT, args);
        }
        for dropped in self.dropped.chunks_exact(2) {
            let args = [dropped[0].into(), dropped[1].into(), advice::DONTNEED.into()];
            batch.step("MADV_DONTNEED", nr::MADVISE, args);
        }
    }

    /// Advice, name and policy.
    pub fn restore_attributes(&self, batch: &mut Batch) {
        let (start, len) = (self.start, self.length());
        advice::before_contents(&self.vm_flags(), start, len, batch);
        if let Some(name) = &self.name {
            let name = batch.c_string(name);
            let args = [PR_SET_VMA.into(), 0.into(), start.into(), len.into(), name.into()];
            batch.step("naming a mapping", nr::PRCTL, args);
        }
        if let Some(policy) = &self.policy {
            policy::restore(policy, start, len, batch);
        }
    }

    /// The steps that settle it once its pages are in.
    pub fn settle(&self, apart: bool, batch: &mut Batch) {
        if self.backing() == Backing::Ring {
            return; // it is not there yet
        }
        let (start, len) = (self.start, self.length());
        let not_dumped = self.vm_flags().has(*b"dd");
        if apart || (not_dumped && self.backing() == Backing::SharedAnonymous) {
            let advice = if not_dumped { advice::DONTDUMP } else { advice::DODUMP };
            batch.step("madvise", nr::MADVISE, [start.into(), len.into(), advice.into()]);
        }
        for guard in self.guards.chunks_exact(2) {
            let args = [guard[0].into(), guard[1].into(), advice::GUARD_INSTALL.into()];
            batch.step("MADV_GUARD_INSTALL", nr::MADVISE, args);
        }
        if self.first_prot() != self.prot {
            let label = format!("protecting {:x}-{:x}", self.start, self.end);
            batch.step(label, nr::MPROTECT, [start.into(), len.into(), self.prot.into()]);
        }
        advice::after_contents(&self.vm_flags(), self.prot, start, len, batch);
    }
}

/// What of the mappings of a process cannot be captured.
pub fn survey(view: &ProcessView, refusals: &mut Refusals) {
    for entry in &view.mappings {
        if let Some((code, why)) = refusal(view, entry) {
            let m = &entry.mapping;
            let subject = format!("mapping {:x}-{:x} {}", m.start, m.end, show(&m.name));
            refusals.add(
                code,
                subject,
                why,
                "let the program unmap it first, or wait for a version that can",
            );
        }
    }
}

fn refusal(view: &ProcessView, entry: &Entry) -> Option<(&'static str, String)> {
    let (pid, mapping) = (view.pid, &entry.mapping);
    if uring::is_mapping(mapping) {
        let why = uring::refusal_of_mapping(view, mapping);
        let is_sealed = entry.vm_flags.has(*b"sl");
        let why = why.or(is_sealed.then_some("it is of an io_uring, and sealed"));
        return why.map(|why| ("mapping-kind", why.to_owned()));
    }
    if vdso::is_part(mapping) || mapping.special() == Some(Special::Vsyscall) {
        return None;
    }
    for (code, why) in advice::REFUSED {
        if entry.vm_flags.has(code) {
            return Some(("mapping-flag", why.to_owned()));
        }
    }
    if mapping.special() == Some(Special::Uprobes) {
        return Some(("mapping-kind", "it belongs to a uprobe".to_owned()));
    }
    if mapping.name == AIO_RING {
        return Some((
            "aio",
            "it is the ring of an asynchronous I/O context (io_setup), and the kernel does not tell which operations are still              under way (start the program without: `--innodb-use-native-aio=0` for MariaDB, `aio threads` or `aio off` for nginx)"
                .to_owned(),
        ));
    }
    match backing(pid, entry) {
        Some(Backing::Anonymous | Backing::SharedAnonymous | Backing::Object | Backing::Ring) => None,
        Some(Backing::File) => changed_file(pid, entry),
        None if mapping.deleted().is_some() => Some((
            "deleted-file",
            "its file has been deleted, and no directory of its file system or no other name of it can be found".to_owned(),
        )),
        None => Some(("mapping-kind", "this kind of memory cannot be captured yet".to_owned())),
    }
}

/// A file whose name leads to another one by now.
fn changed_file(pid: i32, entry: &Entry) -> Option<(&'static str, String)> {
    let mapping = &entry.mapping;
    let mapped = std::fs::metadata(super::shared::map_file(pid, mapping));
    let same = match &mapped {
        Ok(mapped) => file::path_of(&mapping.name, mapped.dev(), mapped.ino()).is_some(),
        // Without the right to look behind the mapping, the inode number has to do.
        Err(_) => std::fs::metadata(Path::new(OsStr::from_bytes(&mapping.name)))
            .is_ok_and(|named| named.ino() == mapping.inode),
    };
    (!same).then(|| ("replaced-file", "its file has been replaced by another of the same name".to_owned()))
}

/// What is behind a mapping, if it is something that can be captured.
fn backing(pid: i32, entry: &Entry) -> Option<Backing> {
    let mapping = &entry.mapping;
    let shared = mapping.perms.contains(Perms::SHARED);
    let name = mapping.name.as_slice();
    if uring::is_mapping(mapping) {
        return shared.then_some(Backing::Ring);
    }
    if super::shared::is_anonymous(name) {
        return Some(if shared { Backing::SharedAnonymous } else { Backing::Anonymous });
    }
    if mapping.is_file() {
        return if mapping.deleted().is_some() {
            backing_of_deleted(pid, mapping)
        } else {
            Some(Backing::File)
        };
    }
    let is_anonymous = name.is_empty()
        || name.starts_with(b"[anon:")
        || matches!(mapping.special(), Some(Special::Heap | Special::Stack));
    is_anonymous.then_some(Backing::Anonymous)
}

/// The same of one whose name ends as those of deleted files do.
fn backing_of_deleted(pid: i32, mapping: &Mapping) -> Option<Backing> {
    let name = mapping.name.as_slice();
    if memfd::is_named_so(name) {
        return Some(Backing::Object);
    }
    if segment::is_named_so(name) {
        return Some(Backing::SharedAnonymous);
    }
    let behind = super::shared::map_file(pid, mapping);
    let meta = std::fs::metadata(&behind).ok()?;
    match meta.nlink() {
        0 => deleted::directory_of(name, Path::new(&behind)).map(|_| Backing::Object),
        _ => file::path_of(name, meta.dev(), meta.ino()).map(|_| Backing::File),
    }
}

/// Finds the guard pages (`MADV_GUARD_INSTALL`) in mappings. A kernel before Linux 6.15 does not tell them.
pub fn find_guards(pid: i32, records: &mut [Record]) -> Result<(), Error> {
    let path = format!("/proc/{pid}/pagemap");
    let pagemap = std::fs::File::open(&path).map_err(|error| Error::proc(pid, "pagemap", error))?;
    let filter = PageFilter {
        all_of: PageIs::GUARD,
        none_of: PageIs::empty(),
        any_of: PageIs::empty(),
        tell: PageIs::empty(),
    };
    if !vm::knows_categories(pagemap.as_fd(), PageIs::GUARD) {
        return Ok(());
    }
    let (Some(start), Some(end)) = (records.first().map(|r| r.start), records.last().map(|r| r.end)) else {
        return Ok(());
    };
    let scanned = vm::scan_pages(pagemap.as_fd(), start, end, &filter, |region| {
        let first = records.partition_point(|record| record.end <= region.start);
        for record in records[first..].iter_mut().take_while(|record| record.start < region.end) {
            let (start, end) = (region.start.max(record.start), region.end.min(record.end));
            record.guards.extend([start, end - start]);
        }
    });
    scanned.map_err(|errno| Error::call("PAGEMAP_SCAN (needs Linux 6.7)", errno))
}

/// Asks, inside the process, for the policy of each mapping; keeps those that are not just the task's.
pub fn ask_policies(
    records: &mut [Record],
    of_task: &policy::Record,
    hijack: &mut Hijack<'_>,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    let glances: Vec<_> = records.iter().map(|record| policy::glance(record.start, &mut batch)).collect();
    let answers = hijack.run(&batch)?;
    let governed = records.iter_mut().zip(&glances).filter(|(_, glance)| policy::governs(glance, &answers));
    let mut batch = Batch::new();
    let questions: Vec<_> =
        governed.map(|(record, _)| (policy::ask(Some(record.start), &mut batch), record)).collect();
    let answers = hijack.run(&batch)?;
    for (question, record) in questions {
        let policy = policy::answer(&question, &answers);
        record.policy = (policy.mode != 0 && policy != *of_task).then_some(policy);
    }
    Ok(())
}

/// The records of a process's mappings, but for the vDSO.
pub fn capture(
    view: &ProcessView,
    files: &mut FileTable,
    shared: &mut SharedTable,
) -> Result<Vec<Record>, Error> {
    let mut records = Vec::with_capacity(view.mappings.len());
    for entry in &view.mappings {
        let mapping = &entry.mapping;
        if vdso::is_part(mapping) || mapping.special() == Some(Special::Vsyscall) {
            continue;
        }
        let backing = backing(view.pid, entry).ok_or_else(|| {
            Error::proc(
                view.pid,
                "maps",
                format!("a mapping appeared that cannot be captured: {}", show(&mapping.name)),
            )
        })?;
        let is_huge = entry.vm_flags.has(*b"ht");
        let huge_page = if is_huge { entry.kernel_page_kb().unwrap_or(2048) * 1024 } else { 0 };
        let (mut file, mut object) = (0, 0);
        match backing {
            Backing::Anonymous | Backing::Ring => {}
            Backing::File => {
                let behind = super::shared::map_file(view.pid, mapping);
                file = files.id_of_link(&mapping.name, Path::new(&behind))?;
            }
            Backing::SharedAnonymous | Backing::Object => {
                object = shared.id(view.pid, mapping, huge_page)?;
            }
        }
        records.push(Record {
            start: mapping.start,
            end: mapping.end,
            prot: u32::from((mapping.perms & (Perms::READ | Perms::WRITE | Perms::EXEC)).bits()),
            shared: mapping.perms.contains(Perms::SHARED),
            backing: backing.into(),
            offset: if backing == Backing::Anonymous { 0 } else { mapping.offset },
            file,
            object,
            name: mapping.anon_name().map(<[u8]>::to_vec),
            flags: entry
                .vm_flags
                .0
                .iter()
                .map(|code| String::from_utf8_lossy(code))
                .collect::<Vec<_>>()
                .join(" "),
            huge_page,
            policy: None,
            guards: Vec::new(),
            inherited: false,
            dropped: Vec::new(),
            ring: if backing == Backing::Ring { mapping.inode } else { 0 },
        });
    }
    Ok(records)
}
