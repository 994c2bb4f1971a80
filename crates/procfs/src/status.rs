//! `/proc/PID/status` and `/proc/PID/task/TID/status`: what a task is, one `Name:\tvalue` per line
//! (proc_pid_status(5)).
//!
//! Lines that every kernel since 4.14 prints must be there. Those of newer kernels, of some configurations, and those
//! about memory (which kernel threads and zombies do not have) are `Option`s. All other lines are in `rest`.

use crate::bits::Mask;
use crate::text::{At, cut, lines, trim, words};
use crate::{ParseError, State};

const FILE: &str = "/proc/PID/status";

/// The lines of the file that a restore needs by name, and `rest` for all others. Ids are those of the reader's pid and
/// user namespaces, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `Name`: the thread's name, up to 15 bytes (kernel threads: more), escapes undone.
    pub name: Vec<u8>,
    /// `Umask` (Linux 4.7).
    pub umask: Option<u32>,
    /// `State`
    pub state: State,
    /// `Tgid`: the process.
    pub tgid: i32,
    /// `Ngid`: the NUMA group; 0 if none.
    pub ngid: i32,
    /// `Pid`: the task.
    pub pid: i32,
    /// `PPid`: the parent process; 0 if it is outside the pid namespace.
    pub ppid: i32,
    /// `TracerPid`: who traces it; 0 if nobody.
    pub tracer_pid: i32,
    /// `Uid`: real, effective, saved, and file system user.
    pub uid: [u32; 4],
    /// `Gid`: real, effective, saved, and file system group.
    pub gid: [u32; 4],
    /// `FDSize`: how many slots its table of descriptors has (not how many are used).
    pub fd_size: u64,
    /// `Groups`: supplementary groups.
    pub groups: Vec<u32>,
    /// `NStgid`: the process in each pid namespace, from the reader's to its own. Empty without pid namespaces.
    pub nstgid: Vec<i32>,
    /// `NSpid`: likewise the task.
    pub nspid: Vec<i32>,
    /// `NSpgid`: likewise the process group.
    pub nspgid: Vec<i32>,
    /// `NSsid`: likewise the session.
    pub nssid: Vec<i32>,
    /// `Kthread`: whether it is a kernel thread (Linux 6.8).
    pub kthread: Option<bool>,
    /// Sizes of its memory; `None` for kernel threads and zombies.
    pub memory: Option<Memory>,
    /// `CoreDumping`: whether it is writing a core dump (Linux 4.15).
    pub core_dumping: Option<bool>,
    /// `THP_enabled`: whether transparent huge pages are allowed (Linux 5.0; not without memory, nor without THP).
    pub thp_enabled: Option<bool>,
    /// `untag_mask`: the bits of a pointer that address memory (Linux 6.4, x86).
    pub untag_mask: Option<u64>,
    /// `Threads`: tasks in the process.
    pub threads: u64,
    /// `SigQ`: signals queued for its real user id, and the limit of that.
    pub sig_q: SigQ,
    /// `SigPnd`: signals pending for this task. In all signal sets, signal N is bit N-1.
    pub sig_pnd: u64,
    /// `ShdPnd`: signals pending for the process.
    pub shd_pnd: u64,
    /// `SigBlk`: blocked by this task.
    pub sig_blk: u64,
    /// `SigIgn`: ignored by the process.
    pub sig_ign: u64,
    /// `SigCgt`: caught by the process.
    pub sig_cgt: u64,
    /// `CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb`.
    pub caps: Caps,
    /// `NoNewPrivs` (Linux 4.10).
    pub no_new_privs: Option<bool>,
    /// `Seccomp`: 0 none, 1 strict, 2 filter. `None` without CONFIG_SECCOMP.
    pub seccomp: Option<u32>,
    /// `Seccomp_filters`: how many filters (Linux 5.9).
    pub seccomp_filters: Option<u32>,
    /// `Cpus_allowed`: the processors it may run on (its affinity, within its cpuset).
    pub cpus_allowed: Option<Mask>,
    /// `Mems_allowed`: memory nodes. `None` without CONFIG_CPUSETS.
    pub mems_allowed: Option<Mask>,
    /// Every other line, as it stands: name and value, blanks around the value removed.
    pub rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Status {
    /// The value of a line in `rest`.
    #[must_use]
    pub fn rest_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.rest.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    /// `VmLck` in kibibytes.
    #[must_use]
    pub fn vm_lck_kb(&self) -> Option<u64> {
        self.memory.as_ref().map(|memory| memory.lck_kb)
    }

    /// `VmSwap` in kibibytes.
    #[must_use]
    pub fn vm_swap_kb(&self) -> Option<u64> {
        self.memory.as_ref().map(|memory| memory.swap_kb)
    }

    /// `HugetlbPages` in kibibytes.
    #[must_use]
    pub fn hugetlb_kb(&self) -> Option<u64> {
        self.memory.as_ref()?.hugetlb_kb
    }
}

