//! All that /proc tells about a process, as named values: what the law compares.
//!
//! ```text
//!   status/VmSize                      "5424 kB"             a line of /proc/PID/status
//!   stat/policy                        "0"                   a field of /proc/PID/stat, by its name in proc(5)
//!   maps/7f12a000-7f12c000             "rw-p 0 00:00 0 | VmFlags: rd wr mr mw me ac | policy default"
//!   code/7f12e000-7f130000             "8192 bytes, xxh3 ..."  contents of memory that holds code: nobody may patch it
//!   fd/3/link, fd/3/pos, fd/3/fd_flags ...                   links and fdinfo
//!   task/TID/status/SigBlk             "0000000000000000"    the same for each thread
//!   process/PID/...                                          the same for each descendant
//!   process/PID/fd/3/is                "10/3"                the first descriptor of the same description, PID/N
//!   process/PID/shares/vm              "10"                  the first process with the same memory; files, fs...
//! ```
//!
//! Of a descendant that has ended, and that its parent has not taken notice of, there is little left to compare.
//!
//! Three things are put in a form that can be compared, and nothing else is:
//!  - Neighbouring mappings alike in everything are written as one: whether the kernel has merged them depends on the order
//!    in which they were made (anon_vma, mm/vma.c), not on what they are.
//!  - The inode of memory without a file (shared anonymous memory, memfd, huge pages) and of a pipe is a serial number of the
//!    kernel. It is written as the order of first appearance, so that who shares with whom is still compared.
//!  - A deleted file has no name, and gets another number when it is made again: it is written as the order of first
//!    appearance, too.
//!  - A pipe or terminal that is a standard stream is written as "standard stream N" wherever it occurs: it leads outside,
//!    and after a restore it is the restorer's.
//!
//! All processes are looked at together, so that who shares what with whom is compared across them.
//!
//! A file that cannot be read is compared as the error it gives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rekindle_sys::task::{Kcmp, kcmp};
use rustix::process::Pid;

use crate::family::descendants;
use crate::trial::Verdict;

/// Names of the fields of /proc/PID/stat from the third on: proc_pid_stat(5).
const STAT: &[&str] = &[
    "state",
    "ppid",
    "pgrp",
    "session",
    "tty_nr",
    "tpgid",
    "flags",
    "minflt",
    "cminflt",
    "majflt",
    "cmajflt",
    "utime",
    "stime",
    "cutime",
    "cstime",
    "priority",
    "nice",
    "num_threads",
    "itrealvalue",
    "starttime",
    "vsize",
    "rss",
    "rsslim",
    "startcode",
    "endcode",
    "startstack",
    "kstkesp",
    "kstkeip",
    "signal",
    "blocked",
    "sigignore",
    "sigcatch",
    "wchan",
    "nswap",
    "cnswap",
    "exit_signal",
    "processor",
    "rt_priority",
    "policy",
    "delayacct_blkio_ticks",
    "guest_time",
    "cguest_time",
    "start_data",
    "end_data",
    "start_brk",
    "arg_start",
    "arg_end",
    "env_start",
    "env_end",
    "exit_code",
];

/// Files that are compared byte for byte.
const WHOLE: &[&str] = &[
    "comm",
    "cmdline",
    "environ",
    "auxv",
    "personality",
    "coredump_filter",
    "timerslack_ns",
    "oom_score_adj",
    "loginuid",
    "sessionid",
    "cgroup",
    "cpuset",
    "timers",
    "setgroups",
    "uid_map",
    "gid_map",
    "attr/current",
];

/// Symbolic links.
const LINKS: &[&str] = &[
    "exe",
    "cwd",
    "root",
    "ns/cgroup",
    "ns/ipc",
    "ns/mnt",
    "ns/net",
    "ns/pid",
    "ns/pid_for_children",
    "ns/time",
    "ns/time_for_children",
    "ns/user",
    "ns/uts",
];

/// Lines of smaps that are facts about the mapping and not about the pages it happens to have at the moment.
const SMAPS: &[&str] = &["KernelPageSize", "MMUPageSize", "THPeligible", "ProtectionKey", "VmFlags"];

/// Named values, in order.
#[derive(Debug, Clone)]
pub struct Snapshot(BTreeMap<String, String>);

/// What a process that has ended still has: fields of its stat.
const OF_THE_DEAD: &[&str] =
    &["state", "ppid", "pgrp", "session", "tty_nr", "tpgid", "exit_signal", "exit_code", "num_threads"];

