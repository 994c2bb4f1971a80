//! The steps that rebuild an address space, in a process that does nothing but execute them.
//!
//! ```text
//! empty ── vDSO ── mappings, writable where contents come ── shared objects, whole
//!       ── (contents) ──
//! settle: shared mappings made from their objects ── kept apart no longer ── guards, protection, locks ── bounds
//! ── seals
//! ```

use super::place::Places;
use crate::error::Error;
use crate::kinds::fd::Files;
use crate::kinds::fd::restore::Layout;
use crate::kinds::mem::mapping::{self, Backing};
use crate::kinds::mem::{advice, bounds, inherit, vdso};
use crate::kinds::task::Task;
use crate::record::{Plan, ProcessPlan};
use crate::refusal::show;
use rekindle_sys::arch::TASK_SIZE;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::{PAGE_SIZE, nr};
use rekindle_tracee::{Batch, StepId};
use std::collections::{BTreeMap, HashMap};

/// Where the shared objects of a plan lie, at the same address in each process, until its mappings are made from them.
pub(super) struct Arena {
    at: HashMap<u32, u64>,
}

impl Arena {
    pub(super) fn of(plan: &Plan, places: &mut Places) -> Result<Self, Error> {
        let mut at = HashMap::new();
        for object in plan.shared.iter().filter(|object| object.is_in_arena()) {
            let (size, unit) = (object.mapped_size(), object.unit());
            at.insert(object.id, places.take(size + unit)?.next_multiple_of(unit));
        }
        Ok(Self { at })
    }

    /// Where a shared object lies, and its length there.
    pub(super) fn place(&self, plan: &Plan, id: u32) -> Option<(u64, u64)> {
        let object = plan.object(id)?;
        Some((*self.at.get(&id)?, object.mapped_size()))
    }
}

/// An address space being rebuilt.
pub(super) struct Rebuild<'a> {
    plan: &'a Plan,
    process: &'a ProcessPlan,
    files: &'a Files<'a>,
    arena: &'a Arena,
    layout: &'a Layout<'a>,
    /// For each mapping: the first protection of its neighbour, if it must be kept apart from that one.
    apart: Vec<Option<u32>>,
    /// For each mapping: that of the process which clones this one, if it is made from it.
    inherited: Vec<Option<&'a mapping::Record>>,
    /// Whether the vDSO of the process which clones this one is where this one's is.
    has_vdso: bool,
    /// Where another kernel's vDSO goes.
    new_vdso: Option<(vdso::Record, u64)>,
}

const MAP_SHARED: i32 = 0x1;
const MAP_SHARED_ANONYMOUS: i32 = 0x21;
const MAP_PRIVATE_ANONYMOUS: i32 = 0x22;
const MAP_FIXED_NOREPLACE: i32 = 0x10_0000;
const MAP_HUGETLB: i32 = 0x40000;
const MAP_HUGE_SHIFT: u32 = 26;
const MREMAP_MAYMOVE_FIXED: i32 = 3;
const ARCH_MAP_VDSO_64: i32 = 0x2003;
const READ_WRITE: i32 = 3;
const READ_EXEC: i32 = 5;

impl<'a> Rebuild<'a> {
    /// Decides where things go. `donor` is the process that clones this one.
    pub(super) fn of(
        plan: &'a Plan,
        process: &'a ProcessPlan,
        donor: Option<&Rebuild<'a>>,
        files: &'a Files<'a>,
        arena: &'a Arena,
        layout: &'a Layout<'a>,
        places: &mut Places,
    ) -> Result<Self, Error> {
        let mut new_vdso = None;
        if let Some(saved) = &process.vdso {
            let own = vdso::own()?;
            if !saved.is_same_as(&own) {
                refuse_inside(process, saved)?;
                let at = places.take(own.footprint())?;
                new_vdso = Some((own, at));
            }
        }
        let of_donor = donor.map_or(&[][..], |donor| &donor.process.mappings);
        let from = |mapping: &mapping::Record| {
            if mapping.inherited { inherit::donor_of(mapping, of_donor) } else { None }
        };
        let inherited = process.mappings.iter().map(from).collect();
        let place =
            |process: &ProcessPlan| process.vdso.as_ref().map(|vdso| (vdso.vvar_start, vdso.start, vdso.end));
        let has_vdso = donor.is_some_and(|donor| {
            new_vdso.is_none() && donor.new_vdso.is_none() && place(donor.process) == place(process)
        });
        let mut rebuild =
            Self { plan, process, files, arena, layout, apart: Vec::new(), inherited, has_vdso, new_vdso };
        rebuild.apart = rebuild.find_apart(donor);
        Ok(rebuild)
    }

