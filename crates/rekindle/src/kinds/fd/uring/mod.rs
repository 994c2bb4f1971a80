//! Rings of io_uring(7), with their mappings, what is registered with them, and what is in flight in them.
//!
//! A program has its own copy of how far its ring is, and the kernel counts for itself: a new ring is brought as far as the
//! old one was by operations that do nothing, before it gets its contents (`revive.rs`). What is in flight is found by
//! `flight.rs`, and begun again. Neither the kernel nor this tells everything of a ring: decision 6 says what is known, what is
//! taken for granted, and what is refused.
//!
//! ```text
//! checkpoint   inside: ask the process, let what is at work end ── capture: told, memory, flight
//! restore      open ── [threads, rights] ── revive: count up ── map ── register ── begin again ── contents
//! ```

mod flight;
mod hole;
mod inside;
mod memory;
mod revive;
mod told;

pub use inside::{Rings, settle};
pub use revive::revive;

use super::fetch::fetch;
use super::restore::Opening;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Relating, Survey, anonymous};
use crate::error::Error;
use crate::kinds::mem::mapping;
use crate::refusal::{Refusal, show};
use crate::view::{FdView, ProcessView};
use flight::{Seen, Sqe};
use memory::{Memory, Word};
use rekindle_sys::uring::{self, CQE_LEN, SQE_LEN, setup};
use rekindle_sys::{Errno, nr, vm};
use rekindle_tracee::Batch;
use std::collections::BTreeSet;
use told::Told;
use zerocopy::IntoBytes;

/// See the module's story.
pub(super) struct Uring;

/// What is particular to a ring.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The number of its inode, which its mappings have too.
    #[prost(fixed64, tag = "1")]
    pub inode: u64,
    /// Entries of the submission queue.
    #[prost(uint32, tag = "2")]
    pub sq_entries: u32,
    /// Entries of the completion queue.
    #[prost(uint32, tag = "3")]
    pub cq_entries: u32,
    /// `IORING_SETUP_*` to make it with.
    #[prost(uint32, tag = "4")]
    pub flags: u32,
    /// `IORING_FEAT_*` of the kernel that the program found.
    #[prost(uint32, tag = "5")]
    pub features: u32,
    /// Where what lies in its memory: `sq_off` and `cq_off` of `struct io_uring_params`, seven numbers of each.
    #[prost(uint32, repeated, tag = "6")]
    pub offsets: Vec<u32>,
    /// How many submissions the kernel had taken, modulo 2^32.
    #[prost(fixed32, tag = "7")]
    pub submitted: u32,
    /// How many completions it had told, likewise.
    #[prost(fixed32, tag = "8")]
    pub completed: u32,
    /// The end of the submissions in the queue.
    #[prost(fixed32, tag = "9")]
    pub sq_tail: u32,
    /// The first completion that the program had not taken.
    #[prost(fixed32, tag = "10")]
    pub cq_head: u32,
    /// How many submissions were dropped.
    #[prost(fixed32, tag = "11")]
    pub dropped: u32,
    /// How many completions were lost.
    #[prost(fixed32, tag = "12")]
    pub lost: u32,
    /// `IORING_CQ_*` as the program has set them.
    #[prost(fixed32, tag = "13")]
    pub cq_flags: u32,
    /// The memory of submissions, without zeros at its end.
    #[prost(bytes = "vec", tag = "14")]
    #[serde(serialize_with = "crate::json::size")]
    pub sqes: Vec<u8>,
    /// The memory of completions, likewise.
    #[prost(bytes = "vec", tag = "15")]
    #[serde(serialize_with = "crate::json::size")]
    pub cqes: Vec<u8>,
    /// Which submission is meant by each place in the queue.
    #[prost(uint32, repeated, tag = "16")]
    #[serde(skip)]
    pub array: Vec<u32>,
    /// The processor that the thread which submits keeps to.
    #[prost(uint32, tag = "17")]
    pub thread_cpu: u32,
    /// How many files can be registered.
    #[prost(uint32, tag = "18")]
    pub files_len: u32,
    /// Those that are.
    #[prost(message, repeated, tag = "19")]
    pub files: Vec<RegisteredFile>,
    /// Registered buffers: address and length by turns, zeros for none.
    #[prost(fixed64, repeated, tag = "20")]
    pub buffers: Vec<u64>,
    /// The registered eventfd.
    #[prost(uint32, tag = "21")]
    pub eventfd: u32,
    /// What was in flight: `struct io_uring_sqe` each.
    #[prost(bytes = "vec", repeated, tag = "22")]
    #[serde(serialize_with = "crate::json::sizes")]
    pub in_flight: Vec<Vec<u8>>,
}

