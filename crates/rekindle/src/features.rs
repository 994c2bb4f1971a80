//! What rekindle needs of the kernel and of its own rights, each tried for real: what it is for, and what is lost
//! without it.
//!
//! One line of `TABLE` a feature. A probe changes nothing and cannot fail: what it meets is the answer.

use rekindle_procfs::status::Status;
use rekindle_sys::probe::{self, Bystander};
use rekindle_sys::vm::{self, PageFilter, PageIs};
use rekindle_sys::wait::{self, Event};
use rekindle_sys::{Errno, errno_text, ptrace, task};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::Serialize;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// A feature, and whether it is there.
#[derive(Clone, Debug, Serialize)]
pub struct Feature {
    /// A stable word for scripts.
    pub name: &'static str,
    /// Whether it can be used.
    pub present: bool,
    /// Whether nothing goes without it.
    pub required: bool,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// What is lost where it is missing, and what to do.
    pub without: &'static str,
    /// What was found, where there is more to say than yes or no.
    pub found: Option<String>,
}

/// What a probe found: perhaps more than "yes", or why not.
type Found = Result<Option<String>, String>;

/// Tries them all. The required ones come first.
pub fn probe() -> Vec<Feature> {
    let feature = |(required, name, needed_for, without, probe): &Line| {
        let found = probe();
        let present = found.is_ok();
        let (name, needed_for, without) = (*name, *needed_for, *without);
        let found = found.unwrap_or_else(Some);
        Feature { name, present, required: *required == Always, needed_for, without, found }
    };
    TABLE.iter().map(feature).collect()
}

/// Whether all that is required is there.
pub fn suffice(features: &[Feature]) -> bool {
    features.iter().all(|feature| feature.present || !feature.required)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Always,
    Sometimes,
}
use Needed::{Always, Sometimes};

