//! The clocks that count from the start of the machine: `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`.
//!
//! A program takes for granted that they never go back, and stores moments of them: in its memory, and in the kernel's
//! timers and waits. A time namespace (time_namespaces(7)) shifts them for a whole tree:
//!
//! ```text
//! what the program reads  =  what the machine counts  +  the offset of its time namespace
//! ```
//!
//! On the boot of the checkpoint the clocks have gone on by themselves, and the tree gets the offsets that it had: as a rule
//! none, and no namespace. On another boot, or where the clocks are behind what the program has read already, it gets a
//! namespace in which they go on from where they were (docs/decisions/0005).
//!
//! The namespace is made by the root before it has any memory of the program. All others are born into it.

use crate::error::Error;
use crate::refusal::{Refusal, Refusals};
use crate::view::TreeView;
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};

/// What becomes of the clocks at a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    /// On the boot of the checkpoint they have gone on; else as [`Self::Keep`].
    #[default]
    Auto,
    /// They go on from what they showed at the checkpoint.
    Keep,
    /// They show what they show to us: no namespace is made.
    Host,
}

/// What the clocks showed at a checkpoint. Times in nanoseconds.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Which start of which machine (random(4), `boot_id`).
    #[prost(string, tag = "1")]
    pub boot_id: String,
    /// `CLOCK_MONOTONIC`, as the program reads it.
    #[prost(uint64, tag = "2")]
    pub monotonic_ns: u64,
    /// `CLOCK_BOOTTIME`, likewise.
    #[prost(uint64, tag = "3")]
    pub boottime_ns: u64,
    /// By how much its time namespace shifts the first.
    #[prost(sint64, tag = "4")]
    pub monotonic_offset_ns: i64,
    /// By how much it shifts the second.
    #[prost(sint64, tag = "5")]
    pub boottime_offset_ns: i64,
}

/// The most that a clock can be made to show: half of what the kernel counts to (kernel/time/namespace.c).
const CLOCK_MAX_NS: u64 = i64::MAX as u64 / 2;
const NS_PER_S: i64 = 1_000_000_000;
const CLONE_NEWTIME: i32 = 0x80;

/// Of the two clocks in this order: monotonic, boottime.
type Pair = [i64; 2];

/// What both clocks show to us, less a shift, in nanoseconds.
fn clocks_less(shift: Pair) -> Pair {
    let [monotonic, boottime] = shift;
    let ns = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec.saturating_mul(NS_PER_S).saturating_add(now.tv_nsec)
    };
    [ns(ClockId::Monotonic).saturating_sub(monotonic), ns(ClockId::Boottime).saturating_sub(boottime)]
}

fn namespace(pid: &str, name: &str) -> Option<PathBuf> {
    // A kernel without time namespaces has no such link.
    std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()
}

/// The offsets of the time namespace that the children of a process are born into; none on a kernel that has none.
fn offsets_of_children(pid: &str) -> Result<Pair, Error> {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/timens_offsets")) else { return Ok([0; 2]) };
    let unclear = || Error::Nonsense(format!("/proc/{pid}/timens_offsets does not tell of two clocks"));
    let of = |clock: &str| {
        let line = text.lines().find(|line| line.starts_with(clock))?;
        let mut words = line.split_whitespace().skip(1).map(str::parse::<i64>);
        let (seconds, rest) = (words.next()?.ok()?, words.next()?.ok()?);
        seconds.checked_mul(NS_PER_S)?.checked_add(rest)
    };
    Ok([of("monotonic").ok_or_else(unclear)?, of("boottime").ok_or_else(unclear)?])
}

/// The offsets of our own time namespace.
fn own_offsets() -> Result<Pair, Error> {
    if namespace("self", "time") == namespace("self", "time_for_children") {
        return offsets_of_children("self");
    }
    let why = "rekindle was started by a process that had made a time namespace and not entered it; run `unshare --time` \
               with --fork";
    Err(Error::DoesNotFit(vec![why.into()]))
}

/// By how much the clocks of a process differ from ours, whose children are born into its own time namespace.
fn ahead_of_ours(pid: i32) -> Result<Pair, Error> {
    let pid = pid.to_string();
    if namespace(&pid, "time") == namespace("self", "time") {
        return Ok([0; 2]);
    }
    let (theirs, ours) = (offsets_of_children(&pid)?, own_offsets()?);
    Ok([theirs[0].saturating_sub(ours[0]), theirs[1].saturating_sub(ours[1])])
}

/// What a clock of clock_gettime(2) shows to a process, in nanoseconds; one of alarms shows what the plain one does.
pub fn clock_ns(pid: i32, clock: i32) -> Result<u64, Error> {
    let id = match clock {
        0 | 8 => ClockId::Realtime,
        7 | 9 => ClockId::Boottime,
        _ => ClockId::Monotonic,
    };
    let ahead = match (id, ahead_of_ours(pid)?) {
        (ClockId::Realtime, _) => 0,
        (ClockId::Boottime, [_, boottime]) => boottime,
        (_, [monotonic, _]) => monotonic,
    };
    let now = clock_gettime(id);
    let ours = now.tv_sec.saturating_mul(NS_PER_S).saturating_add(now.tv_nsec);
    Ok(ours.saturating_add(ahead).max(0) as u64)
}