/// A registered file.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct RegisteredFile {
    /// Its number in the ring.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// What it is.
    #[prost(uint32, tag = "2")]
    pub description: u32,
}

/// Flags that a record can have.
const FLAGS: u32 = setup::SQPOLL
    | setup::SQ_AFF
    | setup::CQSIZE
    | setup::SUBMIT_ALL
    | setup::TASKRUN_FLAG
    | setup::SINGLE_ISSUER
    | setup::DEFER_TASKRUN
    | setup::NO_SQARRAY;
/// How long the thread that submits looks for more before it sleeps, in milliseconds: the kernel does not tell what it was.
const IDLE_MS: u32 = 10;
/// The most that is kept of the memory of a ring, in bytes: a record has 1 MiB.
const CONTENTS_MAX: usize = 900 << 10;
/// As many as a program registers at most (io_uring/rsrc.h has 2^20, which no record could name).
const FILES_MAX: u32 = 1 << 15;
const OFFSETS: usize = 7;

const CLOSE: &str = "let the program close it first";

impl FdKind for Uring {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if !inside::is_ring(fd) {
            return Claim::NotMine;
        }
        // Of one that is in use just now nothing can be told; it is looked at again when the program stands still.
        let Some(told) = Told::of(&fd.info) else { return Claim::Mine };
        if told.thread.is_some() && !has_our_rights(cx.view) {
            return Claim::Refused(
                "uring-thread",
                "a thread of the kernel submits for it (SQPOLL), with rights that are not those of whoever restores it",
                "run the program as root, or without SQPOLL",
            );
        }
        Claim::Mine
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let refused = |code, why: &str| Err(refused(fd, cx.view, code, why));
        let told = Told::read(cx.view.pid, fd.fd)?;
        let Some(inside) = cx.view.rings.of(fd.fd) else {
            return refused("uring-new", "it appeared after its process was asked about its rings");
        };
        if let Some((code, why)) = obstacle(&told, inside, cx.view) {
            return refused(code, why);
        }
        let call =
            |errno| Error::call(format!("looking at the ring at fd {} of {}", fd.fd, cx.view.pid), errno);
        let ring = fetch(fd, cx.view).map_err(call)?;
        let memory = match Memory::map(&ring, told.sq_entries, told.cq_entries) {
            Err(Errno::OPNOTSUPP) => return refused("uring-shape", SHAPE),
            memory => memory.map_err(call)?,
        };
        let mut found = look(&told, &memory);
        found.inode = fd.ino;
        found.flags |= issuer(&ring, &told).map_err(call)?;
        if let Some(tid) = told.thread {
            (found.flags, found.thread_cpu) = affinity(found.flags, tid, cx.view);
        }
        found.eventfd = u32::from(inside.has_eventfd); // which one it is, `relate` finds out
        if found.sqes.len() + found.cqes.len() > CONTENTS_MAX {
            return refused("uring-size", "its queues are larger than an image can hold yet");
        }
        match in_flight(&found, &told, cx.view) {
            Ok(in_flight) => found.in_flight = in_flight.iter().map(|sqe| sqe.to_vec()).collect(),
            Err(why) => return refused("uring-in-flight", &why),
        }
        record.uring = Some(found);
        Ok(())
    }

    fn relate(&self, fd: &FdView, cx: &Relating<'_>, record: &mut Description) -> Result<(), Error> {
        let told = Told::read(cx.view.pid, fd.fd)?;
        let Some(found) = &mut record.uring else { return Ok(()) };
        let lost = |what: &str| refused(fd, cx.view, "uring-registered", what);
        for (index, link) in &told.files {
            let description = only(cx, |fd| fd.link == *link).ok_or_else(|| {
                lost(&format!("its registered file {index} ({}) cannot be told from others", show(link)))
            })?;
            found.files.push(RegisteredFile { index: *index, description });
        }
        if found.eventfd != 0 {
            found.eventfd = only(cx, |fd| anonymous::is(fd, "eventfd"))
                .ok_or_else(|| lost("an eventfd is registered, and which of the program's cannot be told"))?;
        }
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        record.uring.as_ref().map_or(Err("it says nothing".into()), |ring| ring.check(cx))
    }

    fn fits(&self, record: &Description) -> Result<(), String> {
        record.uring.as_ref().map_or(Ok(()), Record::fits)
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(ring) = &record.uring else { return Opened::Number(-1) };
        let params = uring::Params {
            flags: ring.flags,
            cq_entries: ring.cq_entries,
            sq_thread_cpu: ring.thread_cpu,
            sq_thread_idle: if ring.flags & setup::SQPOLL == 0 { 0 } else { IDLE_MS },
            ..uring::Params::default()
        };
        let params = batch.data(params.as_bytes());
        let args = [ring.sq_entries.into(), params.into()];
        let made = batch.step("io_uring_setup", nr::IO_URING_SETUP, args);
        anonymous::set_flags(made, record, batch);
        Opened::Step(made)
    }
}

