//! Files and directories of the kernel's own: of /proc, of /sys, of cgroups. What is in them is the kernel's view of
//! something, and is there again when they are opened again.
//!
//! Those of a process are kept if it is one of the tree. They are opened when all processes are there, but before threads
//! are. Those of a process that has ended come back as those of another one that has: there is nothing to be read from
//! either. (Their links name the other.)

use super::restore::{Finishing, Opening};
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey, open_file, reopen_flags};
use crate::error::Error;
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// See the module's story.
pub(super) struct KernelFile;

/// The file systems (include/uapi/linux/magic.h): proc, sysfs, and both kinds of cgroups.
const KEPT: [i64; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
/// Where they are.
const PLACES: [&[u8]; 2] = [b"/proc/", b"/sys/"];

impl FdKind for KernelFile {
    fn name(&self) -> &'static str {
        "kernel-file"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        let is_one = matches!(fd.file_type(), libc::S_IFREG | libc::S_IFDIR)
            && PLACES.iter().any(|place| fd.link.starts_with(place));
        if !is_one {
            return Claim::NotMine;
        }
        let very_file = format!("/proc/{}/fd/{}", cx.view.pid, fd.fd);
        let system = rustix::fs::statfs(very_file).map(|system| system.f_type);
        if !system.is_ok_and(|system| KEPT.contains(&system)) {
            return Claim::NotMine;
        }
        if is_of_dead(fd) {
            return claim_of_dead(&fd.link);
        }
        if fd.link.ends_with(DELETED) {
            return Claim::Refused(
                "pseudo-file",
                "it is about something that is no more",
                "let the program close it",
            );
        }
        if fd.link.ends_with(b".pressure") || fd.link.starts_with(b"/proc/pressure/") {
            let writes = fd.info.flags & o::ACCMODE != 0;
            if writes {
                return Claim::Refused("pseudo-file", "a trigger for pressure may be set in it", "");
            }
        }
        match whose(&fd.link) {
            Whose::Nobodys => Claim::Mine,
            Whose::Process(pid) if cx.tree.processes.iter().any(|view| view.pid == pid) => Claim::Mine,
            Whose::Process(_) => Claim::Refused(
                "pseudo-file",
                "it is about a process that is no part of the tree",
                "let the program close it first",
            ),
            Whose::Thread => {
                Claim::Refused("pseudo-file", "files about single threads cannot be captured yet", "")
            }
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let very_file = PathBuf::from(format!("/proc/{}/fd/{}", cx.view.pid, fd.fd));
        let name = fd.link.strip_suffix(DELETED).unwrap_or(&fd.link);
        // No file of a process that is alive has this name.
        let path = if is_of_dead(fd) { &[name, DELETED].concat() } else { &fd.link };
        record.file = cx.files.id_of_kernel_file(path, &very_file)?;
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        let is_one = cx.files.get(record.file).is_some_and(|file| {
            let kind = file.mode & libc::S_IFMT;
            file.of_kernel
                && matches!(kind, libc::S_IFREG | libc::S_IFDIR)
                && PLACES.iter().any(|place| file.path.starts_with(place))
        });
        let path = cx.files.path(record.file);
        let is_sane = !path.ends_with(DELETED) || file_of_dead(path).is_some();
        if is_one && is_sane { Ok(()) } else { Err("it is no file of the kernel's".into()) }
    }

    fn fits(&self, record: &Description) -> Result<(), String> {
        let path = Path::new(std::ffi::OsStr::from_bytes(&record.link));
        if whose(&record.link) == Whose::Nobodys && !path.exists() {
            return Err(format!("{} is not there on this machine", path.display()));
        }
        Ok(())
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(name) = file_of_dead(cx.files.path(record.file)) else {
            return Opened::Step(open_file(record, cx.files, reopen_flags(record.flags), batch));
        };
        let path = [format!("/proc/{}", cx.corpse()).as_bytes(), name].concat();
        let name = batch.c_string(&path);
        let args = [libc::AT_FDCWD.into(), name.into(), reopen_flags(record.flags).into(), 0.into()];
        Opened::Step(batch.step("opening a file about a process that has ended", nr::OPENAT, args))
    }

    fn last(&self, record: &Description, cx: &Finishing<'_>, batch: &mut Batch) {
        // What will be read from there is put together when it is sought (fs/seq_file.c): not before it is true again. Not all
        // of them can be sought in.
        if record.flags & o::PATH == 0 && record.pos != 0 {
            let args = [cx.number.into(), record.pos.into(), libc::SEEK_SET.into()];
            if file_of_dead(&record.link).is_some() {
                batch.step_may_fail("lseek in a file about a process that has ended", nr::LSEEK, args);
            } else {
                batch.step("lseek in a file of the kernel's", nr::LSEEK, args);
            }
        }
    }
}

/// How the name of something that is no more ends in /proc/PID/fd, and here that of a file about a process that has ended.
const DELETED: &[u8] = b" (deleted)";

/// Files that every process has, also one that has ended and was not waited for yet.
const LASTING: &[&[u8]] = &[
    b"",
    b"/status",
    b"/stat",
    b"/statm",
    b"/cmdline",
    b"/comm",
    b"/limits",
    b"/cgroup",
    b"/io",
    b"/sched",
    b"/schedstat",
    b"/oom_score",
    b"/oom_score_adj",
    b"/wchan",
    b"/fd",
    b"/fdinfo",
    b"/task",
    b"/ns",
];

/// Whether a file is about a process that has ended. Its pid may be another's by now, and so its name: but as long as somebody has
/// a file about a process open, its name leads to that very file (fs/proc/base.c: `pid_revalidate`).
fn is_of_dead(fd: &FdView) -> bool {
    let name = fd.link.strip_suffix(DELETED).unwrap_or(&fd.link);
    let found = std::fs::symlink_metadata(Path::new(std::ffi::OsStr::from_bytes(name)));
    whose(name) != Whose::Nobodys && !found.is_ok_and(|found| (found.ino(), found.dev()) == (fd.ino, fd.dev))
}

fn claim_of_dead(link: &[u8]) -> Claim {
    let name = link.strip_suffix(DELETED).unwrap_or(link);
    match file_of_dead(&[name, DELETED].concat()) {
        Some(_) => Claim::Mine,
        None => Claim::Refused(
            "pseudo-file",
            "it is about a process or thread that has ended",
            "let the program close it",
        ),
    }
}

/// `/status` for `/proc/4711/status (deleted)`, if it is one that every process has.
fn file_of_dead(path: &[u8]) -> Option<&'static [u8]> {
    let name = path.strip_suffix(DELETED)?.strip_prefix(b"/proc/")?;
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    LASTING.iter().find(|known| digits > 0 && name.get(digits..) == Some(known)).copied()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Nobodys,
    Process(i32),
    Thread,
}

