//! The bounds of the address space (`prctl(PR_SET_MM_MAP)`): where code, data, heap, stack, arguments and environment
//! lie, the auxiliary vector, the executable; and whether future mappings are to be locked (mlockall(2)).

use super::file::FileTable;
use super::shared::SharedTable;
use super::{deleted, memfd};
use crate::error::Error;
use crate::refusal::{Refusals, show};
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StepId};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Their form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
#[expect(missing_docs, reason = "the names are those of struct prctl_mm_map (include/uapi/linux/prctl.h)")]
pub struct Record {
    #[prost(fixed64, tag = "1")]
    pub start_code: u64,
    #[prost(fixed64, tag = "2")]
    pub end_code: u64,
    #[prost(fixed64, tag = "3")]
    pub start_data: u64,
    #[prost(fixed64, tag = "4")]
    pub end_data: u64,
    #[prost(fixed64, tag = "5")]
    pub start_brk: u64,
    #[prost(fixed64, tag = "6")]
    pub brk: u64,
    #[prost(fixed64, tag = "7")]
    pub start_stack: u64,
    #[prost(fixed64, tag = "8")]
    pub arg_start: u64,
    #[prost(fixed64, tag = "9")]
    pub arg_end: u64,
    #[prost(fixed64, tag = "10")]
    pub env_start: u64,
    #[prost(fixed64, tag = "11")]
    pub env_end: u64,
    /// The auxiliary vector (getauxval(3)).
    #[prost(bytes = "vec", tag = "12")]
    #[serde(serialize_with = "crate::json::size")]
    pub auxv: Vec<u8>,
    /// The executable: id of a file.
    #[prost(uint32, tag = "13")]
    pub executable: u32,
    /// `MCL_FUTURE` and `MCL_ONFAULT`, or 0.
    #[prost(uint32, tag = "14")]
    pub lock_future: u32,
    /// The executable, where it is a file that no path leads to: id of an object, or 0.
    #[prost(uint32, tag = "15")]
    pub executable_object: u32,
}

/// `PR_SET_MM`
const PR_SET_MM: i32 = 35;
/// `PR_SET_MM_MAP`
const PR_SET_MM_MAP: i32 = 14;
/// Length of `struct prctl_mm_map`, and where in it the pointer to the auxiliary vector is.
const MM_MAP_LEN: usize = 104;
const AUXV_POINTER: usize = 88;

/// Says what of them cannot be captured.
pub fn survey(view: &ProcessView, refusals: &mut Refusals) {
    match view.link("exe") {
        Ok(path) if executable(view, &path).is_none() => refusals.add(
            "deleted-executable",
            show(&path),
            "the executable has been deleted or moved, and its directory or its new name cannot be found",
            "put it back, or start the program again from the new one",
        ),
        Ok(_) => {}
        Err(error) => {
            refusals.add("unreadable", "the executable", error.to_string(), "run as its user, or as root");
        }
    }
    // EI_CLASS is the fifth byte of an ELF file: 1 is 32-bit.
    let class = std::fs::File::open(format!("/proc/{}/exe", view.pid)).and_then(|file| {
        let mut ident = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut ident, 0)?;
        Ok(ident[4])
    });
    if matches!(class, Ok(1)) {
        refusals.add(
            "32-bit",
            "the program",
            "32-bit programs cannot be captured yet",
            "use the 64-bit build",
        );
    }
}

/// What an executable is.
enum Executable {
    /// A file with a path.
    File,
    /// A file that no path leads to.
    Object,
}

/// What the executable is, if it can be captured.
fn executable(view: &ProcessView, path: &[u8]) -> Option<Executable> {
    let exe = PathBuf::from(format!("/proc/{}/exe", view.pid));
    let Ok(meta) = std::fs::metadata(&exe) else { return Some(Executable::File) };
    if memfd::is_named_so(path) {
        return Some(Executable::Object);
    }
    match meta.nlink() {
        0 => deleted::directory_of(path, &exe).map(|_| Executable::Object),
        _ => super::file::path_of(path, meta.dev(), meta.ino()).map(|_| Executable::File),
    }
}