const SHAPE: &str = "it is of a form that cannot be captured yet: in memory of the program's own (NO_MMAP), or with long entries \
                     (SQE128, CQE32)";

fn refused(fd: &FdView, view: &ProcessView, code: &'static str, why: &str) -> Error {
    let subject = format!("fd {} ({})", fd.fd, show(&fd.link));
    Error::Refused(vec![Refusal { code, pid: view.pid, subject, why: why.into(), remedy: CLOSE.into() }])
}

/// Whether a process has the rights that we have: whatever the kernel's thread does for it, it does with those of the one
/// that makes the ring.
fn has_our_rights(view: &ProcessView) -> bool {
    let own = crate::view::parse(std::process::id().cast_signed(), "status", rekindle_procfs::status::parse);
    own.is_ok_and(|own| {
        (own.uid, own.gid, own.groups, own.caps.eff)
            == (view.status.uid, view.status.gid, view.status.groups.clone(), view.status.caps.eff)
    })
}

/// Why a ring cannot be captured, by what it told.
fn obstacle(
    told: &Told,
    inside: &inside::Inside,
    view: &ProcessView,
) -> Option<(&'static str, &'static str)> {
    let is_shared_thread = || {
        let others = view
            .fds
            .iter()
            .filter(|fd| inside::is_ring(fd))
            .filter_map(|fd| Some((fd.ino, Told::of(&fd.info)?)));
        let with_it: BTreeSet<u64> =
            others.filter(|(_, other)| other.thread == told.thread).map(|(ino, _)| ino).collect();
        told.thread.is_some() && with_it.len() > 1
    };
    if view.rings.has_registered {
        return Some(("uring-registered", "a thread has registered a ring, and which one cannot be told"));
    }
    if inside.is_disabled {
        return Some(("uring-disabled", "it is not enabled yet (R_DISABLED)"));
    }
    match inside.asked {
        Some(Errno::INVAL) => {}
        Some(Errno::EXIST) => {
            return Some((
                "uring-issuer",
                "a thread that is not the first of its process submits (SINGLE_ISSUER)",
            ));
        }
        Some(Errno::ACCESS) => return Some(("uring-restricted", "what can be done with it is restricted")),
        _ => return Some(("uring-unknown", "the kernel does not answer what is asked about it")),
    }
    let more = [
        (
            inside.polls_devices,
            "uring-iopoll",
            "devices are polled for completions (IOPOLL), or the kernel is older than 6.9",
        ),
        (inside.has_provided, "uring-buffers", "buffers are provided to it, which cannot be captured yet"),
        (told.overflows, "uring-overflow", "completions have found no room in its queue"),
        (told.napi, "uring-napi", "network devices are polled for it (NAPI)"),
        (told.wide, "uring-shape", SHAPE),
        (told.files_len > FILES_MAX, "uring-size", "more files are registered than an image can name"),
        (
            is_shared_thread(),
            "uring-thread",
            "it shares the thread that submits with another ring (ATTACH_WQ)",
        ),
    ];
    more.into_iter().find(|(is_so, ..)| *is_so).map(|(_, code, why)| (code, why))
}

