//! The parsers against the kernel that runs the tests: every process's files parse, and what one file says agrees with
//! what another says, on a process that holds still.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rekindle_procfs::fdinfo::{LockAccess, LockKind};
use rekindle_procfs::maps::Special;
use rekindle_procfs::{
    Dev, ParseError, State, auxv, cgroup, children, fdinfo, limits, maps, mountinfo, ns, numa_maps, pagemap,
    personality, sched, smaps, stat, status, syscall, timers,
};

use crate::parsers::maps_line;

/// A program that sleeps, under a name of our choice, until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(program: &Path) -> Self {
        loop {
            match Command::new(program).arg0("sleep").arg("600").spawn() {
                Ok(child) => return Self(child).asleep(),
                // a test in another thread forked while the copy was open for writing
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                Err(error) => panic!("{}: {error}", program.display()),
            }
        }
    }

    /// Waits until it is in its system call: before that its mappings still change.
    fn asleep(self) -> Self {
        let (mut last, mut same) = (Vec::new(), 0);
        while same < 5 {
            std::thread::sleep(Duration::from_millis(10));
            let now = [self.read("maps"), self.read("syscall")].concat();
            let still = now == last && self.stat().state == State::Sleeping;
            same = if still { same + 1 } else { 0 };
            last = now;
        }
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.0.id()).into()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    fn stat(&self) -> stat::Stat {
        stat::parse(&self.read("stat")).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap();
    }
}

fn sleeper() -> Sleeper {
    Sleeper::start(Path::new("/bin/sleep"))
}

fn special(mappings: &[maps::Mapping], which: Special) -> Option<&maps::Mapping> {
    mappings.iter().find(|mapping| mapping.special() == Some(which))
}

/// All but the page that is listed and is none of the process's.
fn own(mappings: &[maps::Mapping]) -> impl Iterator<Item = &maps::Mapping> {
    mappings.iter().filter(|mapping| mapping.special() != Some(Special::Vsyscall))
}

#[test]
fn the_accounts_of_memory_agree() {
    let sleeper = sleeper();
    let mappings = maps::parse(&sleeper.read("maps")).unwrap();
    let entries = smaps::parse(&sleeper.read("smaps")).unwrap();
    assert!(mappings.iter().eq(entries.iter().map(|entry| &entry.mapping)));
    for entry in &entries {
        assert_eq!(entry.counters.get(b"Size"), Some(entry.mapping.len() / 1024));
        assert_eq!(entry.vm_flags.has(smaps::flag::RD), entry.mapping.perms.contains(maps::Perms::READ));
        assert_eq!(entry.vm_flags.unknown().count(), 0, "new flags in {entry:?}");
        assert!(entry.rest.is_empty() && entry.kernel_page_kb() == Some(4) && entry.rss_kb().is_some());
    }

    let size: u64 = own(&mappings).map(maps::Mapping::len).sum();
    let status = status::parse(&sleeper.read("status")).unwrap();
    assert_eq!(status.memory.unwrap().size_kb * 1024, size);
    assert_eq!(sleeper.stat().vsize, size);

    if let Ok(text) = fs::read(sleeper.path("numa_maps")) {
        let starts = numa_maps::parse(&text).unwrap();
        assert!(starts.iter().map(|entry| entry.start).eq(own(&mappings).map(|mapping| mapping.start)));
        let file_of = |mapping: &maps::Mapping| mapping.is_file().then(|| mapping.name.clone());
        assert!(starts.iter().map(numa_maps::Entry::file).eq(own(&mappings).map(file_of)));
    }
}