/// Sizes in kibibytes. The resident ones are approximate (proc_pid_status(5) says why).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// `VmPeak`: the most that `VmSize` ever was.
    pub peak_kb: u64,
    /// `VmSize`: addresses mapped.
    pub size_kb: u64,
    /// `VmLck`: locked.
    pub lck_kb: u64,
    /// `VmPin`: pinned.
    pub pin_kb: u64,
    /// `VmHWM`: the most that `VmRSS` ever was.
    pub hwm_kb: u64,
    /// `VmRSS`: resident.
    pub rss_kb: u64,
    /// `RssAnon`: resident anonymous memory.
    pub rss_anon_kb: u64,
    /// `RssFile`: resident memory of files.
    pub rss_file_kb: u64,
    /// `RssShmem`: resident shared memory (System V, tmpfs, shared anonymous).
    pub rss_shmem_kb: u64,
    /// `VmData`: private writable mappings but the stack.
    pub data_kb: u64,
    /// `VmStk`: the stack.
    pub stk_kb: u64,
    /// `VmExe`: the program's code.
    pub exe_kb: u64,
    /// `VmLib`: code of libraries.
    pub lib_kb: u64,
    /// `VmPTE`: page tables.
    pub pte_kb: u64,
    /// `VmSwap`: swapped out anonymous memory.
    pub swap_kb: u64,
    /// `HugetlbPages`: in hugetlbfs. `None` without CONFIG_HUGETLB_PAGE.
    pub hugetlb_kb: Option<u64>,
}

/// Queued signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigQ {
    /// How many are queued for the real user id.
    pub queued: u64,
    /// How many may be (RLIMIT_SIGPENDING).
    pub limit: u64,
}

/// Capability sets (capabilities(7)): capability N is bit N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Inheritable.
    pub inh: u64,
    /// Permitted.
    pub prm: u64,
    /// Effective.
    pub eff: u64,
    /// Bounding.
    pub bnd: u64,
    /// Ambient.
    pub amb: u64,
}

/// The file as a value.
///
/// # Errors
/// A line without a colon, a line that must be there and is not, or a value of another form than documented.
pub fn parse(text: &[u8]) -> Result<Status, ParseError> {
    let mut fields = Fields::split(text)?;
    Ok(Status {
        name: fields.required("Name", |field| Ok(unescape_name(field.raw)))?,
        umask: fields.optional("Umask", Field::oct)?,
        state: fields.required("State", Field::state)?,
        tgid: fields.required("Tgid", Field::dec)?,
        ngid: fields.optional("Ngid", Field::dec)?.unwrap_or(0), // without CONFIG_NUMA_BALANCING nobody has a group
        pid: fields.required("Pid", Field::dec)?,
        ppid: fields.required("PPid", Field::dec)?,
        tracer_pid: fields.required("TracerPid", Field::dec)?,
        uid: fields.required("Uid", Field::four)?,
        gid: fields.required("Gid", Field::four)?,
        fd_size: fields.required("FDSize", Field::dec)?,
        groups: fields.required("Groups", Field::list)?,
        nstgid: fields.optional("NStgid", Field::list)?.unwrap_or_default(),
        nspid: fields.optional("NSpid", Field::list)?.unwrap_or_default(),
        nspgid: fields.optional("NSpgid", Field::list)?.unwrap_or_default(),
        nssid: fields.optional("NSsid", Field::list)?.unwrap_or_default(),
        kthread: fields.optional("Kthread", Field::flag)?,
        memory: memory(&mut fields)?,
        core_dumping: fields.optional("CoreDumping", Field::flag)?,
        thp_enabled: fields.optional("THP_enabled", Field::flag)?,
        untag_mask: fields.optional("untag_mask", Field::hex_0x)?,
        threads: fields.required("Threads", Field::dec)?,
        sig_q: fields.required("SigQ", Field::sig_q)?,
        sig_pnd: fields.required("SigPnd", Field::hex)?,
        shd_pnd: fields.required("ShdPnd", Field::hex)?,
        sig_blk: fields.required("SigBlk", Field::hex)?,
        sig_ign: fields.required("SigIgn", Field::hex)?,
        sig_cgt: fields.required("SigCgt", Field::hex)?,
        caps: caps(&mut fields)?,
        no_new_privs: fields.optional("NoNewPrivs", Field::flag)?,
        seccomp: fields.optional("Seccomp", Field::dec)?,
        seccomp_filters: fields.optional("Seccomp_filters", Field::dec)?,
        cpus_allowed: fields.optional("Cpus_allowed", Field::mask)?,
        mems_allowed: fields.optional("Mems_allowed", Field::mask)?,
        rest: fields.rest(),
    })
}

