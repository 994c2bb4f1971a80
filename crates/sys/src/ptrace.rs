//! ptrace(2), the requests that a checkpoint needs, one function each. A wrong tid gives `ESRCH`, as does a task that
//! is not stopped.

use crate::arch::{Regs, XSAVE_MAX_LEN};
use crate::{Errno, Result, check};
use std::ffi::c_void;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// `PTRACE_O_*` (include/uapi/linux/ptrace.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Options: u32 {
        /// System-call stops are told from real `SIGTRAP`s by bit 7 of the signal.
        const TRACESYSGOOD = 1;
        /// Threads that a traced task clones are traced too.
        const TRACECLONE = 1 << 3;
        /// The tracee is killed when the tracer ends.
        const EXITKILL = 1 << 20;
        /// Seccomp filters do not apply while traced (needs `CAP_SYS_ADMIN` and no filter of our own).
        const SUSPEND_SECCOMP = 1 << 21;
    }
}

const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const PTRACE_SECCOMP_GET_FILTER: u32 = 0x420c;
const PTRACE_SECCOMP_GET_METADATA: u32 = 0x420d;
const PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG: u32 = 0x4210;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: u32 = 0x4211;
const PTRACE_GET_THREAD_AREA: u32 = 25;
const PTRACE_SET_THREAD_AREA: u32 = 26;
const NT_PRSTATUS: usize = 1;
const NT_X86_XSTATE: usize = 0x202;
const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;

fn request(request: u32, tid: i32, addr: usize, data: *mut c_void) -> Result<u64> {
    // SAFETY: every caller in this file passes either plain numbers, or for `data` a pointer to a live buffer of the
    // length that the request writes or reads; ptrace touches no other memory of ours.
    let value = unsafe { libc::ptrace(request, tid, addr as *mut c_void, data) };
    check(value)
}

fn plain(request_number: u32, tid: i32, addr: usize, data: usize) -> Result<()> {
    request(request_number, tid, addr, data as *mut c_void).map(drop)
}

/// `PTRACE_SEIZE`: begins to trace a task without stopping it. `EPERM` when it is traced already, or is not ours to trace.
pub fn seize(tid: i32, options: Options) -> Result<()> {
    plain(libc::PTRACE_SEIZE, tid, 0, options.bits() as usize)
}

/// `PTRACE_INTERRUPT`: stops a seized task; the stop is reported by wait as [`crate::wait::Event::Stop`].
pub fn interrupt(tid: i32) -> Result<()> {
    plain(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// `PTRACE_CONT`: lets a stopped task run on, with `signal` delivered unless it is 0.
pub fn cont(tid: i32, signal: i32) -> Result<()> {
    plain(libc::PTRACE_CONT, tid, 0, signal as usize)
}

/// `PTRACE_SYSCALL`: lets a stopped task run to the next entry into or exit from a system call.
pub fn cont_to_syscall(tid: i32) -> Result<()> {
    plain(libc::PTRACE_SYSCALL, tid, 0, 0)
}

/// `PTRACE_SINGLESTEP`: lets a stopped task execute one instruction.
pub fn single_step(tid: i32) -> Result<()> {
    plain(libc::PTRACE_SINGLESTEP, tid, 0, 0)
}

/// `PTRACE_LISTEN`: lets a group-stopped task stay stopped as if nobody traced it.
pub fn listen(tid: i32) -> Result<()> {
    plain(libc::PTRACE_LISTEN, tid, 0, 0)
}

/// `PTRACE_DETACH`: lets a stopped task go, with `signal` delivered unless it is 0.
pub fn detach(tid: i32, signal: i32) -> Result<()> {
    plain(libc::PTRACE_DETACH, tid, 0, signal as usize)
}

/// `PTRACE_SETOPTIONS`.
pub fn set_options(tid: i32, options: Options) -> Result<()> {
    plain(libc::PTRACE_SETOPTIONS, tid, 0, options.bits() as usize)
}

fn get_regset(tid: i32, note: usize, buffer: &mut [u8]) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    request(libc::PTRACE_GETREGSET, tid, note, (&raw mut iov).cast())?;
    Ok(iov.iov_len)
}

fn set_regset(tid: i32, note: usize, buffer: &[u8]) -> Result<()> {
    let mut iov = libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
    request(libc::PTRACE_SETREGSET, tid, note, (&raw mut iov).cast()).map(drop)
}

/// The general registers. `EIO` for a task that runs 32-bit code, whose set of registers is another.
pub fn get_regs(tid: i32) -> Result<Regs> {
    let mut regs = Regs::default();
    let len = get_regset(tid, NT_PRSTATUS, regs.as_mut_bytes())?;
    if len == size_of::<Regs>() { Ok(regs) } else { Err(Errno::IO) }
}

/// Sets the general registers.
pub fn set_regs(tid: i32, regs: &Regs) -> Result<()> {
    set_regset(tid, NT_PRSTATUS, regs.as_bytes())
}

/// The XSAVE area in the standard format: x87, SSE, AVX, AVX-512, PKRU... as the processor has them.
pub fn get_xsave(tid: i32) -> Result<Vec<u8>> {
    let mut area = [0; XSAVE_MAX_LEN];
    let len = get_regset(tid, NT_X86_XSTATE, &mut area)?;
    Ok(area[..len].to_vec())
}

/// Sets the XSAVE area. `EINVAL` when it is shorter than this processor's.
pub fn set_xsave(tid: i32, area: &[u8]) -> Result<()> {
    set_regset(tid, NT_X86_XSTATE, area)
}

/// The signal mask, bit n-1 for signal n.
pub fn get_sigmask(tid: i32) -> Result<u64> {
    let mut mask = 0_u64;
    request(PTRACE_GETSIGMASK, tid, 8, (&raw mut mask).cast())?;
    Ok(mask)
}

/// Sets the signal mask (`SIGKILL` and `SIGSTOP` are left out by the kernel).
pub fn set_sigmask(tid: i32, mask: u64) -> Result<()> {
    let mut mask = mask;
    request(PTRACE_SETSIGMASK, tid, 8, (&raw mut mask).cast()).map(drop)
}

/// A `siginfo_t`, as bytes: which of its fields count depends on signal and code.
pub type SigInfo = [u8; 128];

/// Which of the two queues of pending signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Signals sent to the task itself.
    Private,
    /// Signals sent to its process.
    Shared,
}

