//! What depends on the processor: registers, the stub, the signal frame.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
#[cfg(not(target_arch = "x86_64"))]
compile_error!("rekindle runs on x86_64 only, so far");