/// All or nothing: `VmPeak` is the first of the lines, and where it stands the others do.
fn memory(fields: &mut Fields<'_>) -> Result<Option<Memory>, ParseError> {
    let Some(peak_kb) = fields.optional("VmPeak", Field::kb)? else { return Ok(None) };
    Ok(Some(Memory {
        peak_kb,
        size_kb: fields.required("VmSize", Field::kb)?,
        lck_kb: fields.required("VmLck", Field::kb)?,
        pin_kb: fields.required("VmPin", Field::kb)?,
        hwm_kb: fields.required("VmHWM", Field::kb)?,
        rss_kb: fields.required("VmRSS", Field::kb)?,
        rss_anon_kb: fields.required("RssAnon", Field::kb)?,
        rss_file_kb: fields.required("RssFile", Field::kb)?,
        rss_shmem_kb: fields.required("RssShmem", Field::kb)?,
        data_kb: fields.required("VmData", Field::kb)?,
        stk_kb: fields.required("VmStk", Field::kb)?,
        exe_kb: fields.required("VmExe", Field::kb)?,
        lib_kb: fields.required("VmLib", Field::kb)?,
        pte_kb: fields.required("VmPTE", Field::kb)?,
        swap_kb: fields.required("VmSwap", Field::kb)?,
        hugetlb_kb: fields.optional("HugetlbPages", Field::kb)?,
    }))
}

fn caps(fields: &mut Fields<'_>) -> Result<Caps, ParseError> {
    Ok(Caps {
        inh: fields.required("CapInh", Field::hex)?,
        prm: fields.required("CapPrm", Field::hex)?,
        eff: fields.required("CapEff", Field::hex)?,
        bnd: fields.required("CapBnd", Field::hex)?,
        amb: fields.required("CapAmb", Field::hex)?,
    })
}

/// The lines that nobody has asked for yet, the last one first: they are asked for in the order of the file, so that each
/// is found, and taken out, at the end.
struct Fields<'a>(Vec<Field<'a>>);

#[derive(Clone, Copy)]
struct Field<'a> {
    at: At,
    name: &'a [u8],
    /// The value without the one tab in front of it.
    raw: &'a [u8],
}

impl<'a> Fields<'a> {
    fn split(text: &'a [u8]) -> Result<Self, ParseError> {
        let field = |(at, line): (At, &'a [u8])| {
            let (name, raw) = cut(line, b':').ok_or_else(|| at.expected("a name and a colon", line))?;
            Ok(Field { at, name, raw: raw.strip_prefix(b"\t").unwrap_or(raw) })
        };
        let mut fields = lines(FILE, text).map(field).collect::<Result<Vec<_>, _>>()?;
        fields.reverse();
        Ok(Self(fields))
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Field<'a>) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        let Some(index) = self.0.iter().rposition(|field| field.name == name.as_bytes()) else {
            return Ok(None);
        };
        read(self.0.remove(index)).map(Some)
    }

    fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Field<'a>) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let value = self.optional(name, read)?;
        value.ok_or_else(|| At::file(FILE).bad(format!("there is no line {name}: cut short?")))
    }

    fn rest(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.into_iter().rev().map(|field| (field.name.to_vec(), trim(field.raw).to_vec())).collect()
    }
}