/// What processes can have in common besides descriptors: kcmp(2).
const SHARED: [(&str, Kcmp); 4] =
    [("vm", Kcmp::Vm), ("files", Kcmp::Files), ("fs", Kcmp::Fs), ("sighand", Kcmp::Sighand)];

impl Snapshot {
    /// Looks at a process and its descendants, which should stand still meanwhile.
    pub fn of(root: Pid) -> Verdict<Self> {
        let mut values = Values::default();
        values.process(root, "", root)?;
        let mut all = vec![root];
        let mut descendants = descendants(root);
        descendants.sort_by_key(|pid| pid.as_raw_pid());
        for pid in descendants {
            let prefix = format!("process/{}/", pid.as_raw_pid());
            let path = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
            let comm = bytes(&path.join("comm"));
            let mut stat = Values::default();
            stat.stat("stat", &path.join("stat"));
            if is_dead(&stat) {
                values.put(format!("{prefix}comm"), comm);
                for name in OF_THE_DEAD {
                    let value = stat.named.remove(&format!("stat/{name}")).unwrap_or_default();
                    values.put(format!("{prefix}stat/{name}"), value);
                }
            } else {
                values.process(pid, &prefix, root)?;
                all.push(pid);
            }
        }
        values.shared(&all);
        Ok(Self(values.named))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every name in either of the two whose value is not the same in both: name, value here, value there.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let mut names: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        names.sort();
        names.dedup();
        let value =
            |from: &Self, name: &String| from.0.get(name).cloned().unwrap_or_else(|| "(nothing)".to_owned());
        let all = names.into_iter().map(|name| (name.clone(), value(self, name), value(other, name)));
        all.filter(|(_, here, there)| here != there).collect()
    }
}

/// Serial numbers of the kernel, by the order in which they appeared.
#[derive(Debug, Default)]
struct Serials(Vec<String>);

impl Serials {
    fn order(&mut self, serial: &str) -> usize {
        let known = self.0.iter().position(|known| known == serial);
        known.unwrap_or_else(|| {
            self.0.push(serial.to_owned());
            self.0.len() - 1
        })
    }
}

#[derive(Default)]
struct Values {
    named: BTreeMap<String, String>,
    /// Serial numbers of objects of memory, pipes and sockets, of all processes.
    objects: Serials,
    pipes: Serials,
    sockets: Serials,
    deleted: Serials,
    /// One descriptor of each description met so far, as process and number, by what it leads to.
    descriptions: BTreeMap<String, Vec<(i32, u32)>>,
}

fn is_dead(stat: &Values) -> bool {
    let field = |name: &str| stat.named.get(name).map_or("", String::as_str);
    field("stat/state") == "Z" && field("stat/num_threads") == "1"
}

