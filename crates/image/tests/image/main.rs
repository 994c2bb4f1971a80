//! Tests of the image from outside: everything through the crate's own interface.

#[cfg(test)]
mod alignment;
#[cfg(test)]
mod common;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod document;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod round_trip;
