//! Checkpoint and restore for running Linux processes, as a library.
//!
//! ```
//! use rekindle::{Checkpoint, Restore};
//! use std::process::{Command, Stdio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use rustix::process::{Pid, Signal, WaitOptions, geteuid, kill_process, waitpid};
//! # if !geteuid().is_root() {
//! #     return Ok(()); // a pid can be chosen by those alone who have CAP_CHECKPOINT_RESTORE
//! # }
//! # rekindle_sys::fs::keep_descriptors_from_children()?; // whatever the tests were started with
//! # let image = std::env::temp_dir().join(format!("rekindle-example-{}.rkd", std::process::id()));
//! let mut command = Command::new("sleep");
//! command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
//! let mut program = command.spawn()?;
//! let pid = program.id() as i32;
//!
//! let report = Checkpoint::of(pid).kill(true).to_file(&image)?;
//! println!("{} bytes; it stood still for {:?}", report.image_bytes, report.pause);
//! program.wait()?; // only then its pid is free
//!
//! let restored = Restore::from_file(&image)?.spawn()?;
//! assert_eq!(restored.pid, pid); // a child of ours that sleeps on
//! # std::fs::remove_file(&image)?;
//! # let pid = Pid::from_raw(pid).ok_or("no pid")?;
//! # kill_process(pid, Signal::TERM)?;
//! # let ended = waitpid(Some(pid), WaitOptions::empty())?;
//! # assert_eq!(ended.and_then(|(_, status)| status.terminating_signal()), Some(Signal::TERM.as_raw()));
//! # Ok(())
//! # }
//! ```
//!
//! What cannot be captured, or not be restored here and now, is told all at once, before anything is touched
//! ([`Error::Refused`], [`Error::DoesNotFit`]); [`checkpoint::check`] asks beforehand. C programs have the header
//! `rekindle.h` of the crate `rekindle-capi`, and can checkpoint themselves.

pub mod checkpoint;
mod error;
pub mod fault;
pub mod features;
pub mod inspect;
mod json;
pub mod kinds;
mod parallel;
pub mod record;
pub mod refusal;
pub mod restore;
pub mod stage;
mod ties;
mod view;
mod waits;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use refusal::Refusal;
pub use restore::Restore;
