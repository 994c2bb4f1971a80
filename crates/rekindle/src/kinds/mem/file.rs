//! Files behind mappings and descriptors: which one it was, and whether the one found at a restore is the same.

use crate::error::Error;
use crate::refusal::show;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is made of regular files that were modified since the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedFiles {
    /// They are not what the program knows.
    Refused,
    /// They are taken as they are, if they are as long as they were.
    SameSize,
    /// They are taken as they are.
    Accepted,
}

/// A file, as it was at the checkpoint.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// What mappings and descriptors refer to it by.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its path as the supervisor saw it.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::path")]
    pub path: Vec<u8>,
    /// `st_mode`
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Size in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// Modification time, seconds.
    #[prost(sint64, tag = "5")]
    pub mtime: i64,
    /// Its nanoseconds.
    #[prost(uint32, tag = "6")]
    pub mtime_nsec: u32,
    /// Device number of a device file.
    #[prost(uint64, tag = "7")]
    pub rdev: u64,
    /// The image was being written to this very file: it is another one by now, and may have another name.
    #[prost(bool, tag = "8")]
    pub holds_image: bool,
    /// It is the kernel's own view of something: neither its size nor its time says anything.
    #[prost(bool, tag = "9")]
    pub of_kernel: bool,
}

impl Record {
    /// The path to open it by. An image that has another name by now is not searched for: nothing is there instead.
    pub fn path_to_open(&self) -> &[u8] {
        let there = || std::fs::metadata(Path::new(OsStr::from_bytes(&self.path))).is_ok_and(|m| m.is_file());
        if self.holds_image && !there() { b"/dev/null" } else { &self.path }
    }

    /// Looks at the file that is there now. `Err` holds the sentence that says how it differs.
    pub fn compare(&self, changed: ChangedFiles) -> Result<(), String> {
        if self.holds_image || self.of_kernel {
            return Ok(());
        }
        let path = show(&self.path);
        let place = Path::new(OsStr::from_bytes(&self.path));
        let is_link = self.mode & libc::S_IFMT == libc::S_IFLNK;
        let look = if is_link { std::fs::symlink_metadata(place) } else { std::fs::metadata(place) };
        let found = look
            .map_err(|error| format!("{path}, which the program has open or mapped, cannot be found ({error}); put it back where it was"))?;
        if found.mode() & libc::S_IFMT != self.mode & libc::S_IFMT {
            return Err(format!("{path} is not the kind of file that it was; put the old one back"));
        }
        let is_device = matches!(self.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
        if is_device && found.rdev() != self.rdev {
            return Err(format!("{path} is another device than it was; put the old one back"));
        }
        let is_regular = self.mode & libc::S_IFMT == libc::S_IFREG;
        let same_size = found.size() == self.size;
        let accepted = match changed {
            ChangedFiles::Refused => false,
            ChangedFiles::SameSize => same_size,
            ChangedFiles::Accepted => true,
        };
        if !is_regular || accepted {
            return Ok(());
        }
        let then = (self.size, self.mtime, i64::from(self.mtime_nsec));
        let now = (found.size(), found.mtime(), found.mtime_nsec());
        if then == now {
            return Ok(());
        }
        let what = if then.0 == now.0 {
            "it was modified since".to_owned()
        } else {
            format!("it was {} bytes long, and is {}", then.0, now.0)
        };
        Err(format!(
            "{path} has changed since the checkpoint: {what}; put the old one back, or pass --accept-changed-files"
        ))
    }
}

/// The files of a checkpoint in the making, each once.
#[derive(Debug, Default)]
pub struct FileTable {
    by_path: HashMap<Vec<u8>, usize>,
    records: Vec<Record>,
    /// Device and inode of the file that the image goes to.
    image_file: Option<(u64, u64)>,
}

impl FileTable {
    /// An empty one. `image_file` is device and inode of the file that the image goes to, if it goes to one that the
    /// program may have open.
    pub fn of(image_file: Option<(u64, u64)>) -> Self {
        Self { image_file, ..Self::default() }
    }

    /// The id of the file at a path; its state is taken at the first mention. `state` is a path that leads to the
    /// very file even when its name has been taken by another, such as a link below /proc/PID.
    pub fn id(&mut self, path: &[u8], state: &Path) -> Result<u32, Error> {
        if let Some(index) = self.by_path.get(path) {
            return Ok(self.records[*index].id);
        }
        let meta = std::fs::metadata(state)
            .or_else(|_| std::fs::metadata(Path::new(OsStr::from_bytes(path))))
            .map_err(|error| Error::io(format!("looking at {}", show(path)), &error))?;
        let id = self.records.len() as u32 + 1;
        self.by_path.insert(path.to_vec(), self.records.len());
        self.records.push(Record {
            id,
            path: path.to_vec(),
            mode: meta.mode(),
            size: meta.size(),
            mtime: meta.mtime(),
            mtime_nsec: meta.mtime_nsec() as u32,
            rdev: meta.rdev(),
            of_kernel: false,
            holds_image: self.image_file == Some((meta.dev(), meta.ino())),
        });
        Ok(id)
    }

    /// The id of the file that a link below /proc/PID leads to, which says `name`; `state` is the link.
    pub fn id_of_link(&mut self, name: &[u8], state: &Path) -> Result<u32, Error> {
        if self.by_path.contains_key(name) || !name.ends_with(DELETED) {
            return self.id(name, state);
        }
        let meta = std::fs::metadata(state)
            .map_err(|error| Error::io(format!("looking at {}", show(name)), &error))?;
        let path = path_of(name, meta.dev(), meta.ino()).unwrap_or_else(|| name.to_vec());
        self.id(&path, state)
    }

    /// The id of a file that is the kernel's own view of something.
    pub fn id_of_kernel_file(&mut self, path: &[u8], state: &Path) -> Result<u32, Error> {
        let id = self.id(path, state)?;
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.id == id) {
            record.of_kernel = true;
        }
        Ok(id)
    }

    /// All of them.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

/// How the name of something deleted ends in /proc.
const DELETED: &[u8] = b" (deleted)";

/// How many names are looked at for another name of a file.
const NAMES_MAX: usize = 20_000;

/// A path that leads to a file, of which a link in /proc says `name`: that name; or, if it has been deleted there, another
/// name that it has in the same directory, or below one of the three above.
pub fn path_of(name: &[u8], dev: u64, ino: u64) -> Option<Vec<u8>> {
    let is_it = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (dev, ino))
    };
    let path = Path::new(OsStr::from_bytes(name));
    if is_it(path) {
        return Some(name.to_vec());
    }
    let old = Path::new(OsStr::from_bytes(name.strip_suffix(DELETED)?));
    let mut left = NAMES_MAX;
    // The nearest first: most of it is looked through twice, and little is.
    let found =
        old.ancestors().skip(1).take(4).find_map(|place| look_below(place, ino, &is_it, &mut left))?;
    Some(found.into_os_string().into_vec())
}

/// A name below a directory, on whichever level, that leads to a file with this number.
fn look_below(place: &Path, ino: u64, is_it: &dyn Fn(&Path) -> bool, left: &mut usize) -> Option<PathBuf> {
    let mut directories = VecDeque::from([place.to_owned()]);
    while let Some(directory) = directories.pop_front() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            *left = left.checked_sub(1)?;
            let path = entry.path();
            if entry.ino() == ino && is_it(&path) {
                return Some(path);
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push_back(path);
            }
        }
    }
    None
}
