//! `struct user_regs_struct`: the general registers as `PTRACE_GETREGSET` with `NT_PRSTATUS` gives them
//! (arch/x86/include/asm/user_64.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The general registers of a task, in the kernel's order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the names are the processor's own")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Regs {
    /// The code segment of a 64-bit task (arch/x86/include/asm/segment.h, `__USER_CS`).
    pub const CS_64: u64 = 0x33;

    /// The number of the system call that the task was in when it stopped, if it was in one.
    pub fn in_syscall(&self) -> Option<i64> {
        let nr = self.orig_rax as i64;
        (nr >= 0).then_some(nr)
    }

    /// What the system call that the task was in is about to return.
    pub fn syscall_result(&self) -> i64 {
        self.rax as i64
    }

    /// The six arguments of the system call that the task was in.
    pub fn syscall_args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Makes the task execute its system call again, with the arguments that are still in its registers, and tells
    /// the kernel that this is no longer its own business (`orig_rax` = -1).
    pub fn reexecute_syscall(&mut self) {
        self.rax = self.orig_rax;
        self.rip = self.rip.wrapping_sub(super::SYSCALL_LEN);
        self.orig_rax = u64::MAX;
    }
}

/// The largest XSAVE area asked for, in bytes: room for AMX tiles and what may follow.
pub const XSAVE_MAX_LEN: usize = 16 * 1024;

/// `struct user_desc`: a segment of the LDT or of the TLS part of the GDT (arch/x86/include/uapi/asm/ldt.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UserDesc {
    /// Index of the entry.
    pub entry_number: u32,
    /// Base address of the segment.
    pub base_addr: u32,
    /// Its limit, in bytes or pages.
    pub limit: u32,
    /// The bit field from `seg_32bit` to `lm`.
    pub flags: u32,
}