impl Values {
    fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.named.insert(name.into(), value.into());
    }

    /// All of a process; the tree's root has the streams that lead outside.
    fn process(&mut self, pid: Pid, prefix: &str, root: Pid) -> Verdict {
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
        for name in WHOLE {
            self.put(format!("{prefix}{name}"), bytes(&process.join(name)));
        }
        for name in LINKS {
            let target = link(&process.join(name));
            let target = if is_deleted(&target) { "deleted file".to_owned() } else { target };
            self.put(format!("{prefix}{name}"), target);
        }
        self.lines(&format!("{prefix}limits"), &process.join("limits"), limit_name);
        self.lines(&format!("{prefix}status"), &process.join("status"), |line| line.split_once(':'));
        self.stat(&format!("{prefix}stat"), &process.join("stat"));
        self.mappings(prefix, &process);
        self.descriptors(prefix, pid, root);
        for task in fs::read_dir(process.join("task"))? {
            let task = task?;
            // The kernel's own, which works for a ring of io_uring.
            if bytes_raw(&task.path().join("comm")).starts_with(b"iou-") {
                continue;
            }
            self.task(&format!("{prefix}task"), &task.file_name().to_string_lossy(), &task.path());
        }
        Ok(())
    }

    /// With whom each process shares what it might have of its own: the first that has the same.
    fn shared(&mut self, pids: &[Pid]) {
        for (name, what) in SHARED {
            let mut met: Vec<i32> = Vec::new();
            for pid in pids.iter().map(|pid| pid.as_raw_pid()) {
                let same = |other: &&i32| kcmp(**other, pid, what, 0, 0).is_ok_and(|order| order.is_eq());
                let first = met.iter().find(same).copied().unwrap_or_else(|| {
                    met.push(pid);
                    pid
                });
                self.put(format!("process/{pid}/shares/{name}"), first.to_string());
            }
        }
    }

    /// The first descriptor met that is of the same description.
    fn description(&mut self, pid: i32, fd: u32, target: &str) -> String {
        let met = self.descriptions.entry(target.to_owned()).or_default();
        let same = |(other, number): &&(i32, u32)| {
            kcmp(*other, pid, Kcmp::File, u64::from(*number), u64::from(fd)).is_ok_and(|order| order.is_eq())
        };
        let first = met.iter().find(same).copied().unwrap_or_else(|| {
            met.push((pid, fd));
            (pid, fd)
        });
        format!("{}/{}", first.0, first.1)
    }

    /// One value for each line of a file, named by `split`.
    fn lines(&mut self, prefix: &str, path: &Path, split: impl Fn(&str) -> Option<(&str, &str)>) {
        let text = bytes_raw(path);
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some((name, value)) = split(line) {
                self.put(format!("{prefix}/{}", name.trim()), value.trim());
            }
        }
    }

    /// The name in parentheses may hold anything, parentheses too: the fields follow the last one.
    fn stat(&mut self, prefix: &str, path: &Path) {
        let text = bytes(path);
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        for (name, value) in STAT.iter().zip(fields.split_ascii_whitespace()) {
            self.put(format!("{prefix}/{name}"), value);
        }
    }

    fn mappings(&mut self, prefix: &str, process: &Path) {
        let memory = File::open(process.join("mem"));
        for mapping in merged(read_mappings(process, &mut self.objects)) {
            let range = format!("{:012x}-{:012x}", mapping.start, mapping.end);
            if let (Ok(memory), true) = (&memory, mapping.is_code()) {
                self.put(format!("{prefix}code/{range}"), mapping.digest(memory));
            }
            self.put(format!("{prefix}maps/{range}"), mapping.facts(mapping.offset));
        }
    }

    fn descriptors(&mut self, prefix: &str, pid: Pid, root: Pid) {
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
        let outside = ["0", "1", "2"]
            .map(|fd| (fd, link(&PathBuf::from(format!("/proc/{}/fd/{fd}", root.as_raw_pid())))));
        let inode = |fd: &str| {
            fs::metadata(process.join("fd").join(fd))
                .map_or_else(|_| String::new(), |meta| meta.ino().to_string())
        };
        let is_nowhere = |fd: &str, target: &str| {
            let is_file =
                fs::metadata(process.join("fd").join(fd)).is_ok_and(|meta| meta.is_file() || meta.is_dir());
            is_file && (is_deleted(target) || target.starts_with("/memfd:"))
        };
        for number in numbers(&process.join("fd")) {
            let fd = number.to_string();
            let target = link(&process.join("fd").join(&fd));
            let leads_out = target.starts_with("pipe:") || target.starts_with("/dev/pts/");
            let stream = outside.iter().find(|(_, stream)| leads_out && *stream == target);
            self.fdinfo(&format!("{prefix}fd/{fd}"), &process.join("fdinfo").join(&fd));
            let comparable = match stream {
                Some((stream, _)) => Some(format!("standard stream {stream}")),
                None if target.starts_with("pipe:") => Some(format!("pipe {}", self.pipes.order(&target))),
                None if is_nowhere(&fd, &target) => {
                    Some(format!("deleted file {}", self.deleted.order(&inode(&fd))))
                }
                // A FIFO without a name is made again, on the same file system; files of /proc are numbered as they are found.
                None if target.ends_with(" (deleted)") || target.starts_with("/proc/") => {
                    Some(target.clone())
                }
                None if target.starts_with("socket:") => {
                    Some(format!("socket {}", self.sockets.order(&target)))
                }
                None => None,
            };
            if is_nowhere(&fd, &target)
                && let Some(lock) = self.named.get_mut(&format!("{prefix}fd/{fd}/lock"))
            {
                // "1: FLOCK  ADVISORY  WRITE 12135 fe:00:10035973 0 EOF"
                *lock = lock
                    .split(' ')
                    .filter(|word| word.matches(':').count() < 2)
                    .collect::<Vec<_>>()
                    .join(" ");
            }
            if let Some(name) = &comparable {
                self.put(format!("{prefix}fd/{fd}/ino"), name);
            }
            if target == RING {
                let ring = format!("object {}", self.objects.order(&inode(&fd)));
                self.put(format!("{prefix}fd/{fd}/ino"), ring);
            }
            if target == "anon_inode:[pidfd]" {
                self.put(format!("{prefix}fd/{fd}/ino"), "that of a process");
            }
            let description = self.description(pid.as_raw_pid(), number, &target);
            self.put(format!("{prefix}fd/{fd}/is"), description);
            self.put(format!("{prefix}fd/{fd}/link"), comparable.unwrap_or(target));
        }
    }

    /// What the kernel numbers as it likes, and how far a timer is (a subject checks that), is left out.
    fn fdinfo(&mut self, prefix: &str, path: &Path) {
        let text = bytes_raw(path);
        let mut targets = Vec::new();
        for (name, value) in String::from_utf8_lossy(&text).lines().filter_map(|line| line.split_once(':')) {
            let value = match (name.trim(), value.trim()) {
                ("eventfd-id" | "it_value", _) => continue,
                // Of the thread that submits to a ring.
                ("SqThread" | "SqThreadCpu" | "SqTotalTime" | "SqWorkTime", _) => continue,
                // A periodic timer counts when it is asked.
                ("ticks", ticks) => if ticks == "0" { "none" } else { "some" }.to_owned(),
                // In the order of addresses in the kernel; the inode is the last but one.
                ("tfd", target) => {
                    let (events_and_data, _) = target.split_once("pos:").unwrap_or((target, ""));
                    targets.push(events_and_data.split_whitespace().collect::<Vec<_>>().join(" "));
                    continue;
                }
                // In the order in which they were added, the latest first.
                ("inotify wd", watch) => {
                    targets.push(watch.to_owned());
                    continue;
                }
                (_, value) => value.to_owned(),
            };
            self.put(format!("{prefix}/{}", name.trim()), value);
        }
        targets.sort();
        if !targets.is_empty() {
            self.put(format!("{prefix}/targets"), targets.join(", "));
        }
    }

    fn task(&mut self, prefix: &str, tid: &str, task: &Path) {
        self.put(format!("{prefix}/{tid}/comm"), bytes(&task.join("comm")));
        self.put(
            format!("{prefix}/{tid}/timerslack_ns"),
            bytes(&Path::new("/proc").join(tid).join("timerslack_ns")),
        );
        self.lines(&format!("{prefix}/{tid}/status"), &task.join("status"), |line| line.split_once(':'));
        self.stat(&format!("{prefix}/{tid}/stat"), &task.join("stat"));
        // "NUMBER ARGUMENT*6 SP PC" in a system call, "running" or "-1 SP PC" out of one
        let call = bytes(&task.join("syscall"));
        let words: Vec<_> = call.split_ascii_whitespace().collect();
        if let [call @ .., sp, pc] = words.as_slice() {
            self.put(format!("{prefix}/{tid}/syscall/call"), call.join(" "));
            self.put(format!("{prefix}/{tid}/syscall/sp"), *sp);
            self.put(format!("{prefix}/{tid}/syscall/pc"), *pc);
        }
    }
}