#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct PeekSigInfoArgs {
    off: u64,
    flags: u32,
    nr: i32,
}

/// `PTRACE_PEEKSIGINFO`: all pending signals of a queue, in order, without taking them out.
pub fn peek_signals(tid: i32, queue: Queue) -> Result<Vec<SigInfo>> {
    const AT_ONCE: usize = 32;
    let mut all = Vec::new();
    loop {
        let args = PeekSigInfoArgs {
            off: all.len() as u64,
            flags: if queue == Queue::Shared { PTRACE_PEEKSIGINFO_SHARED } else { 0 },
            nr: AT_ONCE as i32,
        };
        let mut some = [[0_u8; 128]; AT_ONCE];
        let addr = &raw const args as usize;
        let count = request(libc::PTRACE_PEEKSIGINFO, tid, addr, some.as_mut_ptr().cast())? as usize;
        all.extend_from_slice(&some[..count.min(AT_ONCE)]);
        if count < AT_ONCE {
            return Ok(all);
        }
    }
}

/// `struct ptrace_rseq_configuration`: where a task's restartable-sequences area is; `address` 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the names are those of rseq(2)")]
pub struct RseqConfiguration {
    pub address: u64,
    pub size: u32,
    pub signature: u32,
    pub flags: u32,
    pad: u32,
}

/// `PTRACE_GET_RSEQ_CONFIGURATION` (Linux 5.13). `EIO` on a kernel without it.
pub fn get_rseq(tid: i32) -> Result<RseqConfiguration> {
    let mut configuration = RseqConfiguration::default();
    let size = size_of::<RseqConfiguration>();
    request(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, (&raw mut configuration).cast())?;
    Ok(configuration)
}

/// `struct ptrace_sud_config` (include/uapi/linux/ptrace.h): syscall user dispatch of a task; `mode` 0: off.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the names are those of the kernel")]
pub struct SyscallUserDispatch {
    pub mode: u64,
    pub selector: u64,
    pub offset: u64,
    pub len: u64,
}

/// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` (Linux 6.4; `EIO` before).
pub fn get_syscall_user_dispatch(tid: i32) -> Result<SyscallUserDispatch> {
    let mut config = SyscallUserDispatch::default();
    let size = size_of::<SyscallUserDispatch>();
    request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, size, (&raw mut config).cast())?;
    Ok(config)
}

/// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`.
pub fn set_syscall_user_dispatch(tid: i32, config: &SyscallUserDispatch) -> Result<()> {
    let mut config = *config;
    let size = size_of::<SyscallUserDispatch>();
    request(PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, tid, size, (&raw mut config).cast()).map(drop)
}

/// Length of `struct sock_filter` (include/uapi/linux/filter.h), in bytes.
pub const SOCK_FILTER_LEN: usize = 8;
/// `BPF_MAXINSNS`: the most instructions that a filter can have.
pub const SECCOMP_INSTRUCTIONS_MAX: usize = 4096;

/// `PTRACE_SECCOMP_GET_FILTER`: the instructions of a seccomp filter as it was installed, as `struct sock_filter`s. Index 0
/// is the latest. `ENOENT` beyond the first, `EACCES` without `CAP_SYS_ADMIN` or under a filter of our own, `EMEDIUMTYPE`
/// for one that was not installed by seccomp(2).
pub fn seccomp_filter(tid: i32, index: usize) -> Result<Vec<u8>> {
    let count = request(PTRACE_SECCOMP_GET_FILTER, tid, index, std::ptr::null_mut())? as usize;
    // The program stands still; should there be more nevertheless, they would not fit.
    let mut filter = vec![0_u8; count.max(SECCOMP_INSTRUCTIONS_MAX) * SOCK_FILTER_LEN];
    let count = request(PTRACE_SECCOMP_GET_FILTER, tid, index, filter.as_mut_ptr().cast())? as usize;
    filter.truncate(count * SOCK_FILTER_LEN);
    Ok(filter)
}

/// `PTRACE_SECCOMP_GET_METADATA`: the flags (`SECCOMP_FILTER_FLAG_*`) that the kernel remembers of a filter (Linux 4.16).
pub fn seccomp_filter_flags(tid: i32, index: usize) -> Result<u64> {
    let mut metadata = [index as u64, 0];
    let size = size_of_val(&metadata);
    request(PTRACE_SECCOMP_GET_METADATA, tid, size, metadata.as_mut_ptr().cast())?;
    Ok(metadata[1])
}

/// A TLS entry of the GDT (index 12 to 14), as `struct user_desc`.
pub fn get_thread_area(tid: i32, index: u32) -> Result<crate::arch::UserDesc> {
    let mut desc = crate::arch::UserDesc::default();
    request(PTRACE_GET_THREAD_AREA, tid, index as usize, (&raw mut desc).cast())?;
    Ok(desc)
}

/// Sets a TLS entry of the GDT.
pub fn set_thread_area(tid: i32, desc: &crate::arch::UserDesc) -> Result<()> {
    let mut desc = *desc;
    request(PTRACE_SET_THREAD_AREA, tid, desc.entry_number as usize, (&raw mut desc).cast()).map(drop)
}