    /// Which mappings would be joined with the one before. Of a row of them every second is marked. One that is inherited
    /// has the mark of its donor.
    fn find_apart(&self, donor: Option<&Rebuild<'_>>) -> Vec<Option<u32>> {
        let mut apart: Vec<Option<u32>> = Vec::with_capacity(self.process.mappings.len());
        for (index, mapping) in self.process.mappings.iter().enumerate() {
            if let (Some(from), Some(donor)) = (self.inherited[index], donor) {
                let index = donor.process.mappings.partition_point(|mapping| mapping.start < from.start);
                apart.push(donor.apart.get(index).copied().flatten());
                continue;
            }
            let before = index.checked_sub(1).map(|before| &self.process.mappings[before]);
            let marked_before = matches!(apart.last(), Some(Some(_)));
            let mark = before.filter(|before| !marked_before && mapping.would_join(before));
            apart.push(mark.map(mapping::Record::first_prot));
        }
        apart
    }

    /// Whether it is that of the process that clones this one.
    pub(super) fn is_shared(&self) -> bool {
        self.process.process.identity.shares(libc::CLONE_VM)
    }

    /// Whether it has memory of the process that clones it.
    pub(super) fn inherits(&self) -> bool {
        self.is_shared() || self.inherited.iter().any(Option::is_some)
    }

    /// Everything that the process was born with goes, but for the stub at `own`, and what it has from the process that
    /// cloned it.
    pub(super) fn empty(&self, own: (u64, u64), has_arena: bool, batch: &mut Batch) {
        let mut kept = vec![own];
        if has_arena {
            kept.extend(self.plan.shared.iter().filter_map(|object| {
                let (at, size) = self.arena.place(self.plan, object.id)?;
                Some((at, at + size))
            }));
        }
        for (mapping, from) in self.process.mappings.iter().zip(&self.inherited) {
            kept.extend(from.map(|from| (mapping.start, mapping.end.min(from.end))));
        }
        if let Some(vdso) = self.process.vdso.as_ref().filter(|_| self.has_vdso) {
            kept.push((vdso.vvar_start, vdso.end));
        }
        kept.sort_unstable();
        let mut from = 0;
        for (start, end) in kept.into_iter().chain([(TASK_SIZE, TASK_SIZE)]) {
            if from < start {
                batch.step("emptying the address space", nr::MUNMAP, [from.into(), (start - from).into()]);
            }
            from = end.max(from);
        }
    }

    /// The vDSO: this kernel's at the old place if it is the same; else at a new one, with jumps to it.
    pub(super) fn map_vdso(&self, batch: &mut Batch) {
        match (&self.process.vdso, &self.new_vdso) {
            (Some(_), None) if self.has_vdso => {}
            (Some(saved), None) => {
                batch.step(
                    "mapping the vDSO",
                    nr::ARCH_PRCTL,
                    [ARCH_MAP_VDSO_64.into(), saved.vvar_start.into()],
                );
            }
            (Some(saved), Some((_, at))) => {
                batch.step("mapping the vDSO", nr::ARCH_PRCTL, [ARCH_MAP_VDSO_64.into(), (*at).into()]);
                let len = saved.end - saved.start;
                let flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE;
                let args =
                    [saved.start.into(), len.into(), READ_WRITE.into(), flags.into(), (-1).into(), 0.into()];
                batch.step("making room for the old vDSO", nr::MMAP, args);
            }
            (None, _) => {}
        }
    }

    /// The code to write over the old vDSO, if it is not this kernel's, and where.
    pub(super) fn old_vdso(&self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let (Some(saved), Some((own, at))) = (&self.process.vdso, &self.new_vdso) else { return Ok(None) };
        let code = saved.with_jumps(own, at + (own.start - own.vvar_start))?;
        Ok(Some((saved.start, code)))
    }

