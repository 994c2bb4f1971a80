//! The kernel as rekindle needs it: system calls, structures and constants, each once, each with its source.
//!
//! This is the only crate of the workspace with `unsafe` code. Every block says under which conditions it is sound
//! and why they hold. What is exported is safe to call: a wrong tid, address or length makes a call fail with an
//! errno, it never breaks our own memory. What a call does to *another* process is the caller's business.
//!
//! Where `rustix` has a call, callers use `rustix` directly; here is what it lacks.

pub mod apart;
pub mod arch;
pub mod clone;
pub mod enclosure;
pub mod epoll;
pub mod fs;
pub mod futex;
pub mod library;
pub mod mqueue;
pub mod nr;
pub mod probe;
pub mod ptrace;
pub mod shared;
pub mod signal;
pub mod sigwait;
pub mod sock_diag;
pub mod socket;
pub mod sysv;
pub mod task;
pub mod tty;
pub mod uring;
pub mod vm;
pub mod wait;

pub use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// The size of a page on every architecture that rekindle knows, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Turns the return value of a `libc` wrapper (-1 and `errno`) into a result.
fn check(value: libc::c_long) -> Result<u64> {
    if value == -1 { Err(last_errno()) } else { Ok(value as u64) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Writes an errno as its name and meaning: `ENOENT (No such file or directory)`.
pub fn errno_text(errno: Errno) -> String {
    let name = match errno {
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::SRCH => "ESRCH",
        Errno::INTR => "EINTR",
        Errno::IO => "EIO",
        Errno::BADF => "EBADF",
        Errno::CHILD => "ECHILD",
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::ACCESS => "EACCES",
        Errno::FAULT => "EFAULT",
        Errno::BUSY => "EBUSY",
        Errno::EXIST => "EEXIST",
        Errno::NODEV => "ENODEV",
        Errno::NOTDIR => "ENOTDIR",
        Errno::ISDIR => "EISDIR",
        Errno::INVAL => "EINVAL",
        Errno::NFILE => "ENFILE",
        Errno::MFILE => "EMFILE",
        Errno::NOTTY => "ENOTTY",
        Errno::TXTBSY => "ETXTBSY",
        Errno::FBIG => "EFBIG",
        Errno::NOSPC => "ENOSPC",
        Errno::ROFS => "EROFS",
        Errno::PIPE => "EPIPE",
        Errno::NOSYS => "ENOSYS",
        Errno::LOOP => "ELOOP",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::NXIO => "ENXIO",
        _ => "",
    };
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    if name.is_empty() {
        format!("{text} (errno {})", errno.raw_os_error())
    } else {
        format!("{name} ({text})")
    }
}