/// Need, name, what it is needed for, what is lost without it, and the probe.
type Line = (Needed, &'static str, &'static str, &'static str, fn() -> Found);

const TABLE: &[Line] = &[
    (
        Always,
        "pagemap-scan",
        "finding the pages that must be saved (PAGEMAP_SCAN)",
        "no checkpoints: use Linux 6.7 or newer",
        pagemap_scan,
    ),
    (
        Always,
        "ptrace",
        "stopping a program, and reading and setting its registers",
        "neither checkpoints nor restores: in a container, allow SYS_PTRACE in its security profile",
        ptrace_works,
    ),
    (
        Always,
        "ptrace-scope",
        "tracing programs that rekindle has not started (Yama's kernel.yama.ptrace_scope)",
        "no checkpoints: run as root, or set kernel.yama.ptrace_scope to 0",
        ptrace_scope,
    ),
    (
        Always,
        "rseq-configuration",
        "restartable sequences, which every program with a recent C library uses (PTRACE_GET_RSEQ_CONFIGURATION)",
        "no checkpoints: use Linux 5.13 or newer, built with CONFIG_RSEQ",
        rseq,
    ),
    (
        Always,
        "process-vm",
        "reading the memory of a program fast (process_vm_readv)",
        "no checkpoints: use a kernel built with CONFIG_CROSS_MEMORY_ATTACH",
        process_vm,
    ),
    (
        Always,
        "memfd",
        "memory shared with the program while it executes our steps (memfd_create)",
        "neither checkpoints nor restores: in a container, allow memfd_create in its security profile",
        memfd,
    ),
    (
        Always,
        "pidfd-getfd",
        "fetching descriptors from a program (pidfd_getfd)",
        "no checkpoints: use Linux 5.6 or newer; in a container, allow SYS_PTRACE",
        fetch_descriptor,
    ),
    (
        Always,
        "robust-futex",
        "letting the program go on should rekindle be killed (set_robust_list)",
        "no checkpoints: use a kernel built with CONFIG_FUTEX",
        robust_list,
    ),
    (
        Always,
        "kcmp",
        "telling which descriptors share an offset (kcmp)",
        "no checkpoints: use a kernel built with CONFIG_KCMP",
        kcmp,
    ),
    (
        Always,
        "children",
        "seeing the children of a program (/proc/PID/task/TID/children)",
        "no checkpoints: use a kernel built with CONFIG_PROC_CHILDREN",
        children,
    ),
    (
        Always,
        "mm-bounds",
        "giving a restored program its heap, arguments and executable back (PR_SET_MM_MAP)",
        "no restores: use a kernel built with CONFIG_CHECKPOINT_RESTORE",
        mm_bounds,
    ),
    (
        Always,
        "map-vdso",
        "putting the kernel's clock code where the program expects it (ARCH_MAP_VDSO_64)",
        "no restores: use a kernel built with CONFIG_CHECKPOINT_RESTORE",
        map_vdso,
    ),
    (
        Sometimes,
        "choose-pid",
        "giving a restored program the pid that it had, out here (clone3 with set_tid)",
        "restored programs live in user and pid namespaces of their own: run as root, or give rekindle CAP_CHECKPOINT_RESTORE",
        choose_pid,
    ),
    (
        Sometimes,
        "map-files",
        "programs with shared anonymous memory (/proc/PID/map_files)",
        "such programs cannot be captured: run as root, or give rekindle CAP_CHECKPOINT_RESTORE",
        map_files,
    ),
    (
        Sometimes,
        "anon-names",
        "programs that name their memory (PR_SET_VMA_ANON_NAME)",
        "such a program cannot be restored on this kernel: use one built with CONFIG_ANON_VMA_NAME",
        anon_names,
    ),
    (
        Sometimes,
        "guard-pages",
        "programs with guard pages of the light kind (MADV_GUARD_INSTALL, seen by PAGEMAP_SCAN)",
        "none can have them before Linux 6.13; on 6.13 and 6.14 they are not seen: use 6.15 or newer",
        guard_pages,
    ),
    (
        Sometimes,
        "hugetlb",
        "programs with huge pages of the reserved kind",
        "such programs cannot be restored here: use a kernel built with CONFIG_HUGETLBFS",
        hugetlb,
    ),
    (
        Sometimes,
        "numa",
        "programs with memory bound to NUMA nodes",
        "such programs cannot be restored here: use a kernel built with CONFIG_NUMA",
        numa,
    ),
    (
        Sometimes,
        "suspend-seccomp",
        "programs under a seccomp filter",
        "such programs are refused: run as root outside of a seccomp filter",
        suspend_seccomp,
    ),
    (
        Sometimes,
        "time-namespace",
        "restoring monotonic clocks on another machine, or after a reboot",
        "a restored program sees this machine's monotonic clock: use a kernel built with CONFIG_TIME_NS",
        time_namespace,
    ),
    (
        Sometimes,
        "userfaultfd",
        "tracking writes while a program runs (userfaultfd with WP_ASYNC)",
        "whole checkpoints only: run as root, on Linux 6.7 or newer",
        userfaultfd,
    ),
    (
        Sometimes,
        "soft-dirty",
        "tracking writes the older way",
        "nothing: userfaultfd does it better",
        soft_dirty,
    ),
    (
        Sometimes,
        "io-uring",
        "starting programs that use io_uring",
        "such programs do not run here: set kernel.io_uring_disabled to 0",
        io_uring,
    ),
    (
        Sometimes,
        "cap-sys-ptrace",
        "programs of other users",
        "only your own programs can be captured: run as root",
        || capability(19),
    ),
    (
        Sometimes,
        "cap-sys-resource",
        "raising limits above rekindle's own hard limits",
        "a program with a higher hard limit than rekindle's own cannot be restored: raise it for rekindle first",
        || capability(24),
    ),
    (
        Sometimes,
        "cap-sys-admin",
        "chosen pids on Linux before 5.9, seccomp filters",
        "programs under a seccomp filter are refused",
        || capability(21),
    ),
    (
        Sometimes,
        "cap-setuid",
        "restoring programs that run as another user",
        "such programs can be restored by their own user only",
        || capability(7).and(capability(6)).and(capability(8)),
    ),
    (
        Sometimes,
        "cap-sys-nice",
        "real-time scheduling, and priorities above normal",
        "programs that have them cannot be restored",
        || capability(23),
    ),
    (
        Sometimes,
        "cap-ipc-lock",
        "memory locked beyond the limit (mlock)",
        "programs that have it cannot be restored",
        || capability(14),
    ),
    (
        Sometimes,
        "cap-sys-chroot",
        "programs with a root directory of their own",
        "such programs cannot be restored",
        || capability(18),
    ),
    (
        Sometimes,
        "cap-sys-rawio",
        "memory below vm.mmap_min_addr, as old emulators have it",
        "programs that have it cannot be restored",
        || capability(17),
    ),
];

fn yes<T>(result: Result<T, Errno>) -> Found {
    result.map(|_| None).map_err(errno_text)
}

fn why(error: &std::io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), errno_text)
}

