//! Memory that starts at a multiple of 4096, in safe Rust: a vector a page too long, used from the right place on.
//!
//! `O_DIRECT` wants such memory, and the kernel copies whole pages into it faster. The vector never grows, so its
//! memory never moves, even when the value does.

use crate::layout::PAGE;

/// A fixed number of bytes, aligned to [`PAGE`]; zero at first.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        let memory = vec![0; len + PAGE - 1];
        let start = memory.as_ptr().addr().wrapping_neg() % PAGE;
        Aligned { memory, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
