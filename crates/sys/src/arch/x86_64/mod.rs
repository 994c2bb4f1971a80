//! x86_64: registers as ptrace shows them, the stub that executes batches, the frame that leads back.

mod frame;
mod regs;
mod stub;
pub mod xsave;

pub use frame::{FRAME_FIXED_LEN, SignalFrame};
pub use regs::{Regs, UserDesc, XSAVE_MAX_LEN};
pub use stub::{Entry, StubEntry, TABLE_END, entry_flags, stub_code, stub_entry_offset};

/// The identity of this architecture in an image.
pub const ARCH_NAME: &str = "x86_64";

/// One past the highest address a 64-bit program can map with four page-table levels
/// (arch/x86/include/asm/page_64_types.h, TASK_SIZE_MAX).
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// The length of a `syscall` instruction: what the kernel steps back by to execute a call again.
pub const SYSCALL_LEN: u64 = 2;
