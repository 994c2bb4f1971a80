//! Objects that no path leads to ([`crate::kinds::mem::shared`]), made again before the processes are born.
//!
//! ```text
//! we       make files, empty, and segments ──────── fill files ── owner, mode, times, seals ───────────── seals
//! root            │ is born with them, and attaches segments │                                              │
//! processes       └ map files privately ──────────────────── └ map, attach, open ── close, detach ──────────┘ let go
//! ```
//!
//! Files are ours until the end, and the processes have them under numbers that the program does not use. Segments that
//! we made go again when the restore fails.

use crate::error::Error;
use crate::kinds::fd::mqueue::Queues;
use crate::kinds::mem::shared::{Inode, Record};
use crate::record::Plan;
use rekindle_sys::{PAGE_SIZE, sysv};
use rekindle_tracee::Batch;
use rustix::fs::{
    Gid, Mode, SealFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fsetxattr, futimens,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// See the module's story.
pub(super) struct Objects<'a> {
    plan: &'a Plan,
    files: BTreeMap<u32, File>,
    /// Segments that we made: they go again if they are still here when this is dropped.
    made: Vec<i32>,
    /// The same for sets of semaphores.
    made_semaphores: Vec<i32>,
    /// The same for message queues.
    made_queues: Vec<i32>,
    queues: Queues<'a>,
}

impl<'a> Objects<'a> {
    /// Makes them, empty.
    pub(super) fn make(plan: &'a Plan) -> Result<Self, Error> {
        let mut objects = Self {
            plan,
            files: BTreeMap::new(),
            made: Vec::new(),
            made_semaphores: Vec::new(),
            made_queues: Vec::new(),
            queues: Queues::make(&plan.descriptions)?,
        };
        for record in &plan.shared {
            let inode = record.inode.clone().unwrap_or_default();
            let file = match (&record.memfd, &record.deleted) {
                (Some(memfd), _) => Some(memfd.make(record.huge_page, inode.mode)?),
                (None, Some(deleted)) => Some(deleted.make()?),
                (None, None) => None,
            };
            if let Some(file) = file {
                let sized = file.set_len(record.size);
                sized.map_err(|error| Error::io(format!("making room for {} bytes", record.size), &error))?;
                objects.files.insert(record.id, file);
            }
            objects.make_segment(record)?;
        }
        objects.make_semaphores()?;
        objects.make_queues()?;
        Ok(objects)
    }

    fn make_segment(&mut self, record: &Record) -> Result<(), Error> {
        let Some(segment) = &record.segment else { return Ok(()) };
        let is_there = segment.find().map_err(|why| Error::DoesNotFit(vec![why]))?;
        if !is_there {
            segment.make(record.huge_page)?;
            self.made.push(segment.shmid);
        }
        Ok(())
    }

    fn make_semaphores(&mut self) -> Result<(), Error> {
        for set in &self.plan.semaphores {
            let is_there = set.find().map_err(|why| Error::DoesNotFit(vec![why]))?;
            if !is_there {
                set.make()?;
                self.made_semaphores.push(set.semid);
            }
        }
        Ok(())
    }

    fn make_queues(&mut self) -> Result<(), Error> {
        for queue in &self.plan.message_queues {
            let is_there = queue.find().map_err(|why| Error::DoesNotFit(vec![why]))?;
            if !is_there {
                self.made_queues.push(queue.msqid);
                queue.make()?;
            }
        }
        Ok(())
    }

    /// Message queues are filled, by processes of the program: `run` executes a batch in one of them, told by its place in
    /// the plan.
    pub(super) fn fill_queues(
        &self,
        mut run: impl FnMut(usize, &Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let members = self.plan.members().iter().map(|member| member.pid).collect();
        let pids: Vec<i32> = self.plan.processes.iter().map(|p| p.process.identity.pid).collect();
        for queue in &self.plan.message_queues {
            if !self.made_queues.contains(&queue.msqid) && !queue.empty_if_changed(&members)? {
                continue;
            }
            for (process, batch) in queue.fill(&pids) {
                run(process, &batch)?;
            }
            queue.settle()?;
        }
        Ok(())
    }

    /// The files: ids, and numbers of our own that a process is born with.
    pub(super) fn sources(&self) -> Vec<(u32, i32)> {
        self.files.iter().map(|(id, file)| (*id, file.as_raw_fd())).collect()
    }

    /// Whether the pages of a space are written to a file.
    pub(super) fn are_written(&self, space: u32) -> bool {
        self.files.contains_key(&space) && self.record(space).is_some_and(|record| !record.is_in_arena())
    }

    /// Writes contents of such a file.
    pub(super) fn write(&self, space: u32, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let (Some(file), Some(record)) = (self.files.get(&space), self.record(space)) else { return Ok(()) };
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > record.size.next_multiple_of(PAGE_SIZE)) {
            return Err(Error::Nonsense(format!("pages at {offset:x} of object {space} have no place")));
        }
        let len = record.size.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let written = file.write_all_at(&bytes[..len], offset);
        written.map_err(|error| Error::io("writing a file that no path leads to", &error))
    }

