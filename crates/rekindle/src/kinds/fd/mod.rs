//! Descriptors, and the open file descriptions they refer to (open(2)).
//!
//! A kind of file is a file here and a line in [`KINDS`]. A description is captured once, however many descriptors
//! refer to it (kcmp(2) tells), and comes back as one: `open`, then `dup3` to each number.

mod device;
mod directory;
mod pipe;
mod regular;
mod stream;

use super::mem::file::{self, FileTable};
use crate::error::Error;
use crate::refusal::{Refusals, show};
use crate::view::{FdView, ProcessView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_sys::task::{Kcmp, kcmp};
use rekindle_tracee::{Arg, Batch, Data, StepId};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

/// A kind of open file.
pub trait FdKind: Sync {
    /// Its name in records and messages.
    fn name(&self) -> &'static str;
    /// Whether a descriptor of a process is of this kind, and if so, whether it can be captured.
    fn claims(&self, fd: &FdView, view: &ProcessView) -> Claim;
    /// What is particular to this kind in the record of a description.
    fn capture(
        &self,
        fd: &FdView,
        view: &ProcessView,
        files: &mut FileTable,
        record: &mut Description,
    ) -> Result<(), Error>;
    /// The steps that open it again.
    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened;
}

/// All kinds. The first that claims a descriptor has it.
pub static KINDS: &[&dyn FdKind] =
    &[&stream::Stream, &pipe::Pipe, &regular::Regular, &directory::Directory, &device::Device];

/// What a kind says of a descriptor.
pub enum Claim {
    /// It is of another kind.
    NotMine,
    /// It can be captured.
    Mine,
    /// It is of this kind, but cannot be captured: why, and what to do.
    Refused(&'static str, &'static str, &'static str),
}

/// What an opened description is known by while it is given its numbers.
pub enum Opened {
    /// The result of a step, to be closed afterwards.
    Step(StepId),
    /// A number that stays.
    Number(i32),
    /// A pipe, whose two ends are two descriptions: where `pipe2` has left their numbers, and the ids of the reading
    /// and the writing one.
    Pipe(Data, [u32; 2]),
}

/// What kinds have at hand when they open a description.
pub struct Opening<'a> {
    files: &'a Files<'a>,
    streams: &'a Streams,
    descriptions: &'a [Description],
}

/// The form of an open file description in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Description {
    /// What descriptors refer to it by.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The name of its kind.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// `O_*` as /proc/PID/fdinfo has them, without `O_CLOEXEC`.
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    /// The file offset.
    #[prost(sint64, tag = "4")]
    pub pos: i64,
    /// The file, for kinds that have one.
    #[prost(uint32, tag = "5")]
    pub file: u32,
    /// The standard stream of the restorer that takes its place (0, 1 or 2), for streams.
    #[prost(uint32, tag = "6")]
    pub stream: u32,
    /// Where the link in /proc/PID/fd led, for readers.
    #[prost(bytes = "vec", tag = "7")]
    #[serde(serialize_with = "crate::json::path")]
    pub link: Vec<u8>,
    /// The pipe, for ends of one.
    #[prost(message, optional, tag = "8")]
    pub pipe: Option<pipe::Record>,
}

/// The form of a descriptor in the image.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Descriptor {
    /// Its number.
    #[prost(int32, tag = "1")]
    pub fd: i32,
    /// The description it refers to.
    #[prost(uint32, tag = "2")]
    pub description: u32,
    /// `FD_CLOEXEC`
    #[prost(bool, tag = "3")]
    pub cloexec: bool,
}

/// The files of an image, by id.
pub struct Files<'a> {
    by_id: HashMap<u32, &'a file::Record>,
}

impl<'a> Files<'a> {
    /// Those of these records.
    pub fn new(records: &'a [file::Record]) -> Self {
        Self { by_id: records.iter().map(|record| (record.id, record)).collect() }
    }

    /// The path to open a file by; empty for an id that the plan has been checked not to contain.
    pub fn path(&self, id: u32) -> &'a [u8] {
        self.by_id.get(&id).map_or(&[], |record| record.path_to_open())
    }

    /// Whether there is a file of this id.
    pub fn has(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }
}

/// Where the restorer's standard streams are while descriptors are made: numbers that the program does not use.
pub struct Streams {
    kept: [i32; 3],
    /// Two more such numbers, where descriptions wait to be given their own.
    parking: [i32; 2],
}

/// Says which descriptors of a process cannot be captured.
pub fn survey(view: &ProcessView, refusals: &mut Refusals) {
    for fd in &view.fds {
        let subject = || format!("fd {} ({})", fd.fd, show(&fd.link));
        if !fd.info.locks.is_empty() {
            refusals.add(
                "file-lock",
                subject(),
                "file locks cannot be captured yet",
                "let the program release it",
            );
        }
        if fd.info.flags & o::ASYNC != 0 {
            refusals.add("async-io", subject(), "O_ASYNC cannot be captured yet", "");
        }
        match claim(fd, view) {
            Some((_, Claim::Refused(code, why, remedy))) => refusals.add(code, subject(), why, remedy),
            Some(_) => {}
            None => {
                let why = format!("{} cannot be captured yet", what_it_is(fd));
                refusals.add("fd-kind", subject(), why, "let the program close it first");
            }
        }
    }
}

