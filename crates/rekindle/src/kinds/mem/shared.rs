//! Memory and files that no path leads to, whose contents are in the image as pages: objects.
//!
//! | object | made again |
//! |---|---|
//! | shared anonymous memory (`MAP_SHARED\|MAP_ANONYMOUS`) | mapped once in an *arena*; mappings are made from there |
//! | System V segment ([`super::segment`]) | attached in the arena |
//! | memfd ([`super::memfd`]) | as a file, held by a descriptor until descriptors and mappings are made from it |
//! | deleted file ([`super::deleted`]) | likewise |
//!
//! An object is one, however many mappings and descriptors, in however many processes, lead to it.
//!
//! From where it lies in the arena, each mapping of an object is made by `mremap` with an old size of 0 (mremap(2)), which
//! maps the same memory a second time.

use super::{deleted, memfd, segment};
use crate::error::Error;
use crate::record::FIRST_OBJECT;
use crate::refusal::{Refusal, Refusals, show};
use crate::view::{FdView, TreeView};
use rekindle_procfs::maps::Mapping;
use rekindle_sys::{Errno, PAGE_SIZE};
use rustix::fs::{Mode, OFlags, fgetxattr, flistxattr};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

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
    /// What it is: a memfd...
    #[prost(message, optional, tag = "4")]
    pub memfd: Option<memfd::Record>,
    /// ...or a deleted file...
    #[prost(message, optional, tag = "5")]
    pub deleted: Option<deleted::Record>,
    /// ...or a System V segment. None of them: anonymous memory.
    #[prost(message, optional, tag = "6")]
    pub segment: Option<segment::Record>,
    /// Owner, mode, times and attributes of a file.
    #[prost(message, optional, tag = "7")]
    pub inode: Option<Inode>,
}

/// What a file has beside its contents.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Inode {
    /// Permissions (chmod(2)).
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Time of the last modification, nanoseconds since 1970.
    #[prost(sint64, tag = "4")]
    pub mtime_ns: i64,
    /// Time of the last access, nanoseconds since 1970.
    #[prost(sint64, tag = "5")]
    pub atime_ns: i64,
    /// Extended attributes (xattr(7)).
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<Attribute>,
}

/// An extended attribute.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Attribute {
    /// Its name, with its name space.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub value: Vec<u8>,
}

impl Inode {
    fn of(file: &File, meta: &std::fs::Metadata) -> Result<Self, Errno> {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Self {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            atime_ns: ns(meta.atime(), meta.atime_nsec()),
            attributes: attributes(file)?,
        })
    }
}

/// The extended attributes of a file; none where the file system has no such thing.
fn attributes(file: &File) -> Result<Vec<Attribute>, Errno> {
    let mut names = vec![0; XATTR_LIST_MAX];
    let len = match flistxattr(file, &mut names[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut attributes = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_SIZE_MAX];
        let len = fgetxattr(file, name, &mut value[..])?;
        value.truncate(len);
        attributes.push(Attribute { name: String::from_utf8_lossy(name).into_owned(), value });
    }
    Ok(attributes)
}

/// The most that names, and a value, can take (xattr(7), include/uapi/linux/limits.h).
const XATTR_LIST_MAX: usize = 65536;
const XATTR_SIZE_MAX: usize = 65536;

impl Record {
    /// Its name for readers, unless it is anonymous.
    pub fn name(&self) -> Option<String> {
        let memfd = self.memfd.as_ref().map(|memfd| format!("/memfd:{}", show(&memfd.name)));
        let deleted = || self.deleted.as_ref().map(|deleted| format!("{} (deleted)", show(&deleted.path)));
        let segment = || self.segment.as_ref().map(|segment| format!("/SYSV{:08x}", segment.key));
        memfd.or_else(deleted).or_else(segment)
    }

    /// Whether it is a file that a descriptor can lead to.
    pub fn is_file(&self) -> bool {
        self.memfd.is_some() || self.deleted.is_some()
    }

    /// Whether its contents come into the arena: all but files that can be written to.
    pub fn is_in_arena(&self) -> bool {
        !self.is_file() || self.huge_page != 0
    }