    /// The shared objects, in the root: the others are born with them.
    pub(super) fn map_arena(&self, batch: &mut Batch) {
        for object in &self.plan.shared {
            let Some((at, size)) = self.arena.place(self.plan, object.id) else { continue };
            if let Some(segment) = &object.segment {
                let label = format!("attaching System V segment {}", segment.shmid);
                batch.step(label, nr::SHMAT, [segment.shmid.into(), at.into(), 0.into()]);
                continue;
            }
            if let Some(number) = self.layout.object(object.id) {
                let flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
                let args = [at.into(), size.into(), READ_WRITE.into(), flags.into(), number.into(), 0.into()];
                batch.step("mapping a memfd", nr::MMAP, args);
                continue;
            }
            let mut flags = MAP_SHARED_ANONYMOUS | MAP_FIXED_NOREPLACE;
            if object.huge_page != 0 {
                flags |= MAP_HUGETLB | ((object.huge_page.trailing_zeros() << MAP_HUGE_SHIFT) as i32);
            }
            let args = [at.into(), size.into(), READ_WRITE.into(), flags.into(), (-1).into(), 0.into()];
            batch.step("making shared memory", nr::MMAP, args);
        }
    }

    /// All mappings but shared ones of objects.
    pub(super) fn map(&self, batch: &mut Batch) {
        let mut by_file: BTreeMap<(u32, bool), Vec<usize>> = BTreeMap::new();
        let mut by_object: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, mapping) in self.process.mappings.iter().enumerate() {
            if let Some(from) = self.inherited[index] {
                mapping.restore_inherited(from, batch);
                continue;
            }
            match mapping.backing() {
                Backing::Anonymous => mapping.restore(None, b"", self.apart[index], batch),
                Backing::File => {
                    by_file.entry((mapping.file, mapping.needs_writable_file())).or_default().push(index);
                }
                Backing::Object if !mapping.shared => {
                    by_object.entry(mapping.object).or_default().push(index);
                }
                Backing::Ring => mapping.keep_place(batch),
                Backing::SharedAnonymous | Backing::Object => {}
            }
        }
        for ((file, writable), mappings) in by_file {
            let path = self.files.path(file);
            let fd = open(path, writable, batch);
            for index in mappings {
                self.process.mappings[index].restore(Some(fd.into()), path, self.apart[index], batch);
            }
            batch.step("close", nr::CLOSE, [fd.into()]);
        }
        for (object, mappings) in by_object {
            let path = self.layout.path_of_object(object);
            // One that is open for writing could not become the executable.
            let fd = open(&path, false, batch);
            for index in mappings {
                self.process.mappings[index].restore(Some(fd.into()), &path, self.apart[index], batch);
            }
            batch.step("close", nr::CLOSE, [fd.into()]);
        }
    }

    /// The arena's files go: a seal against writing is refused while they are mapped.
    pub(super) fn unmap_files(&self, batch: &mut Batch) {
        for object in self.plan.shared.iter().filter(|object| object.is_file()) {
            let Some((at, size)) = self.arena.place(self.plan, object.id) else { continue };
            batch.step("munmap", nr::MUNMAP, [at.into(), size.into()]);
        }
    }

    /// Mappings that must have a page of their own before they are kept apart no longer: each that is marked, and
    /// the one before it.
    pub(super) fn to_touch(&self) -> impl Iterator<Item = &mapping::Record> {
        let marked = |index: usize| self.apart.get(index).is_some_and(Option::is_some);
        let mappings = self.process.mappings.iter().enumerate();
        mappings
            .filter(move |(index, mapping)| (marked(*index) || marked(index + 1)) && !mapping.inherited)
            .map(|(_, mapping)| mapping)
    }

    /// What is settled once contents are in. `touched` mappings got a page only to keep them apart; `spare` is a free
    /// descriptor number.
    pub(super) fn settle(&self, touched: &[u64], spare: i32, batch: &mut Batch) {
        for mapping in self.process.mappings.iter().filter(|m| m.shared && m.backing() == Backing::Object) {
            self.map_file_object(mapping, batch);
        }
        for mapping in self.process.mappings.iter().filter(|m| m.backing() == Backing::SharedAnonymous) {
            self.map_object(mapping, batch);
            mapping.restore_attributes(batch);
            let args = [mapping.start.into(), mapping.length().into(), mapping.prot.into()];
            batch.step("mprotect", nr::MPROTECT, args);
        }
        for object in self.plan.shared.iter().filter(|object| !object.is_file()) {
            let Some((at, size)) = self.arena.place(self.plan, object.id) else { continue };
            batch.step("munmap", nr::MUNMAP, [at.into(), size.into()]);
        }
        if let (Some(saved), Some(_)) = (&self.process.vdso, &self.new_vdso) {
            let args = [saved.start.into(), (saved.end - saved.start).into(), READ_EXEC.into()];
            batch.step("mprotect", nr::MPROTECT, args);
        }
        for start in touched {
            let args = [(*start).into(), PAGE_SIZE.into(), advice::DONTNEED.into()];
            batch.step("MADV_DONTNEED", nr::MADVISE, args);
        }
        for (index, mapping) in self.process.mappings.iter().enumerate() {
            mapping.settle(self.apart[index].is_some(), batch);
        }
        let executable = match self.process.bounds.executable_object {
            0 => self.files.path(self.process.bounds.executable).to_vec(),
            object => self.layout.path_of_object(object),
        };
        bounds::restore(&self.process.bounds, &executable, spare, batch);
        for mapping in &self.process.mappings {
            advice::seal(&mapping.vm_flags(), mapping.start, mapping.length(), batch);
        }
    }

    /// A shared mapping of a file that no path leads to.
    fn map_file_object(&self, mapping: &mapping::Record, batch: &mut Batch) {
        // One that may not be written to is still made from a descriptor that can be, if the seal came first (mmap(2)).
        let writable = mapping.vm_flags().has(*b"sh");
        let path = self.layout.path_of_object(mapping.object);
        let fd = open(&path, writable, batch);
        mapping.restore(Some(fd.into()), &path, None, batch);
        batch.step("close", nr::CLOSE, [fd.into()]);
    }

    /// A mapping of a shared object, from where the whole object lies.
    fn map_object(&self, mapping: &mapping::Record, batch: &mut Batch) {
        let Some((at, size)) = self.arena.place(self.plan, mapping.object) else { return };
        let (from, len, to) = (at + mapping.offset, mapping.length(), mapping.start);
        let label = format!("mapping shared memory at {to:x}");
        let object = self.plan.object(mapping.object);
        if let Some(segment) = object.and_then(|object| object.segment.as_ref())
            && (mapping.offset, len) == (0, size)
        {
            let label = format!("attaching System V segment {} at {to:x}", segment.shmid);
            batch.step(label, nr::SHMAT, [segment.shmid.into(), to.into(), mapping.attach_flags().into()]);
            return;
        }
        // Of one that is mapped in part it is forgotten whether it may become writable.
        if mapping.huge_page == 0 {
            let args = [from.into(), 0.into(), len.into(), MREMAP_MAYMOVE_FIXED.into(), to.into()];
            batch.step(label, nr::MREMAP, args);
            return;
        }
        // mremap(2) does not double mappings of huge pages.
        let path = format!("/proc/self/map_files/{at:x}-{:x}", at + size);
        let fd = open(path.as_bytes(), true, batch);
        let flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
        let args = [to.into(), len.into(), READ_WRITE.into(), flags.into(), fd.into(), mapping.offset.into()];
        batch.step(label, nr::MMAP, args);
        batch.step("close", nr::CLOSE, [fd.into()]);
    }
}

/// Code of another kernel's vDSO cannot be gone on with in the middle: only its functions lead to this one's.
fn refuse_inside(process: &ProcessPlan, saved: &vdso::Record) -> Result<(), Error> {
    let is_inside = |task: &&Task| (saved.start..saved.end).contains(&task.registers.rip);
    match process.tasks.iter().find(is_inside) {
        None => Ok(()),
        Some(task) => Err(Error::DoesNotFit(vec![format!(
            "thread {} was inside the vDSO, and this kernel's is another; restore on the kernel of the checkpoint, or \
             checkpoint the program again",
            task.tid
        )])),
    }
}

fn open(path: &[u8], writable: bool, batch: &mut Batch) -> StepId {
    let name = batch.c_string(path);
    let flags = o::CLOEXEC | if writable { 2 } else { 0 };
    let args = [libc::AT_FDCWD.into(), name.into(), flags.into(), 0.into()];
    batch.step(format!("opening {}", show(path)), nr::OPENAT, args)
}
