//! All tests that see the crate from outside, in one binary: it links once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, and in what only tests call, a failure is a failure"
)]

mod parsers;
mod properties;
mod speed;
mod this_machine;