    /// The alignment of its place and size.
    pub fn unit(&self) -> u64 {
        if self.huge_page.is_power_of_two() { self.huge_page.max(PAGE_SIZE) } else { PAGE_SIZE }
    }

    /// The bytes of it that can be mapped, and be accessed there.
    pub fn mapped_size(&self) -> u64 {
        self.size.max(1).next_multiple_of(self.unit())
    }

    /// Refuses what no checkpoint writes. `Err` says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let kinds = [self.memfd.is_some(), self.deleted.is_some(), self.segment.is_some()];
        if kinds.into_iter().filter(|is_it| *is_it).count() > 1 {
            return Err("it is two things at once".into());
        }
        if self.is_file() && self.inode.as_ref().is_none_or(|inode| inode.mode > 0o7777) {
            return Err("it has no owner and mode".into());
        }
        let attributes = self.inode.iter().flat_map(|inode| &inode.attributes);
        if attributes.into_iter().any(|a| a.name.contains('\0') || a.value.len() > XATTR_SIZE_MAX) {
            return Err("an extended attribute makes no sense".into());
        }
        if let Some(memfd) = &self.memfd {
            memfd.check()?;
        }
        if let Some(deleted) = &self.deleted {
            deleted.check()?;
        }
        if let Some(segment) = &self.segment {
            segment.check()?;
        }
        Ok(())
    }
}

/// Device and inode.
type Identity = (u64, u64);

/// The objects of a checkpoint in the making.
#[derive(Debug, Default)]
pub struct SharedTable {
    /// By device and inode as /proc/PID/maps has them (stat(2) tells another device on some file systems).
    by_mapping: HashMap<(u32, u32, u64), u32>,
    by_identity: HashMap<Identity, u32>,
    objects: Vec<Object>,
}

/// An object and how to get at its contents.
#[derive(Debug)]
pub struct Object {
    /// Its record.
    pub record: Record,
    /// It, opened through one of the mappings or descriptors.
    pub file: File,
}

impl SharedTable {
    /// The id of the object behind a mapping.
    pub fn id(&mut self, pid: i32, mapping: &Mapping, huge_page: u64) -> Result<u32, Error> {
        let key = (mapping.dev.major, mapping.dev.minor, mapping.inode);
        if let Some(id) = self.by_mapping.get(&key) {
            return Ok(*id);
        }
        let path = map_file(pid, mapping);
        let file = open(&path).map_err(|errno| {
            Error::call(format!("opening shared memory through {path} (needs CAP_CHECKPOINT_RESTORE)"), errno)
        })?;
        let id = self.id_of_file(file, &mapping.name, huge_page, &path)?;
        self.by_mapping.insert(key, id);
        Ok(id)
    }

    /// The id of the object that a descriptor of a process leads to.
    pub fn id_of_descriptor(&mut self, pid: i32, fd: &FdView) -> Result<u32, Error> {
        if let Some(id) = self.by_identity.get(&(fd.dev, fd.ino)) {
            return Ok(*id);
        }
        let path = format!("/proc/{pid}/fd/{}", fd.fd);
        let file = open(&path).map_err(|errno| Error::call(format!("opening {path}"), errno))?;
        self.id_of_file(file, &fd.link, 0, &path)
    }

    /// The id of the object that a link below /proc/PID leads to, which says `name`.
    pub fn id_of_link(&mut self, path: &str, name: &[u8]) -> Result<u32, Error> {
        let file = open(path).map_err(|errno| Error::call(format!("opening {path}"), errno))?;
        self.id_of_file(file, name, 0, path)
    }

    fn id_of_file(&mut self, file: File, name: &[u8], huge_page: u64, path: &str) -> Result<u32, Error> {
        let failed = |error: std::io::Error| Error::io(format!("looking at {path}"), &error);
        let meta = file.metadata().map_err(failed)?;
        let identity = (meta.dev(), meta.ino());
        if let Some(id) = self.by_identity.get(&identity) {
            return Ok(*id);
        }
        let id = FIRST_OBJECT + self.objects.len() as u32;
        let mut record = Record { id, size: meta.len(), huge_page, ..Record::default() };
        if let Some(memfd) = memfd::Record::read(&file, name)? {
            record.huge_page = memfd::huge_page(&file)?;
            record.memfd = Some(memfd);
        } else if let Some(segment) = segment::Record::read(name, meta.ino())? {
            record.size = segment.size_of(record.size);
            record.segment = Some(segment);
        } else if deleted::is_named_so(name) {
            record.deleted = Some(deleted::Record::read(&file, name)?);
        }
        if record.is_file() {
            let inode = Inode::of(&file, &meta);
            record.inode = Some(inode.map_err(|errno| Error::call(format!("looking at {path}"), errno))?);
        }
        self.by_identity.insert(identity, id);
        self.objects.push(Object { record, file });
        Ok(id)
    }