impl<'a> Field<'a> {
    fn value(self) -> &'a [u8] {
        trim(self.raw)
    }

    fn dec<T: TryFrom<u64>>(self) -> Result<T, ParseError> {
        self.at.dec(Some(self.value()), "a decimal number")
    }

    fn oct(self) -> Result<u32, ParseError> {
        self.at.oct(Some(self.value()), "an octal number")
    }

    fn hex(self) -> Result<u64, ParseError> {
        self.at.hex(Some(self.value()), "a hexadecimal number")
    }

    fn hex_0x(self) -> Result<u64, ParseError> {
        self.at.hex_0x(Some(self.value()), "a hexadecimal number with 0x")
    }

    fn kb(self) -> Result<u64, ParseError> {
        let digits = self.value().strip_suffix(b" kB");
        let digits = digits.ok_or_else(|| self.at.expected("a number of kB", self.raw))?;
        self.at.dec(Some(trim(digits)), "a number of kB")
    }

    fn flag(self) -> Result<bool, ParseError> {
        match self.value() {
            b"0" => Ok(false),
            b"1" => Ok(true),
            other => Err(self.at.expected("0 or 1", other)),
        }
    }

    fn state(self) -> Result<State, ParseError> {
        let letter = self.value().first().ok_or_else(|| self.at.bad("the state is empty"))?;
        Ok(State::from_letter(*letter))
    }

    fn list<T: TryFrom<u64>>(self) -> Result<Vec<T>, ParseError> {
        words(self.raw).map(|word| self.at.dec(Some(word), "a decimal number")).collect()
    }

    fn four(self) -> Result<[u32; 4], ParseError> {
        self.list()?.try_into().map_err(|_| self.at.expected("four ids", self.raw))
    }

    fn sig_q(self) -> Result<SigQ, ParseError> {
        let (queued, limit) =
            cut(self.value(), b'/').ok_or_else(|| self.at.expected("QUEUED/LIMIT", self.raw))?;
        let queued = self.at.dec(Some(queued), "how many signals are queued")?;
        Ok(SigQ { queued, limit: self.at.dec(Some(limit), "how many signals may be queued")? })
    }

    fn mask(self) -> Result<Mask, ParseError> {
        Mask::parse(self.value()).ok_or_else(|| self.at.expected("a mask of words between commas", self.raw))
    }
}

