//! The flags of the calls, as `rekindle.h` has them. A bit that is not known is refused, so that it can mean something
//! one day.

use crate::error::Failure;
use rekindle_sys::Errno;
use std::ffi::c_ulong;

bitflags::bitflags! {
    /// Of `rekindle_checkpoint`.
    #[derive(Clone, Copy)]
    pub(crate) struct CheckpointFlags: c_ulong {
        const KILL = 0x1;
    }

    /// Of `rekindle_restart`.
    #[derive(Clone, Copy)]
    pub(crate) struct RestartFlags: c_ulong {
        const DETACHED = 0x1;
        const ACCEPT_CHANGED_FILES = 0x2;
    }
}

impl CheckpointFlags {
    pub(crate) fn of(bits: c_ulong) -> Result<Self, Failure> {
        Self::from_bits(bits).ok_or_else(|| unknown(bits & !Self::all().bits()))
    }
}

impl RestartFlags {
    pub(crate) fn of(bits: c_ulong) -> Result<Self, Failure> {
        Self::from_bits(bits).ok_or_else(|| unknown(bits & !Self::all().bits()))
    }
}

fn unknown(bits: c_ulong) -> Failure {
    Failure::new(Errno::INVAL, format!("the flags {bits:#x} are not known to this version of rekindle"))
}
