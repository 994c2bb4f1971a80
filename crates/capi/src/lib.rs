//! The C interface of rekindle, declared and described in `include/rekindle.h`.
//!
//! ```text
//! rekindle_checkpoint(pid) ──> Checkpoint::of(pid)            rekindle_restart ──> Restore::from_open_file(fd)
//! rekindle_checkpoint(0) ──> own (a helper, forked)             each: -1, errno, and a sentence on failure
//! ```
//!
//! Nothing unwinds into the caller: a panic of ours becomes an error like any other.

mod error;
mod flags;
mod own;

use error::Failure;
use flags::{CheckpointFlags, RestartFlags};
use rekindle::{Checkpoint, Restore};
use rekindle_sys::Errno;
use rekindle_sys::library::own_descriptor;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::fs::File;
use std::panic::catch_unwind;
use std::sync::{PoisonError, RwLock};

/// The value in the restored copy of a program that checkpointed itself.
pub const RESTORED: c_int = 1;

/// Calls that are under way: any number, or one self-checkpoint alone.
static CALLS: RwLock<()> = RwLock::new(());

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// Writes an image of a process, or (0) of the calling one, to a descriptor. See `rekindle.h`.
#[expect(unsafe_code, reason = "C finds it by this name, which nothing else has")]
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_checkpoint(pid: c_int, fd: c_int, flags: c_ulong) -> c_int {
    guarded(|| checkpoint(pid, fd, flags))
}

/// Restores a process from a descriptor. See `rekindle.h`.
#[expect(unsafe_code, reason = "C finds it by this name, which nothing else has")]
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_restart(fd: c_int, flags: c_ulong) -> c_int {
    guarded(|| restart(fd, flags))
}

/// The sentence of the calling thread's last failure. See `rekindle.h`.
#[expect(unsafe_code, reason = "C finds it by this name, which nothing else has")]
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_error() -> *const c_char {
    error::sentence()
}

/// The library's version. See `rekindle.h`.
#[expect(unsafe_code, reason = "C finds it by this name, which nothing else has")]
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_version() -> *const c_char {
    VERSION.as_ptr()
}

fn checkpoint(pid: c_int, fd: c_int, flags: c_ulong) -> Result<c_int, Failure> {
    let flags = CheckpointFlags::of(flags)?;
    let own = std::process::id().cast_signed();
    if pid < 0 {
        return Err(Failure::new(Errno::INVAL, format!("{pid} is no pid; give one, or 0 for this process")));
    }
    if pid == own {
        return Err(Failure::new(
            Errno::INVAL,
            format!("{pid} is this very process; give 0 to checkpoint it"),
        ));
    }
    let out = image(fd)?;
    if pid == 0 {
        // A fork leaves locks of ours that another thread holds locked; and two helpers would be in each other's way.
        let _alone = CALLS.write().unwrap_or_else(PoisonError::into_inner);
        return own::checkpoint(out, flags);
    }
    let _beside_others = CALLS.read().unwrap_or_else(PoisonError::into_inner);
    Checkpoint::of(pid).kill(flags.contains(CheckpointFlags::KILL)).to_open_file(out)?;
    Ok(0)
}

fn restart(fd: c_int, flags: c_ulong) -> Result<c_int, Failure> {
    let flags = RestartFlags::of(flags)?;
    let _beside_others = CALLS.read().unwrap_or_else(PoisonError::into_inner);
    let restore = Restore::from_open_file(image(fd)?)?
        .detached(flags.contains(RestartFlags::DETACHED))
        .accept_changed_files(flags.contains(RestartFlags::ACCEPT_CHANGED_FILES));
    // A restore raises it as far as it may; the caller is to find it as it was.
    let limit = getrlimit(Resource::Nofile);
    let restored = restore.spawn();
    let _ = setrlimit(Resource::Nofile, limit); // lowering the soft limit is always allowed
    Ok(restored?.pid)
}

fn image(fd: c_int) -> Result<File, Failure> {
    let own = own_descriptor(fd);
    let own =
        own.map_err(|errno| Failure::new(errno, format!("descriptor {fd}, for the image, is not open")))?;
    Ok(File::from(own))
}

/// Calls it, and turns how it ends into what C expects.
fn guarded(call: impl FnOnce() -> Result<c_int, Failure> + std::panic::UnwindSafe) -> c_int {
    let panicked =
        |_| Err(Failure::new(Errno::IO, "a fault in rekindle itself: please report it".to_owned()));
    match catch_unwind(call).unwrap_or_else(panicked) {
        Ok(value) => {
            error::clear();
            value
        }
        Err(failure) => {
            failure.set();
            -1
        }
    }
}