/// "Max cpu time             unlimited            unlimited            seconds": names may have spaces, but not two.
fn limit_name(line: &str) -> Option<(&str, &str)> {
    line.split_once("  ").filter(|(name, _)| *name != "Limit")
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    perms: String,
    offset: u64,
    device: String,
    inode: String,
    name: String,
    details: String,
    policy: String,
}

impl Mapping {
    fn facts(&self, offset: u64) -> String {
        let Self { start: _, end: _, perms, offset: _, device, inode, name, details, policy } = self;
        format!("{perms} {offset:x} {device} {inode} {name} |{details} | policy {policy}")
    }

    /// Code that the program does not write itself: the vDSO, executables, libraries, what a compiler has sealed.
    fn is_code(&self) -> bool {
        self.perms.contains('x') && !self.perms.contains('w') && self.name != "[vsyscall]"
    }

    /// A digest of the contents; what cannot be read (beyond the end of a file) ends it. The vDSO counts up to the end
    /// of its ELF image: in the padding behind, a supervisor that was killed leaves its stub, which is never executed
    /// again (docs/decisions/0002).
    fn digest(&self, memory: &File) -> String {
        let mut contents = Vec::new();
        let mut page = [0; 4096];
        let mut at = self.start;
        while at < self.end && memory.read_exact_at(&mut page, at).is_ok() {
            contents.extend_from_slice(&page);
            at += page.len() as u64;
        }
        if self.name == "[vdso]" {
            contents.truncate(elf_end(&contents));
        }
        format!("{} bytes, xxh3 {:016x}", at - self.start, xxhash_rust::xxh3::xxh3_64(&contents))
    }

