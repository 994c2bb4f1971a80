//! Questions to the kernel about itself: is a call there, may we use it? Each asks in a way that changes nothing, and
//! answers with the errno that a real use would have met.

use crate::{Errno, Result, check};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Whether a process may be cloned with a pid of our choice (clone3(2) with `set_tid`, Linux 5.5). `EPERM` without
/// `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
///
/// Asks for our own pid, which is taken: the kernel looks at the right first (kernel/pid.c, `alloc_pid`), and then
/// says `EEXIST`. No process ever comes of it.
pub fn may_choose_pids() -> Result<()> {
    let own = [std::process::id() as i32];
    // struct clone_args up to set_tid_size (CLONE_ARGS_SIZE_VER1); only the last two and exit_signal are not 0.
    let args = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, own.as_ptr() as u64, 1_u64];
    // SAFETY: `args` and `own` are live and of the lengths passed. Should a child come to be against all sense, it is
    // an ordinary fork that only exits.
    let value = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match check(value) {
        // SAFETY: ends the process that it is called in.
        Ok(0) => unsafe { libc::_exit(0) },
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether the bounds of an address space can be set (`PR_SET_MM_MAP`, with `CONFIG_CHECKPOINT_RESTORE`): `EINVAL` if
/// not.
pub fn mm_bounds_can_be_set() -> Result<()> {
    let mut size = 0_u32;
    // SAFETY: `size` is a live unsigned int, which PR_SET_MM_MAP_SIZE fills.
    let value = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) };
    check(value.into()).map(drop)
}

/// Whether the vDSO can be mapped at an address of our choice (`ARCH_MAP_VDSO_64`, with `CONFIG_CHECKPOINT_RESTORE`):
/// `EINVAL` if not. We have one already, and so are told `EEXIST` before anything is mapped
/// (arch/x86/entry/vdso/vma.c, `map_vdso_once`).
pub fn vdso_can_be_mapped() -> Result<()> {
    const ARCH_MAP_VDSO_64: i32 = 0x2003;
    // SAFETY: numbers only. A process without a vDSO would get one at a place of the kernel's choice, as at exec.
    let value = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_MAP_VDSO_64, 0) };
    match check(value) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether anonymous memory can be named (`PR_SET_VMA_ANON_NAME`, Linux 5.17 with `CONFIG_ANON_VMA_NAME`): `EINVAL`
/// if not. Names nothing: the range is empty.
pub fn memory_can_be_named() -> Result<()> {
    const PR_SET_VMA: i32 = 0x5356_4d41;
    // SAFETY: numbers only; the range has no pages.
    check(unsafe { libc::prctl(PR_SET_VMA, 0, 0, 0, 0) }.into()).map(drop)
}

/// `UFFD_FEATURE_PAGEFAULT_FLAG_WP` (include/uapi/linux/userfaultfd.h).
pub const UFFD_WRITE_PROTECT: u64 = 1;
/// `UFFD_FEATURE_WP_ASYNC`, Linux 6.7.
pub const UFFD_WP_ASYNC: u64 = 1 << 15;

/// The features of userfaultfd(2), for one that takes the kernel's faults too. `EPERM` without `CAP_SYS_PTRACE`, unless
/// the sysctl vm.unprivileged_userfaultfd is 1.
pub fn userfaultfd_features() -> Result<u64> {
    /// `_IOWR(0xaa, 0x3f, struct uffdio_api)`
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    // SAFETY: numbers only; the descriptor is new, and owned by nobody else.
    let fd = unsafe {
        let fd = check(libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    let mut api = [0xaa_u64, 0, 0]; // version, features, ioctls
    // SAFETY: `api` is a live struct uffdio_api, of three 64-bit fields.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) }.into())?;
    Ok(api[1])
}

/// A child that does nothing, to be looked at as another process is; it ends with this value, or with the thread that
/// started it.
#[derive(Debug)]
pub struct Bystander {
    pid: i32,
}

impl Bystander {
    /// Starts one.
    pub fn start() -> Result<Self> {
        // SAFETY: the child of a process with threads may only make calls that are safe in a signal handler: these
        // are.
        let pid = unsafe {
            let pid = check(libc::fork().into())?;
            if pid == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
            pid as i32
        };
        Ok(Self { pid })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = crate::signal::kill(self.pid, libc::SIGKILL); // it is our child, and not reaped before
        while !matches!(
            crate::wait::wait(self.pid),
            Err(_) | Ok(crate::wait::Event::Killed(_) | crate::wait::Event::Exited(_))
        ) {}
    }
}

#[cfg(test)]
mod tests {
    use super::Bystander;

    #[test]
    fn a_bystander_is_there_and_then_gone() {
        let bystander = Bystander::start().unwrap();
        let proc = format!("/proc/{}", bystander.pid());
        assert!(std::path::Path::new(&proc).exists());
        drop(bystander);
        assert!(!std::path::Path::new(&proc).exists());
    }

    #[test]
    fn asking_for_a_taken_pid_makes_no_child() {
        let _ = super::may_choose_pids();
        // The children of this thread alone; other tests have theirs.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children, "");
    }
}