fn claim(fd: &FdView, view: &ProcessView) -> Option<(&'static dyn FdKind, Claim)> {
    KINDS.iter().find_map(|kind| match kind.claims(fd, view) {
        Claim::NotMine => None,
        claim => Some((*kind, claim)),
    })
}

/// A noun for a descriptor that no kind claims.
fn what_it_is(fd: &FdView) -> String {
    let link = fd.link.as_slice();
    if let Some(name) = link.strip_prefix(b"anon_inode:") {
        let name = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
        return format!("{} descriptors", show(name));
    }
    let noun = match fd.file_type() {
        libc::S_IFSOCK => "sockets",
        libc::S_IFIFO if link.starts_with(b"pipe:") => "pipes",
        libc::S_IFIFO => "FIFOs",
        libc::S_IFCHR => "devices of this kind",
        libc::S_IFBLK => "block devices",
        libc::S_IFLNK => "descriptors of symbolic links",
        _ if link.starts_with(b"/memfd:") => "memfd files",
        _ if link.ends_with(b" (deleted)") => "deleted files",
        _ => "files of this kind",
    };
    noun.to_owned()
}

/// What descriptors of one description have in common: link, flags, offset.
type Likeness = (Vec<u8>, u32, i64);

/// The descriptions and descriptors of a process.
pub fn capture(
    view: &ProcessView,
    files: &mut FileTable,
) -> Result<(Vec<Description>, Vec<Descriptor>), Error> {
    let mut descriptions = Vec::new();
    let mut descriptors = Vec::new();
    let mut representatives: HashMap<Likeness, Vec<(i32, u32)>> = HashMap::new();
    for fd in &view.fds {
        let flags = fd.info.flags & !o::CLOEXEC;
        let alike = representatives.entry((fd.link.clone(), flags, fd.info.pos)).or_default();
        let shared = alike.iter().find(|(other, _)| same_description(view.pid, *other, fd.fd));
        let description = match shared {
            Some((_, id)) => *id,
            None => {
                let id = descriptions.len() as u32 + 1;
                descriptions.push(capture_one(id, fd, view, files)?);
                alike.push((fd.fd, id));
                id
            }
        };
        descriptors.push(Descriptor { fd: fd.fd, description, cloexec: fd.info.flags & o::CLOEXEC != 0 });
    }
    Ok((descriptions, descriptors))
}

fn same_description(pid: i32, a: i32, b: i32) -> bool {
    kcmp(pid, pid, Kcmp::File, a as u64, b as u64) == Ok(Ordering::Equal)
}

fn capture_one(
    id: u32,
    fd: &FdView,
    view: &ProcessView,
    files: &mut FileTable,
) -> Result<Description, Error> {
    let mut record = Description {
        id,
        flags: fd.info.flags & !o::CLOEXEC,
        pos: fd.info.pos,
        link: fd.link.clone(),
        ..Description::default()
    };
    match claim(fd, view) {
        Some((kind, Claim::Mine)) => {
            record.kind = kind.name().to_owned();
            kind.capture(fd, view, files, &mut record)?;
            Ok(record)
        }
        _ => Err(Error::proc(
            view.pid,
            format!("fd/{}", fd.fd),
            "it appeared after the survey, and cannot be captured",
        )),
    }
}

/// The flags to open a file with again: the lasting ones.
fn reopen_flags(flags: u32) -> u32 {
    flags & !(o::CREAT | o::EXCL | o::TRUNC | o::CLOEXEC) | o::NOCTTY
}

/// `openat` of a file of the image, as the kinds with a path do.
fn open_file(record: &Description, files: &Files<'_>, flags: u32, batch: &mut Batch) -> StepId {
    let path = files.path(record.file);
    let name = batch.c_string(path);
    let label = format!("opening {}", show(path));
    batch.step(label, nr::OPENAT, [libc::AT_FDCWD.into(), name.into(), flags.into(), 0.into()])
}

/// Checks what a plan says of descriptors: kinds known, files there, numbers once each.
pub fn check(
    descriptions: &[Description],
    descriptors: &[Descriptor],
    files: &Files<'_>,
) -> Result<(), Error> {
    let nonsense = |what: String| Err(Error::Nonsense(what));
    let mut ids = BTreeSet::new();
    for description in descriptions {
        if !KINDS.iter().any(|kind| kind.name() == description.kind) {
            return nonsense(format!("a descriptor is of the unknown kind `{}`", description.kind));
        }
        if !is_what_it_says(description, files) {
            return nonsense(format!("description {} is not of a file of its kind", description.id));
        }
        if description.file != 0 && !files.has(description.file) {
            return nonsense(format!(
                "a descriptor refers to file {}, which it does not describe",
                description.file
            ));
        }
        ids.insert(description.id);
    }
    let mut numbers = BTreeSet::new();
    for descriptor in descriptors {
        if descriptor.fd < 0 || !numbers.insert(descriptor.fd) || !ids.contains(&descriptor.description) {
            return nonsense(format!("descriptor {} makes no sense", descriptor.fd));
        }
    }
    Ok(())
}