/// What its memory and fdinfo tell.
fn look(told: &Told, memory: &Memory) -> Record {
    let (sqes, mut array) = (memory.sqes(), memory.array());
    let second_is_used = sqes.chunks(SQE_LEN).nth(1).is_some_and(|sqe| sqe.iter().any(|byte| *byte != 0));
    let is_unindexed = !memory.has_array() || (told.queued() > 0 && !told.lists_queued);
    // Either nothing was submitted but the first, or there is no array, and a ring that has one in its own order does as well.
    let is_empty = array.iter().all(|entry| *entry == 0);
    if is_unindexed || (is_empty && (told.submitted <= 1 || second_is_used)) {
        array = (0..told.sq_entries).collect();
    }
    let mut params = *memory.params();
    if is_unindexed {
        params.sq_off[6] = 0;
    }
    let no_array = if is_unindexed { setup::NO_SQARRAY } else { 0 };
    Record {
        sq_entries: told.sq_entries,
        cq_entries: told.cq_entries,
        // What the kernel does not tell is as it harms least: decision 6.
        flags: setup::CQSIZE | setup::SUBMIT_ALL | no_array,
        features: params.features,
        offsets: offsets(&params),
        submitted: told.submitted,
        completed: told.completed,
        sq_tail: memory.get(Word::SqTail),
        cq_head: memory.get(Word::CqHead),
        dropped: memory.get(Word::Dropped),
        lost: memory.get(Word::Lost),
        cq_flags: memory.get(Word::CqFlags),
        sqes: trimmed(sqes),
        cqes: trimmed(memory.cqes()),
        array,
        files_len: told.files_len,
        buffers: told.buffers.iter().flat_map(|(address, len)| [*address, *len]).collect(),
        ..Record::default()
    }
}

fn offsets(params: &uring::Params) -> Vec<u32> {
    [&params.sq_off[..OFFSETS], &params.cq_off[..OFFSETS]].concat()
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(len);
    bytes
}

/// Flags that say who submits: asked as somebody who does not.
fn issuer(ring: &rustix::fd::OwnedFd, told: &Told) -> Result<u32, Errno> {
    let single = match uring::ask(ring) {
        Err(Errno::EXIST) => setup::SINGLE_ISSUER,
        Ok(_) | Err(Errno::INVAL) => 0,
        Err(errno) => return Err(errno),
    };
    let thread = if told.thread.is_some() { setup::SQPOLL } else { 0 };
    let deferred = match uring::enter(ring, 0, uring::ENTER_GETEVENTS) {
        Err(Errno::EXIST) => setup::DEFER_TASKRUN | setup::TASKRUN_FLAG,
        Ok(_) | Err(_) => 0,
    };
    Ok(single | thread | deferred)
}

