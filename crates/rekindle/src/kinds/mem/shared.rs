//! Shared anonymous memory (`MAP_SHARED|MAP_ANONYMOUS`): a nameless file of the kernel's, mapped by one or more
//! mappings, whose contents belong to no file that would keep them.
//!
//! At a restore the whole object is mapped once, filled, and each mapping made from it by `mremap` with an old size
//! of 0 (mremap(2)), which maps the same memory a second time.

use crate::error::Error;
use crate::record::FIRST_OBJECT;
use rekindle_procfs::maps::Mapping;
use std::collections::HashMap;
use std::fs::File;

/// An object, as it was at the checkpoint.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// What mappings refer to it by; also the space that its pages are in.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its size in bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// The size of its pages in bytes, when they are huge (hugetlb).
    #[prost(uint64, tag = "3")]
    pub huge_page: u64,
}

/// The objects of a checkpoint in the making.
#[derive(Debug, Default)]
pub struct SharedTable {
    by_inode: HashMap<(u32, u32, u64), usize>,
    objects: Vec<Object>,
}

/// An object and how to get at its contents.
#[derive(Debug)]
pub struct Object {
    /// Its record.
    pub record: Record,
    /// The kernel's nameless file, opened through one of the mappings.
    pub file: File,
}

impl SharedTable {
    /// The id of the object behind a mapping.
    pub fn id(&mut self, pid: i32, mapping: &Mapping, huge_page: u64) -> Result<u32, Error> {
        let key = (mapping.dev.major, mapping.dev.minor, mapping.inode);
        if let Some(index) = self.by_inode.get(&key) {
            return Ok(self.objects[*index].record.id);
        }
        let path = map_file(pid, mapping);
        let file = File::open(&path).map_err(|error| {
            Error::io(format!("opening shared memory through {path} (needs CAP_CHECKPOINT_RESTORE)"), &error)
        })?;
        let size = file.metadata().map_err(|error| Error::io(format!("looking at {path}"), &error))?.len();
        let next_id = FIRST_OBJECT + self.objects.len() as u32;
        self.by_inode.insert(key, self.objects.len());
        self.objects.push(Object { record: Record { id: next_id, size, huge_page }, file });
        Ok(next_id)
    }

    /// All of them.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }
}

/// The link to the file behind a mapping.
pub fn map_file(pid: i32, mapping: &Mapping) -> String {
    format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end)
}