/// Whether the file of a description is of the type that its kind opens: opening another might wait for ever, or do
/// something to a device.
fn is_what_it_says(description: &Description, files: &Files<'_>) -> bool {
    let file = files.by_id.get(&description.file);
    let is = |mode: u32| file.is_some_and(|file| file.mode & libc::S_IFMT == mode);
    match description.kind.as_str() {
        "regular" => is(libc::S_IFREG),
        "directory" => is(libc::S_IFDIR),
        "device" => is(libc::S_IFCHR) && file.is_some_and(|file| device::is_stateless(file.rdev)),
        "pipe" => description.pipe.as_ref().is_some_and(|pipe| pipe.contents.len() <= pipe.size as usize),
        _ => true,
    }
}

/// The steps that put the restorer's standard streams aside and close everything else that the process was born with.
pub fn clear(descriptors: &[Descriptor], batch: &mut Batch) -> Streams {
    let used: BTreeSet<i32> = descriptors.iter().map(|descriptor| descriptor.fd).collect();
    // Above the lowest free number at any time, which is what `open` gives: no more are ever in use than all
    // descriptors and these five.
    let from = descriptors.len() as i32 + 8;
    let mut free = (from..).filter(|number| !used.contains(number));
    let kept = [(); 3].map(|()| free.next().unwrap_or(i32::MAX));
    let parking = [(); 2].map(|()| free.next().unwrap_or(i32::MAX));
    for (stream, number) in (0..).zip(kept) {
        // The restorer may have been started without one of them.
        batch.step_may_fail(
            "setting a standard stream aside",
            nr::DUP3,
            [stream.into(), number.into(), 0.into()],
        );
    }
    let mut from = 0;
    for number in kept {
        if from < number {
            batch.step("close_range", nr::CLOSE_RANGE, [from.into(), (number - 1).into(), 0.into()]);
        }
        from = number + 1;
    }
    batch.step("close_range", nr::CLOSE_RANGE, [from.into(), u32::MAX.into(), 0.into()]);
    Streams { kept, parking }
}

/// The steps that make all descriptors.
pub fn restore(
    descriptions: &[Description],
    descriptors: &[Descriptor],
    files: &Files<'_>,
    streams: &Streams,
    batch: &mut Batch,
) {
    let mut by_description: HashMap<u32, Vec<&Descriptor>> = HashMap::new();
    for descriptor in descriptors {
        by_description.entry(descriptor.description).or_default().push(descriptor);
    }
    let cx = Opening { files, streams, descriptions };
    let mut give = |id: u32, from: i32, batch: &mut Batch| {
        for descriptor in by_description.remove(&id).unwrap_or_default() {
            let cloexec = if descriptor.cloexec { o::CLOEXEC } else { 0 };
            let label = format!("fd {}", descriptor.fd);
            batch.step(label, nr::DUP3, [from.into(), descriptor.fd.into(), cloexec.into()]);
        }
    };
    let mut made = BTreeSet::new();
    for description in descriptions {
        let Some(kind) = KINDS.iter().find(|kind| kind.name() == description.kind) else { continue };
        if made.contains(&description.id) {
            continue;
        }
        match kind.open(description, &cx, batch) {
            Opened::Number(number) => give(description.id, number, batch),
            Opened::Step(step) => {
                park([step.into()], streams, batch);
                give(description.id, streams.parking[0], batch);
            }
            Opened::Pipe(ends, ids) => {
                park([Arg::Loaded(ends, 0), Arg::Loaded(ends, 4)], streams, batch);
                for (id, parked) in ids.into_iter().zip(streams.parking) {
                    give(id, parked, batch);
                    made.insert(id);
                }
            }
        }
    }
    for number in streams.kept.into_iter().chain(streams.parking) {
        batch.step_may_fail("closing what was set aside", nr::CLOSE, [number.into()]);
    }
}

/// Moves what was just opened out of the way: the numbers that were free may be among those yet to be given.
fn park<const N: usize>(opened: [Arg; N], streams: &Streams, batch: &mut Batch) {
    for (from, to) in opened.into_iter().zip(streams.parking) {
        batch.step("dup3", nr::DUP3, [from, to.into(), 0.into()]);
    }
    for from in opened {
        batch.step("close", nr::CLOSE, [from]);
    }
}

impl Streams {
    /// A number that is free until descriptors are made.
    pub fn spare(&self) -> i32 {
        self.parking[0]
    }

    /// The number under which the restorer's stream is at hand.
    pub fn number(&self, stream: u32) -> i32 {
        self.kept.get(stream as usize).copied().unwrap_or(-1)
    }
}
