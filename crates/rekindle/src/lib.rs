//! Checkpoint and restore for running Linux processes, as a library.

pub mod checkpoint;
mod error;
pub mod fault;
pub mod features;
pub mod inspect;
mod json;
pub mod kinds;
pub mod record;
pub mod refusal;
pub mod restore;
mod view;
mod waits;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use refusal::Refusal;
pub use restore::Restore;