/// Whether we have the capabilities to make a time namespace and set its clocks.
fn may_make_namespace() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_TIME;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().to_owned()
}

/// Refuses processes that the root cannot give their clocks by being born before them.
pub fn survey(tree: &TreeView, list: &mut Vec<Refusal>) {
    let Some(of_root) = tree.processes.first().and_then(|root| namespace(&root.pid.to_string(), "time"))
    else {
        return;
    };
    for view in &tree.processes {
        let pid = view.pid.to_string();
        let why = match (namespace(&pid, "time"), namespace(&pid, "time_for_children")) {
            (Some(own), _) if own != of_root => {
                "it lives in another time namespace than the root of its tree"
            }
            (_, Some(of_children)) if of_children != of_root => {
                "its children will be in another time namespace"
            }
            _ => continue,
        };
        let mut refusals = Refusals::of(view.pid);
        refusals.add(
            "time-namespace",
            "the process",
            why,
            "checkpoint a tree that lives in one time namespace",
        );
        list.extend(refusals.into_list());
    }
}

/// The clocks of a tree that stands still.
pub fn capture(tree: &TreeView) -> Result<Option<Record>, Error> {
    let Some(root) = tree.processes.first() else { return Ok(None) };
    let [monotonic_offset_ns, boottime_offset_ns] = offsets_of_children(&root.pid.to_string())?;
    Ok(Some(Record {
        boot_id: boot_id(),
        monotonic_ns: clock_ns(root.pid, libc::CLOCK_MONOTONIC)?,
        boottime_ns: clock_ns(root.pid, libc::CLOCK_BOOTTIME)?,
        monotonic_offset_ns,
        boottime_offset_ns,
    }))
}

impl Record {
    /// Why its numbers cannot be.
    pub fn check(&self) -> Result<(), String> {
        if self.monotonic_ns.max(self.boottime_ns) > CLOCK_MAX_NS {
            return Err("its clocks show more than any kernel counts".into());
        }
        Ok(())
    }

    /// The offsets of the time namespace that a tree needs; `None`: it is born into one that has them.
    fn offsets(&self, wanted: Clocks) -> Result<Option<Pair>, Error> {
        if wanted == Clocks::Host {
            return Ok(None);
        }
        let machine = clocks_less(own_offsets()?);
        let before = [self.monotonic_offset_ns, self.boottime_offset_ns];
        let saved = [self.monotonic_ns as i64, self.boottime_ns as i64];
        let both =
            |of: fn(i64, i64) -> i64, left: Pair, right: Pair| [of(left[0], right[0]), of(left[1], right[1])];
        let gone_on = both(i64::saturating_add, machine, before);
        let is_behind = gone_on[0] < saved[0] || gone_on[1] < saved[1];
        let offsets = match wanted {
            Clocks::Keep => both(i64::saturating_sub, saved, machine),
            Clocks::Auto if is_behind || self.boot_id != boot_id() => {
                both(i64::saturating_sub, saved, machine)
            }
            Clocks::Auto | Clocks::Host => before, // the latter is done with above
        };
        Ok((offsets != offsets_of_children("self")?).then_some(offsets))
    }

    /// A sentence if the clocks cannot be what they are to be.
    pub fn obstacle(&self, wanted: Clocks) -> Result<Option<String>, Error> {
        if self.offsets(wanted)?.is_none() {
            return Ok(None);
        }
        let why = if !Path::new("/proc/self/ns/time").exists() {
            "this kernel has no time namespaces (CONFIG_TIME_NS)"
        } else if !may_make_namespace() {
            "a time namespace needs CAP_SYS_ADMIN and CAP_SYS_TIME"
        } else {
            return Ok(None);
        };
        let what =
            "the program's clocks CLOCK_MONOTONIC and CLOCK_BOOTTIME cannot go on from where they were";
        let remedy = "restore with --clocks host to let them jump";
        Ok(Some(format!("{what}: {why}; {remedy}")))
    }

    /// The steps by which the root, alone in its process, enters the time namespace that the tree needs.
    pub fn restore(&self, wanted: Clocks, batch: &mut Batch) -> Result<(), Error> {
        const WRITE_CLOEXEC: i32 = 0o2_000_001;
        const CLOEXEC: i32 = 0o2_000_000;
        let Some([monotonic, boottime]) = self.offsets(wanted)? else { return Ok(()) };
        let line =
            |name: &str, ns: i64| format!("{name} {} {}\n", ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S));
        let text = line("monotonic", monotonic) + &line("boottime", boottime);
        batch.step("making a time namespace", nr::UNSHARE, [CLONE_NEWTIME.into()]);
        let open = |path: &[u8], flags: i32, batch: &mut Batch| {
            let path = batch.c_string(path);
            let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
            batch.step("opening a file of the time namespace", nr::OPENAT, args)
        };
        let file = open(b"/proc/self/timens_offsets", WRITE_CLOEXEC, batch);
        let data = batch.data(text.as_bytes());
        batch.step("setting clocks", nr::WRITE, [file.into(), data.into(), text.len().into()]);
        batch.step("close", nr::CLOSE, [file.into()]);
        let file = open(b"/proc/self/ns/time_for_children", CLOEXEC, batch);
        batch.step("entering the time namespace", nr::SETNS, [file.into(), CLONE_NEWTIME.into()]);
        batch.step("close", nr::CLOSE, [file.into()]);
        Ok(())
    }
}