    fn record(&self, id: u32) -> Option<&'a Record> {
        self.plan.object(id)
    }

    /// Those that are executables of processes: nobody may have them open for writing when they become that.
    pub(super) fn executables(&self) -> impl Iterator<Item = u32> {
        let used = |id: &u32| self.plan.processes.iter().any(|p| p.bounds.executable_object == *id);
        self.plan.shared.iter().map(|record| record.id).filter(used)
    }

    /// What comes when contents are in, and before they are mapped and opened: owner, mode, times, and seals that forbid
    /// to write.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        for (id, file) in &self.files {
            let Some(record) = self.record(*id) else { continue };
            if let Some(inode) = &record.inode {
                settle_inode(inode, file)?;
            }
            if let Some(memfd) = &record.memfd
                && self.is_sealed_early(record)
            {
                memfd.seal(file)?;
            }
        }
        for id in self.executables().collect::<Vec<_>>() {
            self.files.remove(&id);
        }
        Ok(())
    }

    fn is_sealed_early(&self, record: &Record) -> bool {
        let forbids = record.memfd.as_ref().is_some_and(|memfd| memfd.seals().contains(SealFlags::WRITE));
        forbids || self.executables().any(|id| id == record.id)
    }

    /// The other seals, when all mappings are there.
    pub(super) fn seal(&self) -> Result<(), Error> {
        for (id, file) in &self.files {
            let Some(record) = self.record(*id).filter(|record| !self.is_sealed_early(record)) else {
                continue;
            };
            if let Some(memfd) = &record.memfd {
                memfd.seal(file)?;
            }
        }
        Ok(())
    }

    /// All processes are complete: segments that had been removed are removed again, and semaphores get their values.
    pub(super) fn complete(&mut self) -> Result<(), Error> {
        let pids = self.plan.members().iter().map(|member| member.pid).collect();
        self.queues.complete(&pids)?;
        self.plan.semaphores.iter().try_for_each(|set| set.settle(&pids))?;
        for segment in self.plan.shared.iter().filter_map(|record| record.segment.as_ref()) {
            if segment.removed {
                let id = segment.shmid;
                let removed = sysv::remove_segment(id);
                removed
                    .map_err(|errno| Error::call(format!("removing System V segment {id} again"), errno))?;
            }
        }
        Ok(())
    }

    /// The processes live, and have them.
    pub(super) fn hand_over(mut self) {
        self.made.clear();
        self.made_semaphores.clear();
        self.made_queues.clear();
        self.queues.hand_over();
    }
}

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        for id in &self.made {
            let _ = sysv::remove_segment(*id);
        }
        for id in &self.made_semaphores {
            let _ = sysv::remove_semaphore_set(*id);
        }
        for id in &self.made_queues {
            let _ = sysv::remove_message_queue(*id);
        }
    }
}

fn settle_inode(inode: &Inode, file: &File) -> Result<(), Error> {
    let failed = |errno| Error::call("setting owner, mode and times of a file that no path leads to", errno);
    let Inode { mode, uid, gid, mtime_ns, atime_ns, ref attributes } = *inode;
    fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    for attribute in attributes {
        let set = fsetxattr(file, attribute.name.as_str(), &attribute.value, XattrFlags::empty());
        set.map_err(|errno| Error::call(format!("setting the attribute {}", attribute.name), errno))?;
    }
    fchmod(file, Mode::from_raw_mode(mode)).map_err(failed)?;
    let time =
        |ns: i64| Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) };
    let times = Timestamps { last_access: time(atime_ns), last_modification: time(mtime_ns) };
    futimens(file, &times).map_err(failed)
}