/// Whom a file of the kernel's is about.
fn whose(path: &[u8]) -> Whose {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let mut names = path.split(|byte| *byte == b'/').skip(1);
    let number = |name: Option<&[u8]>| name.and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
    if names.next() != Some(b"proc") {
        return Whose::Nobodys;
    }
    let Some(pid) = number(names.next()) else { return Whose::Nobodys };
    let is_thread = names.next() == Some(b"task") && number(names.next()).is_some_and(|tid: i32| tid != pid);
    if is_thread { Whose::Thread } else { Whose::Process(pid) }
}

#[cfg(test)]
mod tests {
    use super::{Whose, file_of_dead, whose};

    #[test]
    fn what_is_left_of_processes() {
        assert_eq!(file_of_dead(b"/proc/12/status (deleted)"), Some(&b"/status"[..]));
        assert_eq!(file_of_dead(b"/proc/12 (deleted)"), Some(&b""[..]));
        assert_eq!(file_of_dead(b"/proc/12/status"), None);
        assert_eq!(file_of_dead(b"/proc/12/mem (deleted)"), None);
        assert_eq!(file_of_dead(b"/proc/../etc/status (deleted)"), None);
    }

    #[test]
    fn whom_files_of_proc_are_about() {
        assert_eq!(whose(b"/proc/meminfo"), Whose::Nobodys);
        assert_eq!(whose(b"/sys/12/x"), Whose::Nobodys);
        assert_eq!(whose(b"/proc/12"), Whose::Process(12));
        assert_eq!(whose(b"/proc/12 (deleted)"), Whose::Process(12));
        assert_eq!(whose(b"/proc/12/task/12/comm"), Whose::Process(12));
        assert_eq!(whose(b"/proc/12/task/13/comm"), Whose::Thread);
    }
}
