//! What /proc tells of each thread, read from /proc/PID/task with short paths, as a process can have thousands.

use super::ThreadView;
use crate::error::Error;
use rekindle_procfs as procfs;
use rekindle_sys::Errno;
use rekindle_sys::fs::{open_directory, read_whole};
use rustix::fs::{CWD, readlinkat_raw};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The namespaces that threads of one process can differ in. All have the same user and time namespace, as no process
/// with several threads can enter another one (setns(2)), and the same directories, as kcmp(2) tells, are in the same
/// mount namespace.
pub(crate) const THREAD_NAMESPACES: [&str; 4] = ["net", "ipc", "uts", "cgroup"];

/// What a link to a namespace says: `net:[4026531840]`, cut after 32 bytes. All zeros: there was no such link to be read.
pub(crate) type Namespace = [u8; 32];

/// Threads that one of ours is worth starting for.
const THREADS_PER_READER: usize = 128;

/// Reads all of them, in order of tid. A thread that goes away meanwhile is left out.
pub(super) fn read(pid: i32) -> Result<Vec<ThreadView>, Error> {
    let mut tids = rekindle_tracee::freeze::thread_ids(pid).map_err(|_| Error::NoSuchProcess { pid })?;
    tids.sort_unstable();
    let dir = open_directory(CWD, &format!("/proc/{pid}/task")).map_err(|_| Error::NoSuchProcess { pid })?;
    let readers = tids.len().div_ceil(THREADS_PER_READER).min(crate::parallel::processors());
    let parts = tids.chunks(tids.len().div_ceil(readers.max(1)).max(1));
    let mut views = Vec::with_capacity(tids.len());
    std::thread::scope(|scope| {
        let mut parts = parts.map(|part| (part, &dir));
        let own = parts.next();
        let others: Vec<_> =
            parts.map(|(part, dir)| scope.spawn(move || read_part(pid, dir, part))).collect();
        if let Some((part, dir)) = own {
            views.extend(read_part(pid, dir, part)?);
        }
        for other in others {
            views.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(views)
    })
}

fn read_part(pid: i32, dir: &OwnedFd, tids: &[i32]) -> Result<Vec<ThreadView>, Error> {
    let mut views = Vec::with_capacity(tids.len());
    let mut bytes = Vec::new();
    for tid in tids {
        match read_whole(dir.as_fd(), &format!("{tid}/status"), &mut bytes) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::SRCH) => continue,
            Err(errno) => {
                let why = rekindle_sys::errno_text(errno);
                return Err(Error::proc(pid, format!("task/{tid}/status"), why));
            }
        }
        let status = procfs::status::parse(&bytes);
        let status = status.map_err(|error| Error::proc(pid, format!("task/{tid}/status"), error))?;
        if status.name.starts_with(b"iou-") && rekindle_tracee::freeze::is_worker(pid, *tid) {
            continue; // the kernel's own
        }
        views.push(ThreadView { tid: *tid, status, namespaces: namespaces(dir.as_fd(), *tid) });
    }
    Ok(views)
}

fn namespaces(dir: BorrowedFd<'_>, tid: i32) -> [Namespace; THREAD_NAMESPACES.len()] {
    let mut found = [Namespace::default(); THREAD_NAMESPACES.len()];
    if let Ok(ns) = open_directory(dir, &format!("{tid}/ns")) {
        for (name, link) in THREAD_NAMESPACES.iter().zip(&mut found) {
            let _ = readlinkat_raw(&ns, *name, link.as_mut_slice()); // a kernel without that kind has no such link
        }
    }
    found
}
