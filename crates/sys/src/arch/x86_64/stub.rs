//! The stub: the machine code that a tracee runs for us. It walks a table of [`Entry`]s and executes a system call
//! for each; it decides nothing.
//!
//! Registers while it runs:
//!
//! | register | holds |
//! |---|---|
//! | `rbx` | the task's control block (see `rekindle-tracee`, `control.rs`, for its layout) |
//! | `r12` | the entry being executed |
//! | `r13` | 0 or 1: which of the two command words is waited on next; 2: run one table, then lead back |
//! | `r14`, `r15` | address and length that `leave` unmaps |
//! | `rsp` | eight bytes into a signal frame, so that `rt_sigreturn` leads back to the program |
//!
//! Ways in (see [`StubEntry`]):
//!
//! ```text
//! boot ── mmap (shared, anonymous) ── leave                                 (stopped by us before `leave`)
//! boot-memfd ── memfd_create, ftruncate, mmap ── close, leave               (stopped by us before `close`)
//! serve ── wait for a command word ──┬─ 0: run the table, count it done, wait again
//!                                    └─ owner died: run the recovery table ── leave
//! once ── run the table ── leave
//! leave ── munmap(r14, r15), rt_sigreturn
//! thread ── as `serve`, but begins by running its table; rbx is popped from its stack
//! ```
//!
//! So wherever the supervisor dies, what is left of the path ends in `rt_sigreturn` on the program's own state.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One system call of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Entry {
    /// The number of the system call, or [`TABLE_END`].
    pub nr: u32,
    /// See [`entry_flags`].
    pub flags: u32,
    /// The arguments.
    pub args: [u64; 6],
    /// What the call returned.
    pub result: u64,
}

/// The number that ends a table.
pub const TABLE_END: u32 = u32::MAX;

/// Bits of [`Entry::flags`].
pub mod entry_flags {
    /// Argument `n` is the address of a 64-bit value to be taken instead (the result of an earlier entry).
    pub const fn indirect(n: usize) -> u32 {
        1 << n
    }
    /// The table goes on when this call fails.
    pub const MAY_FAIL: u32 = 1 << 8;
    /// The call creates a thread, which begins where the stub serves threads.
    pub const CLONES: u32 = 1 << 9;
}

/// Where the stub can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StubEntry {
    /// Makes the shared area: executes the system call preset in the registers (`mmap`), `r15` holds the length.
    Boot,
    /// As `Boot`, for who may not open /proc/PID/map_files: `rax`.. hold `memfd_create`.
    BootMemfd,
    /// Waits for commands.
    Serve,
    /// Runs the table at `r12` once (with `r13` = 2), then leaves.
    Once,
    /// Leaves: unmaps, and goes back to the program.
    Leave,
}