/// Reads what /proc tells.
pub fn outside(view: &ProcessView, files: &mut FileTable, shared: &mut SharedTable) -> Result<Record, Error> {
    let stat = &view.stat;
    let exe = PathBuf::from(format!("/proc/{}/exe", view.pid));
    let path = view.link("exe")?;
    let (executable, executable_object) = match executable(view, &path) {
        Some(Executable::Object) => (0, shared.id_of_link(&exe.to_string_lossy(), &path)?),
        _ => (files.id_of_link(&path, &exe)?, 0),
    };
    Ok(Record {
        start_code: stat.startcode,
        end_code: stat.endcode,
        start_data: stat.start_data,
        end_data: stat.end_data,
        start_brk: stat.start_brk,
        brk: 0,
        start_stack: stat.startstack,
        arg_start: stat.arg_start,
        arg_end: stat.arg_end,
        env_start: stat.env_start,
        env_end: stat.env_end,
        auxv: view.file("auxv")?,
        executable,
        lock_future: 0,
        executable_object,
    })
}

/// Asks for the end of the heap.
pub fn ask(batch: &mut Batch) -> StepId {
    batch.step("brk", libc::SYS_brk as u32, [0.into()])
}

/// Completes the record.
pub fn answer(record: &mut Record, brk: StepId, answers: &Answers) {
    record.brk = answers.result(brk).unwrap_or(0);
}

/// The steps that set them, when all mappings are there and none of the executable that the process was born with.
/// `spare` is the number of a descriptor that is free.
pub fn restore(record: &Record, executable: &[u8], spare: i32, batch: &mut Batch) {
    // The kernel refuses to replace an executable that is mapped (EBUSY), also by itself; nothing is to be done then.
    let is_ours = record.executable_object == 0 && is_our_own(executable);
    let exe_fd = if is_ours { -1 } else { spare };
    if exe_fd == spare {
        let path = batch.c_string(executable);
        let exe = batch.step(
            format!("opening {}", show(executable)),
            nr::OPENAT,
            [libc::AT_FDCWD.into(), path.into(), libc::O_RDONLY.into(), 0.into()],
        );
        // The call takes the descriptor's number from memory: give it one that is known beforehand.
        batch.step("dup3", nr::DUP3, [exe.into(), spare.into(), 0.into()]);
        batch.step("close", nr::CLOSE, [exe.into()]);
    }
    let r = record;
    let fields = [
        r.start_code,
        r.end_code,
        r.start_data,
        r.end_data,
        r.start_brk,
        r.brk,
        r.start_stack,
        r.arg_start,
        r.arg_end,
        r.env_start,
        r.env_end,
        0,
    ];
    let mut bytes = fields.map(u64::to_le_bytes).concat();
    bytes.extend_from_slice(&(r.auxv.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&exe_fd.to_le_bytes());
    let map = batch.data(&bytes);
    let auxv = batch.data(&r.auxv);
    batch.point_at(map, AUXV_POINTER, auxv);
    let args = [PR_SET_MM.into(), PR_SET_MM_MAP.into(), map.into(), MM_MAP_LEN.into(), 0.into()];
    batch.step("PR_SET_MM_MAP", nr::PRCTL, args);
    if exe_fd == spare {
        batch.step("close", nr::CLOSE, [spare.into()]);
    }
    if r.lock_future != 0 {
        batch.step("mlockall", nr::MLOCKALL, [r.lock_future.into()]);
    }
}

/// Whether the program is the one that restores it, from which the process was cloned.
fn is_our_own(executable: &[u8]) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let theirs = identity(Path::new(OsStr::from_bytes(executable)));
    matches!((theirs, identity(Path::new("/proc/self/exe"))), (Ok(theirs), Ok(ours)) if theirs == ours)
}

/// Whether mappings to come will be locked (`MCL_FUTURE`), told by one of ours that the process has just made.
pub fn lock_future(view: &ProcessView, own_mapping: u64) -> Result<u32, Error> {
    const MCL_FUTURE: u32 = 2;
    const MCL_ONFAULT: u32 = 4;
    let status = crate::view::parse(view.pid, "status", rekindle_procfs::status::parse)?;
    if status.vm_lck_kb() == view.status.vm_lck_kb() {
        return Ok(0);
    }
    let mappings = crate::view::parse(view.pid, "smaps", rekindle_procfs::smaps::parse)?;
    let flags = mappings.iter().find(|entry| entry.mapping.start == own_mapping).map(|entry| &entry.vm_flags);
    Ok(match flags {
        Some(flags) if flags.has(*b"lf") => MCL_FUTURE | MCL_ONFAULT,
        Some(flags) if flags.has(*b"lo") => MCL_FUTURE,
        _ => 0,
    })
}
