//! The signal frame that `rt_sigreturn` takes a task's state back from (arch/x86/include/asm/sigframe.h,
//! arch/x86/include/uapi/asm/sigcontext.h).
//!
//! ```text
//! 0    pretcode            8 bytes, not looked at
//! 8    uc_flags, uc_link   16 bytes           <- rsp when rt_sigreturn is executed
//! 24   uc_stack            24 bytes
//! 48   sigcontext          256 bytes
//! 304  uc_sigmask          8 bytes
//! 312  siginfo             128 bytes, not looked at
//! 448  fpstate             XSAVE area, 64-byte aligned, then FP_XSTATE_MAGIC2
//! ```

use super::Regs;

/// Offset of the floating-point state, in bytes from the start of the frame; the frame must be 64-byte aligned.
pub const FRAME_FIXED_LEN: usize = 448;

const UC_FLAGS: usize = 8;
const UC_STACK: usize = 24;
const SIGCONTEXT: usize = 48;
const UC_SIGMASK: usize = 304;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS` (arch/x86/include/uapi/asm/ucontext.h).
const UC_FLAGS_VALUE: u64 = 0x1 | 0x2 | 0x4;
/// `ss_flags` that `sigaltstack` refuses, so that the alternate stack stays as it is: the kernel ignores the failure.
const SS_FLAGS_REFUSED: u32 = 0x7f;
/// Offset of `sw_reserved` in the legacy part of the XSAVE area (`struct _fpx_sw_bytes`).
const SW_RESERVED: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Offset of the kernel-known feature bits (`XCR0`) that ptrace leaves in the software-reserved bytes.
const XSTATE_HEADER: usize = 512;

/// A frame that puts a task back to a state.
pub struct SignalFrame;

impl SignalFrame {
    /// The frame for `regs`, the signal mask and the XSAVE area as `NT_X86_XSTATE` gives it, to be written at
    /// `address` (64-byte aligned). `rt_sigreturn` must then be executed with `rsp` = `address` + 8.
    ///
    /// A task that was interrupted in a system call that it would restart is made to execute the call again, as
    /// the kernel forgets about restarting on `rt_sigreturn`.
    pub fn build(address: u64, regs: &Regs, sigmask: u64, xsave: &[u8]) -> Vec<u8> {
        let xsave = without_unused_tiles(xsave);
        let mut frame = vec![0_u8; Self::len(xsave.len())];
        let mut put =
            |offset: usize, bytes: &[u8]| frame[offset..offset + bytes.len()].copy_from_slice(bytes);

        put(UC_FLAGS, &UC_FLAGS_VALUE.to_le_bytes());
        put(UC_STACK + 8, &SS_FLAGS_REFUSED.to_le_bytes());
        let r = regs;
        let general = [
            r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax,
            r.rcx, r.rsp, r.rip, r.eflags,
        ];
        for (i, value) in general.iter().enumerate() {
            put(SIGCONTEXT + i * 8, &value.to_le_bytes());
        }
        let selectors = [r.cs as u16, r.gs as u16, r.fs as u16, r.ss as u16];
        for (i, value) in selectors.iter().enumerate() {
            put(SIGCONTEXT + 144 + i * 2, &value.to_le_bytes());
        }
        put(UC_SIGMASK, &sigmask.to_le_bytes());

        if xsave.len() > XSTATE_HEADER {
            let fpstate = address + FRAME_FIXED_LEN as u64;
            put(SIGCONTEXT + 184, &fpstate.to_le_bytes());
            put(FRAME_FIXED_LEN, xsave);
            Self::put_software_bytes(&mut frame[FRAME_FIXED_LEN..], xsave.len());
        }
        frame
    }

    /// The length of a frame for an XSAVE area of `xsave_len` bytes.
    pub fn len(xsave_len: usize) -> usize {
        FRAME_FIXED_LEN + xsave_len + 4
    }

    fn put_software_bytes(fpstate: &mut [u8], xsave_len: usize) {
        // What ptrace shows in the first eight software bytes is the mask of features in use (XCR0).
        let mut xfeatures = u64_at(fpstate, SW_RESERVED);
        if xsave_len <= TILE_DATA_OFFSET {
            xfeatures &= !XFEATURE_TILE_DATA;
        }
        let extended_size = xsave_len as u32 + 4;
        fpstate[SW_RESERVED..SW_RESERVED + 4].copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
        fpstate[SW_RESERVED + 4..SW_RESERVED + 8].copy_from_slice(&extended_size.to_le_bytes());
        fpstate[SW_RESERVED + 8..SW_RESERVED + 16].copy_from_slice(&xfeatures.to_le_bytes());
        fpstate[SW_RESERVED + 16..SW_RESERVED + 20].copy_from_slice(&(xsave_len as u32).to_le_bytes());
        fpstate[xsave_len..xsave_len + 4].copy_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
    }
}

/// The AMX tile data, the one feature a program must ask for: a frame that holds it is refused by the kernel for a
/// task that has not (arch/x86/kernel/fpu/signal.c, `check_xstate_in_sigframe`).
const XFEATURE_TILE_DATA: u64 = 1 << 18;
/// Where it lies in the standard format (CPUID leaf 0xd, sub-leaf 18).
const TILE_DATA_OFFSET: usize = 2816;

fn without_unused_tiles(xsave: &[u8]) -> &[u8] {
    let in_use = xsave.len() > XSTATE_HEADER + 8 && u64_at(xsave, XSTATE_HEADER) & XFEATURE_TILE_DATA != 0;
    if in_use || xsave.len() <= TILE_DATA_OFFSET { xsave } else { &xsave[..TILE_DATA_OFFSET] }
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0_u8; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}