/// The kernel writes a newline as `\n` and a backslash as `\\`, so nothing is ambiguous.
fn unescape_name(raw: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((head, tail)) = cut(rest, b'\\') {
        name.extend_from_slice(head);
        let (byte, after) = match tail {
            [b'n', after @ ..] => (b'\n', after),
            [b'\\', after @ ..] => (b'\\', after),
            other => (b'\\', other),
        };
        name.push(byte);
        rest = after;
    }
    name.extend_from_slice(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it, for a thread that called itself `a) R \xff\` newline `b`.
    const SAMPLE: &[u8] = b"Name:\ta) R \xff\\\\\\nb
Umask:\t0022
State:\tS (sleeping)
Tgid:\t6183
Ngid:\t0
Pid:\t6184
PPid:\t6179
TracerPid:\t0
Uid:\t1000\t0\t4294967294\t0
Gid:\t0\t0\t0\t5
FDSize:\t256
Groups:\t4 24 1000 
NStgid:\t6183\t1
NSpid:\t6184\t2
NSpgid:\t6179\t0
NSsid:\t2256\t0
Kthread:\t0
VmPeak:\t   18792 kB
VmSize:\t   18792 kB
VmLck:\t       8 kB
VmPin:\t       0 kB
VmHWM:\t   15156 kB
VmRSS:\t   15156 kB
RssAnon:\t    8116 kB
RssFile:\t    7040 kB
RssShmem:\t       0 kB
VmData:\t    9704 kB
VmStk:\t     140 kB
VmExe:\t       4 kB
VmLib:\t    4864 kB
VmPTE:\t      76 kB
VmSwap:\t      12 kB
HugetlbPages:\t    2048 kB
CoreDumping:\t0
THP_enabled:\t1
untag_mask:\t0xffffffffffffffff
Threads:\t2
SigQ:\t3/96365
SigPnd:\t0000000000000000
ShdPnd:\t0000000000000200
SigBlk:\t8000000000000000
SigIgn:\t0000000001001000
SigCgt:\t0000000000000002
CapInh:\t0000000000000000
CapPrm:\t000001fffeffffff
CapEff:\t000001fffeffffff
CapBnd:\t000001fffeffffff
CapAmb:\t0000000000000001
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
Speculation_Store_Bypass:\tvulnerable
SpeculationIndirectBranch:\talways enabled
Cpus_allowed:\t3
Cpus_allowed_list:\t0-1
Mems_allowed:\t00000000,00000001
Mems_allowed_list:\t0
voluntary_ctxt_switches:\t29
nonvoluntary_ctxt_switches:\t12
x86_Thread_features:\tshstk 
";

    /// The sample without the lines that start with one of `names`.
    fn without(names: &[&str]) -> Vec<u8> {
        let kept = SAMPLE.split_inclusive(|byte| *byte == b'\n');
        kept.filter(|line| !names.iter().any(|name| line.starts_with(name.as_bytes())))
            .flatten()
            .copied()
            .collect()
    }

    #[test]
    fn a_real_task() {
        let status = parse(SAMPLE).unwrap();
        assert_eq!(status.name, b"a) R \xff\\\nb");
        assert_eq!((status.umask, status.state), (Some(0o22), State::Sleeping));
        assert_eq!((status.tgid, status.pid, status.ppid, status.tracer_pid), (6183, 6184, 6179, 0));
        assert_eq!((status.uid, status.gid), ([1000, 0, u32::MAX - 1, 0], [0, 0, 0, 5]));
        assert_eq!(status.groups, [4, 24, 1000]);
        assert_eq!((status.nstgid.as_slice(), status.nspid.as_slice()), (&[6183, 1][..], &[6184, 2][..]));
        assert_eq!((status.nspgid.as_slice(), status.nssid.as_slice()), (&[6179, 0][..], &[2256, 0][..]));
        assert_eq!(
            (status.vm_lck_kb(), status.vm_swap_kb(), status.hugetlb_kb()),
            (Some(8), Some(12), Some(2048))
        );
        assert_eq!(status.memory.unwrap().rss_anon_kb, 8116);
        assert_eq!(
            (status.kthread, status.core_dumping, status.thp_enabled),
            (Some(false), Some(false), Some(true))
        );
        assert_eq!((status.untag_mask, status.threads), (Some(u64::MAX), 2));
        assert_eq!(status.sig_q, SigQ { queued: 3, limit: 96365 });
        assert_eq!((status.shd_pnd, status.sig_blk, status.sig_cgt), (0x200, 1 << 63, 2));
        assert_eq!((status.caps.bnd, status.caps.amb), (0x1ff_feff_ffff, 1));
        assert_eq!(
            (status.no_new_privs, status.seccomp, status.seccomp_filters),
            (Some(true), Some(2), Some(1))
        );
        assert_eq!(status.cpus_allowed.unwrap().words, [3]);
        assert_eq!(status.mems_allowed.unwrap().words, [1, 0]);
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let status = parse(SAMPLE).unwrap();
        assert_eq!(status.rest_value(b"x86_Thread_features"), Some(&b"shstk"[..]));
        assert_eq!(status.rest_value(b"SpeculationIndirectBranch"), Some(&b"always enabled"[..]));
        assert_eq!(status.rest_value(b"Name"), None);
        assert_eq!(status.rest.len(), 7);
    }

    #[test]
    fn a_kernel_thread_has_no_memory() {
        let status = parse(&without(&["Vm", "Rss", "Hugetlb", "CoreDumping", "THP", "untag"])).unwrap();
        assert_eq!((status.memory, status.vm_swap_kb(), status.core_dumping), (None, None, None));
    }

    #[test]
    fn an_older_kernel_says_less() {
        let newer = ["Umask", "NS", "Kthread", "NoNewPrivs", "Seccomp", "Mems", "Ngid", "HugetlbPages"];
        let status = parse(&without(&newer)).unwrap();
        assert_eq!((status.umask, status.kthread, status.seccomp), (None, None, None));
        assert!(status.nspid.is_empty() && status.mems_allowed.is_none() && status.memory.is_some());
    }

    #[test]
    fn cut_and_broken_texts_are_refused() {
        assert_eq!(parse(b"").unwrap_err().what, "there is no line Name: cut short?");
        assert_eq!(parse(&without(&["SigBlk"])).unwrap_err().what, "there is no line SigBlk: cut short?");
        assert_eq!(parse(&without(&["VmStk"])).unwrap_err().what, "there is no line VmStk: cut short?");
        let bad = String::from_utf8_lossy(SAMPLE).replace("Gid:\t0\t0\t0\t5", "Gid:\t0\t0\t0").into_bytes();
        assert_eq!(
            parse(&bad).unwrap_err().to_string(),
            "/proc/PID/status, line 10: expected four ids, found \"0\\t0\\t0\""
        );
        assert!(parse(b"no colon").is_err());
    }
}
