//! Tests of the image from outside: everything through the crate's own interface.

mod common;
mod round_trip;