    /// Whether `next` is this mapping's direct continuation, in memory and in the file.
    fn goes_on_in(&self, next: &Self) -> bool {
        let offset = if self.inode == "0" { 0 } else { self.offset + (self.end - self.start) };
        self.end == next.start && self.facts(offset) == next.facts(next.offset)
    }
}

/// Where an ELF image ends: behind its section headers, which come last (elf(5): `e_shoff`, `e_shentsize`, `e_shnum`).
fn elf_end(image: &[u8]) -> usize {
    let number = |at: usize, len: usize| {
        let bytes = image.get(at..at + len).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    match number(0x28, 8) {
        0 => image.len(),
        headers => headers + number(0x3a, 2) * number(0x3c, 2),
    }
}

fn merged(mappings: Vec<Mapping>) -> Vec<Mapping> {
    let mut merged: Vec<Mapping> = Vec::new();
    for mapping in mappings {
        match merged.last_mut() {
            Some(last) if last.goes_on_in(&mapping) => last.end = mapping.end,
            _ => merged.push(mapping),
        }
    }
    merged
}

/// From smaps, whose entries begin with the line that maps has: "START-END PERMS OFFSET DEVICE INODE   NAME".
fn read_mappings(process: &Path, objects: &mut Serials) -> Vec<Mapping> {
    let smaps = bytes_raw(&process.join("smaps"));
    let policies = read_policies(&process.join("numa_maps"));
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.split(|byte| *byte == b'\n') {
        let line = line.escape_ascii().to_string();
        if let Some(mapping) = header(&line, &policies, objects) {
            mappings.push(mapping);
        } else if let (Some((name, value)), Some(last)) = (line.split_once(':'), mappings.last_mut())
            && SMAPS.contains(&name)
        {
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            last.details.push_str(&format!(" {name}: {value}"));
        }
    }
    mappings
}

fn header(line: &str, policies: &BTreeMap<u64, String>, objects: &mut Serials) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let [perms, offset, device, inode] = [(); 4].map(|()| words.next().unwrap_or_default().to_owned());
    let name = words.next().unwrap_or_default().trim().to_owned();
    let (name, is_deleted) =
        if is_deleted(&name) { ("deleted file".to_owned(), true) } else { (name, false) };
    let inode = if is_deleted || FILELESS.iter().any(|prefix| name.starts_with(prefix)) {
        format!("object {}", objects.order(&inode))
    } else {
        inode
    };
    let policy = policies.get(&start).cloned().unwrap_or_default();
    let offset = u64::from_str_radix(&offset, 16).ok()?;
    Some(Mapping { start, end, perms, offset, device, inode, name, details: String::new(), policy })
}

/// The beginnings of the names of memory without a file.
const FILELESS: &[&str] =
    &["/dev/zero (deleted)", "/memfd:", "/SYSV", "/anon_hugepage", "[anon_shmem:", RING];
/// A ring of io_uring, each with an inode of its own.
const RING: &str = "anon_inode:[io_uring]";

/// Whether a link of /proc leads to a file that has been deleted.
fn is_deleted(name: &str) -> bool {
    name.ends_with(" (deleted)") && !FILELESS.iter().any(|prefix| name.starts_with(prefix))
}

/// numa_maps(5): "START POLICY ...", one line for each mapping.
fn read_policies(path: &Path) -> BTreeMap<u64, String> {
    let text = bytes_raw(path);
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((u64::from_str_radix(words.next()?, 16).ok()?, words.next()?.to_owned()))
    });
    lines.collect()
}

fn bytes_raw(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| format!("unreadable: {error}").into_bytes())
}

fn bytes(path: &Path) -> String {
    bytes_raw(path).escape_ascii().to_string()
}

fn link(path: &Path) -> String {
    match fs::read_link(path) {
        Ok(target) => target.as_os_str().as_bytes().escape_ascii().to_string(),
        Err(error) => format!("unreadable: {error}"),
    }
}

/// The entries of a directory that are numbers, in order.
fn numbers(directory: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}