#[test]
fn the_addresses_agree() {
    let sleeper = sleeper();
    let mappings = maps::parse(&sleeper.read("maps")).unwrap();
    let stack = special(&mappings, Special::Stack).unwrap();
    let stat = sleeper.stat();
    assert!(
        stack.contains(stat.startstack) && stack.contains(stat.arg_start) && stack.contains(stat.env_end)
    );
    assert!(mappings.iter().any(|mapping| mapping.contains(stat.startcode) && mapping.is_file()));
    if let Some(heap) = special(&mappings, Special::Heap) {
        assert!(heap.start == stat.start_brk);
    }

    let vector = auxv::parse(&sleeper.read("auxv")).unwrap();
    assert_eq!(vector.last(), Some(&(auxv::AT_NULL, 0)));
    assert_eq!(auxv::get(&vector, auxv::AT_PAGESZ), Some(4096));
    let vdso = special(&mappings, Special::Vdso).map(|mapping| mapping.start);
    assert_eq!(auxv::get(&vector, auxv::AT_SYSINFO_EHDR), vdso);
    assert!(vector.iter().all(|(key, _)| auxv::name(*key).is_some()), "new keys in {vector:?}");

    if let Ok(text) = fs::read(sleeper.path("syscall")) {
        let syscall::Syscall::Blocked { nr, sp, pc, .. } = syscall::parse(&text).unwrap() else {
            panic!("not asleep")
        };
        assert!(nr >= 0 && stack.contains(sp) && mappings.iter().any(|mapping| mapping.contains(pc)));
    }
}

#[test]
fn the_accounts_of_the_task_agree() {
    let sleeper = sleeper();
    let pid = sleeper.0.id() as i32;
    let status = status::parse(&sleeper.read("status")).unwrap();
    let stat = sleeper.stat();
    assert_eq!((status.pid, status.tgid, stat.pid), (pid, pid, pid));
    assert_eq!((status.ppid, stat.ppid), (std::process::id() as i32, std::process::id() as i32));
    assert_eq!((status.state, stat.state), (State::Sleeping, State::Sleeping));
    assert_eq!((status.name.as_slice(), stat.comm.as_slice()), (&b"sleep"[..], &b"sleep"[..]));
    assert_eq!(status.nspgid.first(), Some(&stat.pgrp));
    assert_eq!(status.sig_ign & 0x7fff_ffff, stat.sigignore);
    assert_eq!((stat.num_threads, stat.exit_signal, stat.nice), (1, 17, stat.priority - 20));
    assert!(stat.rest.is_empty());

    let limits = limits::parse(&sleeper.read("limits")).unwrap();
    assert_eq!(
        limits.get(limits::rlimit::SIGPENDING).unwrap().soft,
        limits::Limit::from_raw(status.sig_q.limit)
    );
    assert!(limits.rest.is_empty(), "new limits: {:?}", limits.rest);
    assert!(!cgroup::parse(&sleeper.read("cgroup")).unwrap().is_empty());
}