/// The processor that the kernel's thread keeps to, if it does and the process does not.
fn affinity(flags: u32, tid: i32, view: &ProcessView) -> (u32, u32) {
    let status = crate::view::parse(view.pid, &format!("task/{tid}/status"), rekindle_procfs::status::parse);
    let (Ok(status), own) = (status, &view.status.cpus_allowed) else { return (flags, 0) };
    let words =
        status.cpus_allowed.iter().filter(|_| status.cpus_allowed != *own).flat_map(|mask| &mask.words);
    let bits: Vec<(u32, u32)> = (0..).zip(words.copied()).filter(|(_, word)| *word != 0).collect();
    match bits[..] {
        [(index, word)] if word.is_power_of_two() => {
            (flags | setup::SQ_AFF, index * u32::BITS + word.trailing_zeros())
        }
        _ => (flags, 0),
    }
}

/// The operations in flight, each looked at in its process.
fn in_flight(found: &Record, told: &Told, view: &ProcessView) -> Result<Vec<Sqe>, String> {
    let (sqes, cqes) = (found.whole_sqes(), found.whole_cqes());
    let Record { dropped, lost, .. } = *found;
    let seen = Seen { told, dropped, lost, sqes: &sqes, array: &found.array, cqes: &cqes };
    let in_flight = seen.in_flight()?;
    for sqe in &in_flight {
        let (operation, fd) = (flight::opcode(sqe), flight::fd(sqe));
        if operation == flight::op::TIMEOUT {
            check_time(u64::from_le_bytes(flight::number(sqe, 16)), view)?;
        } else if flight::flags(sqe) & flight::FIXED_FILE == 0 && !view.fds.iter().any(|open| open.fd == fd) {
            return Err(format!(
                "operation {operation} is under way on fd {fd}, which the program has closed"
            ));
        }
    }
    Ok(in_flight)
}

/// The kernel has read the time of a timeout when that was submitted; the program may have used its memory for something
/// else since.
fn check_time(address: u64, view: &ProcessView) -> Result<(), String> {
    let mut time = [0; 16];
    let read = vm::read(view.pid, address, &mut time);
    let [seconds, nanoseconds] = [0, 8].map(|at| i64::from_le_bytes(flight::number(&time, at)));
    let is_time = read == Ok(16) && seconds >= 0 && (0..1_000_000_000).contains(&nanoseconds);
    let stacks = view.threads.iter().filter_map(|thread| stack_pointer(view.pid, thread.tid));
    let is_left = |pointer: u64| {
        let stack =
            view.mappings.iter().map(|entry| &entry.mapping).find(|m| (m.start..m.end).contains(&pointer));
        stack.is_some_and(|stack| (stack.start..pointer).contains(&address))
    };
    if is_time && !stacks.into_iter().any(is_left) {
        return Ok(());
    }
    Err("a timeout is under way whose time is not in memory any more".into())
}

/// The last but one number of /proc/PID/task/TID/syscall (proc_pid_syscall(5)).
fn stack_pointer(pid: i32, tid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let pointer = text.split_whitespace().rev().nth(1)?;
    u64::from_str_radix(pointer.strip_prefix("0x")?, 16).ok()
}

/// The only description of a process that a descriptor of this sort leads to.
fn only(cx: &Relating<'_>, is_it: impl Fn(&FdView) -> bool) -> Option<u32> {
    let fds = cx.view.fds.iter().filter(|fd| is_it(fd));
    let ids: BTreeSet<u32> = fds.filter_map(|fd| cx.ids.get(&(cx.view.pid, fd.fd)).copied()).collect();
    ids.first().copied().filter(|_| ids.len() == 1)
}

impl Record {
    fn whole_sqes(&self) -> Vec<u8> {
        let mut sqes = self.sqes.clone();
        sqes.resize(self.sq_entries as usize * SQE_LEN, 0);
        sqes
    }

    fn whole_cqes(&self) -> Vec<u8> {
        let mut cqes = self.cqes.clone();
        cqes.resize(self.cq_entries as usize * CQE_LEN, 0);
        cqes
    }