std::arch::global_asm!(
    ".pushsection .rodata.rekindle_stub, \"a\"",
    ".globl rekindle_stub_begin",
    "rekindle_stub_begin:",
    // ---- boot: mmap and its arguments are preset
    ".globl rekindle_stub_boot",
    "rekindle_stub_boot:",
    "  syscall",
    "  mov r14, rax",
    "  jmp rekindle_stub_leave",
    // ---- boot-memfd: memfd_create(rdi, rsi) is preset in rax, rdi, rsi
    ".globl rekindle_stub_boot_memfd",
    "rekindle_stub_boot_memfd:",
    "  syscall",
    "  mov r14, rax",
    "  mov rdi, r14",
    "  mov rsi, r15",
    "  mov eax, 77", // ftruncate
    "  syscall",
    "  xor edi, edi",
    "  mov rsi, r15",
    "  mov edx, 3",  // PROT_READ|PROT_WRITE
    "  mov r10d, 1", // MAP_SHARED
    "  mov r8, r14",
    "  xor r9d, r9d",
    "  mov eax, 9", // mmap
    "  syscall",
    "  mov rbx, rax",
    "  mov rdi, r14",
    "  mov eax, 3", // close: the supervisor stops us at its entry
    "  syscall",
    "  mov r14, rbx",
    // ---- leave
    ".globl rekindle_stub_leave",
    "rekindle_stub_leave:",
    "  mov rdi, r14",
    "  mov rsi, r15",
    "  mov eax, 11", // munmap
    "  syscall",
    "  mov eax, 15", // rt_sigreturn
    "  syscall",
    "  hlt",
    // ---- thread: a thread that a table cloned
    "3:",
    "  pop rbx",
    "  xor r13d, r13d",
    "  jmp 5f",
    // ---- serve
    ".globl rekindle_stub_serve",
    "rekindle_stub_serve:",
    "4:",
    "  lea rdi, [rbx + r13*8]",
    "  mov edx, [rdi]",
    "  test edx, edx",
    "  jz 5f",
    "  bt edx, 30", // FUTEX_OWNER_DIED
    "  jc 8f",
    "  xor esi, esi", // FUTEX_WAIT
    "  xor r10d, r10d",
    "  mov eax, 202", // futex
    "  syscall",
    "  jmp 4b",
    // run the table
    "5:",
    "  mov r12, [rbx + 16]",
    ".globl rekindle_stub_once",
    "rekindle_stub_once:",
    "6:",
    "  mov eax, [r12]",
    "  cmp eax, -1",
    "  je 7f",
    "  mov ebp, [r12 + 4]",
    "  mov rdi, [r12 + 8]",
    "  test bpl, 1",
    "  jz 20f",
    "  mov rdi, [rdi]",
    "20: mov rsi, [r12 + 16]",
    "  test bpl, 2",
    "  jz 21f",
    "  mov rsi, [rsi]",
    "21: mov rdx, [r12 + 24]",
    "  test bpl, 4",
    "  jz 22f",
    "  mov rdx, [rdx]",
    "22: mov r10, [r12 + 32]",
    "  test bpl, 8",
    "  jz 23f",
    "  mov r10, [r10]",
    "23: mov r8, [r12 + 40]",
    "  test bpl, 16",
    "  jz 24f",
    "  mov r8, [r8]",
    "24: mov r9, [r12 + 48]",
    "  test bpl, 32",
    "  jz 25f",
    "  mov r9, [r9]",
    "25: syscall",
    "  test ebp, 0x200",
    "  jz 26f",
    "  test rax, rax",
    "  jz 3b", // the new thread
    "26: mov [r12 + 56], rax",
    "  test ebp, 0x100",
    "  jnz 27f",
    "  cmp rax, -4095",
    "  jae 7f",
    "27: add r12, 64",
    "  jmp 6b",
    // the table is done, or stopped at its first failure
    "7:",
    "  cmp r13d, 2",
    "  je rekindle_stub_leave",
    "  mov [rbx + 24], r12",
    "  lea rdi, [rbx + 40]",
    "  lock inc dword ptr [rdi]",
    "  mov esi, 1", // FUTEX_WAKE
    "  mov edx, 1",
    "  mov eax, 202",
    "  syscall",
    "  xor r13d, 1",
    "  jmp 4b",
    // the supervisor died
    "8:",
    "  mov r12, [rbx + 32]",
    "  mov r13d, 2",
    "  jmp 6b",
    "rekindle_stub_end:",
    ".globl rekindle_stub_end",
    ".popsection",
);

// SAFETY: the labels are defined by the assembly above, in read-only memory; they are only ever taken the address of,
// but for the slice in `stub_code`, which lies between the first and the last of them.
unsafe extern "C" {
    static rekindle_stub_begin: u8;
    static rekindle_stub_boot: u8;
    static rekindle_stub_boot_memfd: u8;
    static rekindle_stub_leave: u8;
    static rekindle_stub_serve: u8;
    static rekindle_stub_once: u8;
    static rekindle_stub_end: u8;
}

/// The stub's machine code. It is position-independent.
pub fn stub_code() -> &'static [u8] {
    let begin = &raw const rekindle_stub_begin;
    let end = &raw const rekindle_stub_end;
    // SAFETY: both labels are in one section, the second after the first, and everything between them is the
    // initialised, immutable code above.
    unsafe { std::slice::from_raw_parts(begin, end as usize - begin as usize) }
}

/// The offset of a way in from the start of [`stub_code`], in bytes.
pub fn stub_entry_offset(entry: StubEntry) -> u64 {
    let label = match entry {
        StubEntry::Boot => &raw const rekindle_stub_boot,
        StubEntry::BootMemfd => &raw const rekindle_stub_boot_memfd,
        StubEntry::Serve => &raw const rekindle_stub_serve,
        StubEntry::Once => &raw const rekindle_stub_once,
        StubEntry::Leave => &raw const rekindle_stub_leave,
    };
    let begin = &raw const rekindle_stub_begin;
    (label as usize - begin as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_fits_into_the_tail_of_a_vdso() {
        assert!(stub_code().len() < 512, "{} bytes", stub_code().len());
        assert!(stub_entry_offset(StubEntry::Once) < stub_code().len() as u64);
    }
}