    /// All of them.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }
}

/// Whether a mapping of this name has no file that could be opened by a path.
fn is_memory(name: &[u8]) -> bool {
    const ANONYMOUS: [&[u8]; 2] = [b"/dev/zero (deleted)", b"/anon_hugepage (deleted)"];
    ANONYMOUS.contains(&name)
        || deleted::is_named_so(name)
        || memfd::is_named_so(name)
        || segment::is_named_so(name)
}

/// Says which objects of a tree cannot be captured. `deleted_max` is how many bytes a deleted file may take up.
pub fn survey(tree: &TreeView, deleted_max: u64) -> Vec<Refusal> {
    let mut list = Vec::new();
    let mut attached: HashMap<u64, (i32, u64, &[u8])> = HashMap::new();
    let mut looked_at = HashSet::new();
    for view in &tree.processes {
        let mut refusals = Refusals::of(view.pid);
        let fds = view.fds.iter().map(|fd| (format!("/proc/{}/fd/{}", view.pid, fd.fd), fd.link.as_slice()));
        let mappings = view.mappings.iter().map(|entry| &entry.mapping);
        for mapping in mappings.clone().filter(|mapping| segment::is_named_so(&mapping.name)) {
            attached.entry(mapping.inode).or_insert((view.pid, 0, &mapping.name)).1 += 1;
        }
        let mut reached = mappings.clone().filter(|mapping| is_memory(&mapping.name));
        if let Some((mapping, errno)) =
            reached.find_map(|mapping| Some((mapping, open(&map_file(view.pid, mapping)).err()?)))
            && errno == Errno::PERM
        {
            let subject = format!("mapping {:x}-{:x} {}", mapping.start, mapping.end, show(&mapping.name));
            let why = "memory that processes share can only be reached with CAP_CHECKPOINT_RESTORE";
            refusals.add("shared-memory", subject, why, "run rekindle as root, or give it that capability");
        }
        let mapped = mappings.map(|mapping| (map_file(view.pid, mapping), mapping.name.as_slice()));
        for (path, name) in fds.chain(mapped.filter(|(_, name)| !segment::is_named_so(name))) {
            if !deleted::is_named_so(name) || memfd::is_named_so(name) {
                continue;
            }
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            let bytes = meta.blocks().saturating_mul(512);
            if meta.nlink() == 0 && bytes > deleted_max && looked_at.insert((meta.dev(), meta.ino())) {
                let why = format!(
                    "it has been deleted, and its {bytes} bytes are more than the {deleted_max} that go into an image"
                );
                refusals.add("deleted-file-size", show(name), why, "pass a higher --deleted-files-max");
            }
        }
        list.extend(refusals.into_list());
    }
    for (inode, (pid, count, name)) in attached {
        if let Some(why) = segment::refusal(inode, count) {
            let mut refusals = Refusals::of(pid);
            refusals.add(
                "sysv-shm",
                show(name),
                why,
                "checkpoint a tree that all of them are in, or end the others",
            );
            list.extend(refusals.into_list());
        }
    }
    list
}

/// Opens something to look into, leaving no time of access behind where that is allowed (open(2), `O_NOATIME`).
fn open(path: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let quiet = rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty());
    let opened = match quiet {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    };
    opened.map(File::from)
}

/// The names of shared memory that is not a file of anybody's, as /proc shows them.
pub fn is_anonymous(name: &[u8]) -> bool {
    [b"/dev/zero (deleted)".as_slice(), b"/anon_hugepage (deleted)"].contains(&name)
        || name.starts_with(b"[anon_shmem:")
}

/// The link to the file behind a mapping.
pub fn map_file(pid: i32, mapping: &Mapping) -> String {
    format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end)
}
