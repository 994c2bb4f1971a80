//! The birth of a restored process: clone3(2) of ourselves, straight into the stub.

use crate::{Errno, Result};

/// `struct clone_args` (include/uapi/linux/sched.h).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whose child a clone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// Ours.
    Child,
    /// Our parent's (`CLONE_PARENT`).
    Sibling,
}

/// All handlers of the child are set to the default (Linux 5.5).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Clones a child with the given pid (0: any) that does nothing but jump to `entry` with `control` in `rbx`: it waits there
/// for commands and never returns into our code. `EEXIST` when the pid is taken, `EPERM` without the right to choose
/// it (`CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`). All signals are blocked in the child, and pass to its threads so.
pub fn clone_into_stub(pid: i32, kinship: Kinship, entry: u64, control: u64) -> Result<i32> {
    let set_tid = [pid];
    // A sibling's exit signal is ours.
    let (parent, exit_signal) = match kinship {
        Kinship::Child => (0, libc::SIGCHLD),
        Kinship::Sibling => (libc::CLONE_PARENT, 0),
    };
    let args = CloneArgs {
        flags: CLONE_CLEAR_SIGHAND | parent as u64,
        exit_signal: exit_signal as u64,
        set_tid: if pid == 0 { 0 } else { set_tid.as_ptr() as u64 },
        set_tid_size: u64::from(pid != 0),
        ..CloneArgs::default()
    };
    let all = !0_u64;
    let mut before = 0_u64;
    // SAFETY: the masks are live 8-byte values, which is the size passed.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, &raw mut before, 8);
    }
    let result: i64;
    // SAFETY: `args` and `set_tid` are live for the call. In the parent the instruction sequence is an ordinary
    // system call. The child has a copy of our memory and jumps to the stub at once, without touching the stack;
    // no Rust code runs in it. The caller passes the address of a mapped stub; a wrong one kills only the child.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rbx, r8",
            "xor r13d, r13d",
            "jmp r9",
            "2:",
            in("r8") control,
            in("r9") entry,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const before, 0_usize, 8);
    }
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as i32) }
}

/// A child of ours that has ended, and that nobody has waited for: a pid that pidfd_open(2) takes. It is waited for when
/// this is dropped. It sends no signal, and only a wait with `__WALL` or `__WCLONE` sees it.
#[derive(Debug)]
pub struct Corpse(i32);

impl Corpse {
    /// Clones a child that ends at once.
    pub fn make() -> Result<Self> {
        let args = CloneArgs::default();
        let result: i64;
        // SAFETY: `args` is live for the call. In the parent the instruction sequence is an ordinary system call. The child
        // has a copy of our memory, touches none of it, and executes nothing but `exit_group(0)`.
        unsafe {
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "mov eax, 231",
                "xor edi, edi",
                "syscall",
                "ud2",
                "2:",
                inlateout("rax") libc::SYS_clone3 => result,
                in("rdi") &raw const args,
                in("rsi") size_of::<CloneArgs>(),
                out("rcx") _,
                out("r11") _,
            );
        }
        if result < 0 {
            return Err(Errno::from_raw_os_error(-result as i32));
        }
        let corpse = Self(result as i32);
        crate::wait::await_end_of_child(corpse.0)?;
        Ok(corpse)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.0
    }
}

impl Drop for Corpse {
    fn drop(&mut self) {
        // If it has been waited for already, there is nothing left to do.
        let _ = crate::wait::wait_status(self.0);
    }
}

/// What a task in the stub clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offspring {
    /// A thread of its process.
    Thread,
    /// A child. What the two share beyond a fork: `CLONE_VM`, `CLONE_FILES`, `CLONE_FS`, `CLONE_SIGHAND`...
    Child(u32),
    /// A process with the same parent (`CLONE_PARENT`), likewise.
    Sibling(u32),
}

/// The bytes of a `struct clone_args` for a batch, with room for the address of one 32-bit tid (`set_tid`). The stack
/// pointer of what is cloned begins at `stack_base` + `stack_len`. `exit_signal` is a child's.
pub fn clone_args(what: Offspring, exit_signal: i32, stack_base: u64, stack_len: u64) -> [u8; 88] {
    let (flags, exit_signal) = match what {
        Offspring::Thread => {
            let flags = libc::CLONE_VM
                | libc::CLONE_FS
                | libc::CLONE_FILES
                | libc::CLONE_SIGHAND
                | libc::CLONE_THREAD
                | libc::CLONE_SYSVSEM;
            (flags as u64, 0)
        }
        Offspring::Child(shared) => (shared.into(), exit_signal as u64),
        // The kernel takes the signal of whoever clones.
        Offspring::Sibling(shared) => (libc::CLONE_PARENT as u64 | u64::from(shared), 0),
    };
    let fields = [flags, 0, 0, 0, exit_signal, stack_base, stack_len, 0, 0, 1, 0];
    let mut bytes = [0; 88];
    for (chunk, field) in bytes.chunks_exact_mut(8).zip(fields) {
        chunk.copy_from_slice(&field.to_le_bytes());
    }
    bytes
}