fn readable(path: &str) -> Found {
    std::fs::read(path).map(|_| None).map_err(|error| format!("{path}: {}", why(&error)))
}

/// The first line of a file, if there is one.
fn line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn own_status() -> Result<Status, String> {
    let bytes = std::fs::read("/proc/self/status").map_err(|error| why(&error))?;
    rekindle_procfs::status::parse(&bytes).map_err(|error| error.to_string())
}

/// capabilities(7), by number (include/uapi/linux/capability.h).
fn capability(number: u32) -> Found {
    let effective = own_status()?.caps.eff;
    if effective >> number & 1 == 1 { Ok(None) } else { Err("not among the effective capabilities".into()) }
}

fn scan(any_of: PageIs) -> Found {
    let pagemap = File::open("/proc/self/pagemap").map_err(|error| why(&error))?;
    let none = PageIs::empty();
    let filter = PageFilter { all_of: none, none_of: none, any_of, tell: any_of };
    let here = &raw const filter as u64 & !(rekindle_sys::PAGE_SIZE - 1);
    yes(vm::scan_pages(pagemap.as_fd(), here, here + rekindle_sys::PAGE_SIZE, &filter, |_| {}))
}

fn pagemap_scan() -> Found {
    scan(PageIs::PRESENT)
}

fn guard_pages() -> Found {
    scan(PageIs::GUARD)
}

/// A process that stands still for as long as `ask` takes.
fn with_stopped<T>(ask: impl FnOnce(i32) -> Result<T, Errno>) -> Found {
    let bystander = Bystander::start().map_err(errno_text)?;
    let tid = bystander.pid();
    let stopped = ptrace::seize(tid, ptrace::Options::EXITKILL).and_then(|()| ptrace::interrupt(tid));
    stopped.map_err(errno_text)?;
    match wait::wait(tid) {
        Ok(Event::Stop(_)) => yes(ask(tid)),
        other => Err(format!("a traced process did not stop: {other:?}")),
    }
}

fn ptrace_works() -> Found {
    with_stopped(|tid| {
        ptrace::get_sigmask(tid)?;
        ptrace::peek_signals(tid, ptrace::Queue::Private)?;
        ptrace::get_xsave(tid)?;
        let regs = ptrace::get_regs(tid)?;
        ptrace::set_regs(tid, &regs)
    })
}

fn rseq() -> Found {
    with_stopped(ptrace::get_rseq)
}

pub(crate) fn suspend_seccomp() -> Found {
    with_stopped(|tid| ptrace::set_options(tid, ptrace::Options::EXITKILL | ptrace::Options::SUSPEND_SECCOMP))
}

/// Documentation/admin-guide/LSM/Yama.rst: 0 all, 1 descendants, 2 with the capability, 3 none.
fn ptrace_scope() -> Found {
    let Some(scope) = line("/proc/sys/kernel/yama/ptrace_scope") else { return Ok(None) };
    let allowed = match scope.as_str() {
        "0" => true,
        "1" | "2" => capability(19).is_ok(),
        _ => false,
    };
    if allowed { Ok(Some(scope)) } else { Err(format!("it is {scope}")) }
}

fn process_vm() -> Found {
    let bystander = Bystander::start().map_err(errno_text)?;
    let there = [0x5a_u8; 16];
    let mut here = [0; 16];
    // It has a copy of our memory.
    match vm::read(bystander.pid(), there.as_ptr() as u64, &mut here) {
        Ok(16) => Ok(None),
        Ok(count) => Err(format!("only {count} of 16 bytes were read")),
        Err(errno) => Err(errno_text(errno)),
    }
}

fn memfd() -> Found {
    yes(rustix::fs::memfd_create("rekindle-probe", rustix::fs::MemfdFlags::CLOEXEC))
}