    fn check(&self, cx: &Checking<'_>) -> Result<(), String> {
        let is_size = |entries: u32, most: u32| entries.is_power_of_two() && entries <= most;
        let sizes = is_size(self.sq_entries, uring::ENTRIES_MAX)
            && is_size(self.cq_entries, 2 * uring::ENTRIES_MAX)
            && self.cq_entries >= self.sq_entries
            && self.sqes.len() <= self.sq_entries as usize * SQE_LEN
            && self.cqes.len() <= self.cq_entries as usize * CQE_LEN
            && self.array.len() == self.sq_entries as usize
            && self.offsets.len() == 2 * OFFSETS;
        let exists = |id: &u32| cx.descriptions.contains_key(id);
        let files = self.files_len <= FILES_MAX
            && self.files.iter().all(|file| file.index < self.files_len && exists(&file.description))
            && (self.eventfd == 0 || cx.descriptions.get(&self.eventfd).is_some_and(|d| d.eventfd.is_some()));
        let operation = |sqe: &Vec<u8>| {
            sqe.as_slice().try_into().is_ok_and(|sqe: Sqe| flight::can_begin_again(&sqe).is_ok())
        };
        let operations =
            self.in_flight.len() <= self.sq_entries as usize && self.in_flight.iter().all(operation);
        let buffers = self.buffers.len().is_multiple_of(2) && self.buffers.len() <= 2 << 14;
        let flags = self.flags & !FLAGS == 0 && self.flags & setup::CQSIZE != 0;
        let queues = self.completed.wrapping_sub(self.cq_head) <= self.cq_entries
            && self.sq_tail.wrapping_sub(self.submitted) <= self.sq_entries;
        if sizes && files && operations && buffers && flags && queues {
            Ok(())
        } else {
            Err("what it says of its ring makes no sense".into())
        }
    }

    /// Whether this kernel lays rings out as the program has found them, and can do as much.
    fn fits(&self) -> Result<(), String> {
        let array = self.flags & setup::NO_SQARRAY;
        let (_, params) = memory::like(self.sq_entries, self.cq_entries, array).map_err(|errno| {
            let why = rekindle_sys::errno_text(errno);
            format!("io_uring cannot be used here: {why}; see kernel.io_uring_disabled in sysctl")
        })?;
        if offsets(&params) != self.offsets || self.features & !params.features != 0 {
            return Err("this kernel's io_uring is not the one that the program has found; restore it on the kernel of the \
                        checkpoint"
                .into());
        }
        Ok(())
    }

    fn submits_alone(&self) -> bool {
        self.flags & setup::SINGLE_ISSUER != 0
    }

    fn is_polled(&self) -> bool {
        self.flags & setup::SQPOLL != 0
    }
}

/// Why a mapping of a ring cannot be captured.
pub fn refusal_of_mapping(
    view: &ProcessView,
    mapping: &rekindle_procfs::maps::Mapping,
) -> Option<&'static str> {
    let is_open = view.fds.iter().any(|fd| inside::is_ring(fd) && fd.ino == mapping.inode);
    let is_whole = [uring::OFF_SQ_RING, uring::OFF_CQ_RING, uring::OFF_SQES].contains(&mapping.offset);
    match (is_open, is_whole) {
        (false, _) => Some("it is of an io_uring that its process has no descriptor of"),
        (_, false) => Some("it is a part of an io_uring's memory, or of buffers provided to one"),
        _ => None,
    }
}

/// Whether a mapping is of a ring.
pub fn is_mapping(mapping: &rekindle_procfs::maps::Mapping) -> bool {
    mapping.name == b"anon_inode:[io_uring]"
}

/// Whether there is the ring that a mapping of a process is of, and the process has a descriptor of it.
pub fn has_ring(mapping: &mapping::Record, descriptions: &[Description], own: &[super::Descriptor]) -> bool {
    let ring = descriptions.iter().find(|d| d.uring.as_ref().is_some_and(|ring| ring.inode == mapping.ring));
    let is_whole = [uring::OFF_SQ_RING, uring::OFF_CQ_RING, uring::OFF_SQES].contains(&mapping.offset);
    is_whole && ring.is_some_and(|ring| own.iter().any(|own| own.description == ring.id))
}
