//! A batch: a list of system calls for a task to execute, with the data they point to.
//!
//! The task stops at the first step that fails, so that the error names it. An argument may be a number, the address
//! of data that travels with the batch (in or out), or the result of an earlier step.

use rekindle_sys::Errno;
use rekindle_sys::arch::entry_flags;
use std::borrow::Cow;

/// A step of a batch, to refer to its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepId(pub(crate) usize);

/// Bytes that travel with a batch; in memory of the task while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// The number itself.
    Value(u64),
    /// The address of data of this batch.
    Address(Data),
    /// What an earlier step returned.
    Result(StepId),
    /// The number that an earlier step has left at an offset in data of this batch (of which a call that takes an
    /// `int` sees 32 bits).
    Loaded(Data, usize),
}

macro_rules! arg_from {
    ($($number:ty as $wide:ty),*) => { $(
        impl From<$number> for Arg {
            fn from(value: $number) -> Self {
                Self::Value(<$wide>::from(value) as u64)
            }
        }
    )* };
}
// Negative numbers are extended, as -1 stands for "none" in many calls.
arg_from!(i32 as i64, u32 as u64, i64 as i64, u64 as u64);

impl From<usize> for Arg {
    fn from(value: usize) -> Self {
        Self::Value(value as u64)
    }
}

impl From<Data> for Arg {
    fn from(data: Data) -> Self {
        Self::Address(data)
    }
}

impl From<StepId> for Arg {
    fn from(step: StepId) -> Self {
        Self::Result(step)
    }
}

pub(crate) struct Step {
    pub(crate) label: Cow<'static, str>,
    pub(crate) nr: u32,
    pub(crate) flags: u32,
    pub(crate) args: [Arg; 6],
}

/// A list of system calls, in order.
#[derive(Default)]
pub struct Batch {
    pub(crate) steps: Vec<Step>,
    pub(crate) data: Vec<u8>,
    /// Data that hold the address of other data: (where, offset in it, of what).
    pub(crate) pointers: Vec<(Data, usize, Data)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Adds bytes for steps to point to. They are aligned to 8.
    pub fn data(&mut self, bytes: &[u8]) -> Data {
        let offset = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        Data { offset, len: bytes.len() }
    }

    /// Adds a string with the zero that ends it. (A zero inside cuts it short: paths have none.)
    pub fn c_string(&mut self, bytes: &[u8]) -> Data {
        let mut with_zero = bytes.to_vec();
        with_zero.push(0);
        self.data(&with_zero)
    }

    /// Adds room for `len` bytes of output.
    pub fn room(&mut self, len: usize) -> Data {
        self.data(&vec![0; len])
    }

    /// Makes the 8 bytes at `offset` of `data` hold the address of `target`, wherever the batch comes to lie.
    pub fn point_at(&mut self, data: Data, offset: usize, target: Data) {
        self.pointers.push((data, offset, target));
    }

    pub(crate) fn len_with_pointees(&self, data: Data) -> usize {
        let pointees = self.pointers.iter().filter(|(from, ..)| *from == data);
        let behind = pointees.map(|(.., to)| self.len_with_pointees(*to)).sum::<usize>();
        data.len.next_multiple_of(8) + behind
    }

    /// Adds a system call; `label` says what it is for when it fails. Missing arguments are 0.
    pub fn step<const N: usize>(
        &mut self,
        label: impl Into<Cow<'static, str>>,
        nr: u32,
        args: [Arg; N],
    ) -> StepId {
        const { assert!(N <= 6, "a system call has six arguments") };
        let mut all = [Arg::Value(0); 6];
        all[..N].copy_from_slice(&args);
        self.steps.push(Step { label: label.into(), nr, flags: 0, args: all });
        StepId(self.steps.len() - 1)
    }

    /// As [`Self::step`], for a call whose failure does not end the batch.
    pub fn step_may_fail<const N: usize>(
        &mut self,
        label: impl Into<Cow<'static, str>>,
        nr: u32,
        args: [Arg; N],
    ) -> StepId {
        let id = self.step(label, nr, args);
        self.steps[id.0].flags |= entry_flags::MAY_FAIL;
        id
    }

    /// As [`Self::step`], for a `clone3` that makes a thread, which goes its own way in the stub.
    pub fn step_clones<const N: usize>(
        &mut self,
        label: impl Into<Cow<'static, str>>,
        nr: u32,
        args: [Arg; N],
    ) -> StepId {
        let id = self.step(label, nr, args);
        self.steps[id.0].flags |= entry_flags::CLONES;
        id
    }
}

/// What the steps of a batch returned, and the data as they left it.
#[derive(Debug, Default)]
pub struct Answers {
    pub(crate) results: Vec<u64>,
    pub(crate) data: Vec<u8>,
}

impl Answers {
    /// Those before the first step has run.
    pub(crate) fn before(batch: &Batch) -> Self {
        Self { results: Vec::with_capacity(batch.steps.len()), data: batch.data.clone() }
    }

    /// What a step returned; an error for a step that was allowed to fail and did.
    pub fn result(&self, step: StepId) -> rekindle_sys::Result<u64> {
        let value = self.results.get(step.0).copied().unwrap_or(0);
        if is_error(value) { Err(Errno::from_raw_os_error(-(value as i64) as i32)) } else { Ok(value) }
    }

    /// Data as the steps left them.
    pub fn bytes(&self, data: Data) -> &[u8] {
        self.data.get(data.offset..data.offset + data.len).unwrap_or_default()
    }

    /// The little-endian number in the first 4 bytes of data.
    pub fn u32(&self, data: Data) -> u32 {
        self.bytes(data).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// The little-endian number in the first 8 bytes of data.
    pub fn u64(&self, data: Data) -> u64 {
        self.bytes(data).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Whether a raw return value is an errno: -4095 to -1.
pub(crate) fn is_error(value: u64) -> bool {
    value > u64::MAX - 4095
}