fn fetch_descriptor() -> Found {
    let bystander = Bystander::start().map_err(errno_text)?;
    let fetch = || {
        let pid = Pid::from_raw(bystander.pid()).ok_or(Errno::SRCH)?;
        // It has our descriptors, and there are three that always are: any will do.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        match pidfd_getfd(&pidfd, 0, PidfdGetfdFlags::empty()) {
            Ok(_) | Err(Errno::BADF) => Ok(()),
            Err(errno) => Err(errno),
        }
    };
    yes(fetch())
}

fn robust_list() -> Found {
    yes(task::get_robust_list(0))
}

fn kcmp() -> Found {
    let own = std::process::id() as i32;
    yes(task::kcmp(own, own, task::Kcmp::Vm, 0, 0))
}

fn children() -> Found {
    readable("/proc/thread-self/children")
}

fn choose_pid() -> Found {
    yes(probe::may_choose_pids())
}

fn mm_bounds() -> Found {
    yes(probe::mm_bounds_can_be_set())
}

fn map_vdso() -> Found {
    yes(probe::vdso_can_be_mapped())
}

pub(crate) fn map_files() -> Found {
    let entries = std::fs::read_dir("/proc/self/map_files").map_err(|error| why(&error))?;
    let first = entries.flatten().next().ok_or("it is empty")?;
    File::open(first.path()).map(|_| None).map_err(|error| why(&error))
}

fn anon_names() -> Found {
    yes(probe::memory_can_be_named())
}

fn hugetlb() -> Found {
    let pools = std::fs::read_dir("/sys/kernel/mm/hugepages").map_err(|error| why(&error))?;
    let pools = pools.flatten().map(|pool| {
        let count = line(&pool.path().join("nr_hugepages").to_string_lossy()).unwrap_or_default();
        format!("{count} of {}", pool.file_name().to_string_lossy().trim_start_matches("hugepages-"))
    });
    Ok(Some(pools.collect::<Vec<_>>().join(", ")))
}

fn numa() -> Found {
    readable("/proc/self/numa_maps")
}

fn time_namespace() -> Found {
    let there = Path::new("/proc/self/ns/time").exists();
    if there { Ok(None) } else { Err("/proc/self/ns/time does not exist".into()) }
}

fn userfaultfd() -> Found {
    let features = probe::userfaultfd_features().map_err(errno_text)?;
    for (bit, name) in [(probe::UFFD_WRITE_PROTECT, "write-protection"), (probe::UFFD_WP_ASYNC, "WP_ASYNC")] {
        if features & bit == 0 {
            return Err(format!("it lacks {name}"));
        }
    }
    Ok(None)
}

/// A new mapping is soft-dirty from the beginning, where there is such a thing.
fn soft_dirty() -> Found {
    let smaps = std::fs::read("/proc/self/smaps").map_err(|error| why(&error))?;
    let mappings = rekindle_procfs::smaps::parse(&smaps).map_err(|error| error.to_string())?;
    let any = mappings.iter().any(|entry| entry.vm_flags.has(*b"sd"));
    if any { Ok(None) } else { Err("this kernel does not have it".into()) }
}

/// Documentation/admin-guide/sysctl/kernel.rst: 0 for all, 1 for a group, 2 for none.
fn io_uring() -> Found {
    match line("/proc/sys/kernel/io_uring_disabled").as_deref() {
        None | Some("0") => Ok(None),
        Some(other) => Err(format!("kernel.io_uring_disabled is {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_probed() {
        assert_eq!(probe().len(), TABLE.len());
    }

    #[test]
    fn names_are_unique_and_every_line_says_what_is_lost() {
        let names: std::collections::BTreeSet<_> = TABLE.iter().map(|line| line.1).collect();
        assert_eq!(names.len(), TABLE.len());
        assert!(TABLE.iter().all(|line| !line.2.is_empty() && !line.3.is_empty()));
    }

    #[test]
    fn only_what_is_required_counts() {
        let feature = |present, required| Feature {
            name: "x",
            present,
            required,
            needed_for: "",
            without: "",
            found: None,
        };
        assert!(suffice(&[feature(true, true), feature(false, false)]));
        assert!(!suffice(&[feature(false, true), feature(true, false)]));
    }
}