#[test]
fn a_program_with_every_hard_byte_in_its_name() {
    let dir = std::env::temp_dir().join(format!("rekindle-procfs-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join(OsStr::from_bytes(b") R \xff\n\\ \t(x= (deleted)"));
    fs::copy("/bin/sleep", &program).unwrap();
    let sleeper = Sleeper::start(&program);
    let (path, dev, inode) = {
        let metadata = fs::metadata(&program).unwrap();
        (program.clone().into_os_string().into_vec(), metadata.dev(), metadata.ino())
    };

    let mapping = maps::parse(&sleeper.read("maps")).unwrap().remove(0);
    assert_eq!((&mapping.name, mapping.inode), (&path, inode));
    assert_eq!(mapping.dev, Dev::from_st_dev(dev));
    let comm = b") R \xff\n\\ \t(x= (d";
    assert_eq!(sleeper.stat().comm, comm);
    assert_eq!(status::parse(&sleeper.read("status")).unwrap().name, comm);
    if let Ok(text) = fs::read(sleeper.path("numa_maps")) {
        assert_eq!(numa_maps::parse(&text).unwrap()[0].file(), Some(path.clone()));
    }

    fs::remove_dir_all(&dir).unwrap();
    let mapping = maps::parse(&sleeper.read("maps")).unwrap().remove(0);
    assert_eq!(mapping.deleted(), Some(path.as_slice()));
}

#[test]
fn a_descriptor_with_a_lock() {
    let path = std::env::temp_dir().join(format!("rekindle-procfs-lock-{}", std::process::id()));
    let file = File::create(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.lock().unwrap();
    file.set_len(10).unwrap();
    let info = fdinfo::parse(&fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap()).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((info.pos, info.flags & 0o3), (0, 1)); // O_WRONLY
    assert!(info.ino.is_none_or(|ino| ino == metadata.ino()));
    let [lock] = info.locks.as_slice() else { panic!("{info:?}") };
    assert_eq!(
        (&lock.kind, &lock.access, lock.mode.as_slice()),
        (&LockKind::Flock, &LockAccess::Write, &b"ADVISORY"[..])
    );
    assert_eq!((lock.inode, lock.start, lock.end), (metadata.ino(), 0, None));
    let mounts = mountinfo::parse(&fs::read("/proc/self/mountinfo").unwrap()).unwrap();
    assert!(mounts.iter().any(|mount| mount.id == info.mnt_id));
    assert!(mounts.iter().any(|mount| mount.mount_point == b"/"));
}

#[test]
fn a_page_of_our_own() {
    let page = vec![1_u8; 4096];
    let mut word = [0; 8];
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    pagemap.read_exact_at(&mut word, page.as_ptr() as u64 / 4096 * 8).unwrap();
    let entry = pagemap::entries(&word).next().unwrap();
    assert!(entry.present() && entry.exclusive() && !entry.file_or_shared() && !entry.swapped());
    assert!(page.iter().all(|byte| *byte == 1));
}

/// Reads and parses, and complains only if a second look, at a process that is still there, fails too: a process may
/// end while its file is being read.
fn check<T>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, ParseError>) {
    for last_look in [false, true] {
        let Ok(text) = fs::read(path) else { return }; // gone, or not ours to read
        match parse(&text) {
            Ok(_) => return,
            Err(error) if last_look && path.exists() => {
                panic!("{}: {error}\n{}", path.display(), text.escape_ascii())
            }
            Err(_) => {}
        }
    }
}

/// The file, unless it is empty: a zombie's, or a kernel thread's.
fn unless_empty<T>(
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
) -> impl Fn(&[u8]) -> Result<(), ParseError> {
    move |text| if text.is_empty() { Ok(()) } else { parse(text).map(drop) }
}

fn maps_and_back(text: &[u8]) -> Result<(), ParseError> {
    let mappings = maps::parse(text)?;
    let again: Vec<u8> =
        mappings.iter().flat_map(|mapping| [maps_line(mapping), b"\n".to_vec()].concat()).collect();
    assert_eq!(again.escape_ascii().to_string(), text.escape_ascii().to_string());
    Ok(())
}

fn numbered(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.file_name().is_some_and(|name| name.as_bytes()[0].is_ascii_digit())).collect()
}

fn check_task(task: &Path) {
    check(&task.join("status"), status::parse);
    check(&task.join("stat"), stat::parse);
    check(&task.join("limits"), limits::parse);
    check(&task.join("cgroup"), cgroup::parse);
    check(&task.join("personality"), personality::parse);
    check(&task.join("syscall"), unless_empty(syscall::parse));
    check(&task.join("children"), children::parse);
    let no_start = || ParseError { file: "sched", what: "no se.exec_start".to_owned(), line: 0 };
    check(&task.join("sched"), unless_empty(|text| sched::exec_start_ns(text).ok_or_else(no_start)));
}

#[test]
fn every_process_on_this_machine() {
    let processes = numbered(Path::new("/proc"));
    assert!(!processes.is_empty());
    for process in processes {
        check_task(&process);
        numbered(&process.join("task")).iter().for_each(|task| check_task(task));
        check(&process.join("maps"), maps_and_back);
        check(&process.join("smaps"), smaps::parse);
        check(&process.join("numa_maps"), numa_maps::parse);
        check(&process.join("mountinfo"), mountinfo::parse);
        check(&process.join("auxv"), auxv::parse);
        check(&process.join("timers"), timers::parse);
        numbered(&process.join("fdinfo")).iter().for_each(|fd| check(fd, fdinfo::parse));
        for link in fs::read_dir(process.join("ns")).into_iter().flatten().flatten() {
            let Ok(text) = fs::read_link(link.path()) else { continue };
            ns::parse(text.as_os_str().as_bytes()).unwrap();
        }
    }
}
