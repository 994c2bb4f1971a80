//! The first steps of a borrowed thread: from its own registers to memory that it shares with us.

use crate::Result;
use crate::borrowed::Borrowed;
use crate::cave::Cave;
use crate::error::call;
use crate::steps::{step_to_syscall_stop, wait_for_stop};
use rekindle_sys::arch::{Regs, StubEntry};
use rekindle_sys::shared::SharedArea;
use rekindle_sys::{Errno, nr, ptrace};
use std::fs::File;

/// Length of the area shared with the host, in bytes.
pub(crate) const AREA_LEN: usize = 256 * 1024;
/// Signals are all blocked in the stub, but for the two that cannot be.
pub(crate) const ALL_SIGNALS: u64 = !0;

/// Runs the host through `boot` and stops it before it would undo that. Gives the shared area, its address in the
/// process, and the descriptor that is still open to it, if there is one.
pub(crate) fn boot(
    host: &Borrowed,
    cave: &Cave,
    frame_at: u64,
    held: &mut Vec<i32>,
) -> Result<(SharedArea, u64, Option<i32>)> {
    let tid = host.task.tid();
    let by_mapping = may_open_map_files();
    let preset = if by_mapping { preset_mmap(cave, host.regs) } else { preset_memfd(cave, host.regs) };
    let mut regs = Regs { rsp: frame_at + 8, r15: AREA_LEN as u64, orig_rax: u64::MAX, ..preset };
    host.task.set_regs(&regs)?;
    host.task.set_sigmask(ALL_SIGNALS)?;
    let undo = if by_mapping { nr::MUNMAP } else { nr::CLOSE };
    while regs.orig_rax != u64::from(undo) {
        step_to_syscall_stop(tid, held)?;
        regs = host.task.regs()?;
    }
    let shared = if by_mapping {
        share_mapping(tid, regs.r14).map(|area| (area, regs.r14, None))
    } else {
        let fd = regs.r14 as i64 as i32;
        share_memfd(tid, regs.rbx, fd).map(|area| (area, regs.rbx, Some(fd)))
    };
    if shared.is_err() {
        // Let it undo what it did: to the exit from munmap.
        while regs.orig_rax != u64::from(nr::MUNMAP) {
            step_to_syscall_stop(tid, held)?;
            regs = host.task.regs()?;
        }
        step_to_syscall_stop(tid, held)?;
        call(tid, "PTRACE_INTERRUPT", ptrace::interrupt(tid))?;
        call(tid, "PTRACE_CONT", ptrace::cont(tid, 0))?;
        wait_for_stop(tid, held)?;
    }
    // Stopped at the entry into the call that would undo it: setting the registers skips that call.
    shared
}

/// `mmap(NULL, AREA_LEN, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0)`
fn preset_mmap(cave: &Cave, before: Regs) -> Regs {
    Regs {
        rip: cave.entry(StubEntry::Boot),
        rax: u64::from(nr::MMAP),
        rdi: 0,
        rsi: AREA_LEN as u64,
        rdx: 3,
        r10: 0x21,
        r8: u64::MAX,
        r9: 0,
        ..before
    }
}

/// `memfd_create(name, MFD_CLOEXEC)`
fn preset_memfd(cave: &Cave, before: Regs) -> Regs {
    Regs {
        rip: cave.entry(StubEntry::BootMemfd),
        rax: u64::from(nr::MEMFD_CREATE),
        rdi: cave.name_address(),
        rsi: 1,
        ..before
    }
}

/// Whether we may open what is behind a mapping (`CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`). Then the shared area
/// needs no descriptor in the process, which may have none left, and no `ftruncate`, which its limit on the size of
/// files may forbid.
fn may_open_map_files() -> bool {
    let own = std::fs::read_dir("/proc/self/map_files").ok().and_then(|mut dir| dir.next()?.ok());
    own.is_some_and(|entry| match File::open(entry.path()) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() != Some(Errno::PERM.raw_os_error()),
    })
}

fn failed_call(value: u64) -> Errno {
    Errno::from_raw_os_error(-(value as i64) as i32)
}

/// Maps the process's new shared mapping here too.
fn share_mapping(tid: i32, remote: u64) -> Result<SharedArea> {
    if crate::batch::is_error(remote) {
        return call(tid, "mapping shared memory in it", Err(failed_call(remote)));
    }
    let path = format!("/proc/{tid}/map_files/{remote:x}-{:x}", remote + AREA_LEN as u64);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let file = call(tid, "opening its shared memory", file)?;
    call(tid, "mapping its shared memory", SharedArea::map(&file, AREA_LEN))
}

/// Maps the process's new memory file here too.
fn share_memfd(tid: i32, remote: u64, fd: i32) -> Result<SharedArea> {
    if fd < 0 {
        return call(tid, "creating shared memory in it", Err(failed_call(i64::from(fd) as u64)));
    }
    if crate::batch::is_error(remote) {
        return call(tid, "mapping shared memory in it", Err(failed_call(remote)));
    }
    let file = (|| {
        let pid = rustix::process::Pid::from_raw(tid).ok_or(Errno::SRCH)?;
        // A pidfd of a thread needs Linux 6.9; the leader's serves as well, as threads share their descriptors.
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).or_else(|_| {
            rustix::process::pidfd_open(leader_of(tid)?, rustix::process::PidfdFlags::empty())
        })?;
        rustix::process::pidfd_getfd(&pidfd, fd, rustix::process::PidfdGetfdFlags::empty())
    })();
    let file = File::from(call(tid, "fetching its shared memory", file)?);
    call(tid, "mapping its shared memory", SharedArea::map(&file, AREA_LEN))
}

fn leader_of(tid: i32) -> rekindle_sys::Result<rustix::process::Pid> {
    let bytes = std::fs::read(format!("/proc/{tid}/status")).map_err(|_| Errno::SRCH)?;
    let status = rekindle_procfs::status::parse(&bytes).map_err(|_| Errno::SRCH)?;
    rustix::process::Pid::from_raw(status.tgid).ok_or(Errno::SRCH)
}
