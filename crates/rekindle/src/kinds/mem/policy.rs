//! NUMA policy (mbind(2), set_mempolicy(2)): of mappings here, of tasks in `task/memory_policy.rs`.

use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, Data, StepId};

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// `MPOL_*` with its mode flags, as mbind(2) takes it.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// The nodes, as mbind(2) takes them: one bit a node.
    #[prost(fixed64, repeated, tag = "2")]
    pub nodes: Vec<u64>,
}

impl Record {
    /// A policy; nodes that are not there are left out.
    pub fn new(mode: u32, mut nodes: Vec<u64>) -> Self {
        nodes.truncate(nodes.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        Self { mode, nodes }
    }

    /// The nodes, and how many bits the calls are to look at.
    pub fn node_mask(&self, batch: &mut Batch) -> (Data, usize) {
        let bytes: Vec<u8> = self.nodes.iter().flat_map(|word| word.to_le_bytes()).collect();
        (batch.data(&bytes), self.nodes.len() * 64 + 1)
    }
}

/// Bits of a node mask: as many nodes as any kernel is built for.
pub const NODES: usize = 1024;

/// The step that asks for a policy, and where its answer comes.
pub struct Question {
    step: StepId,
    mode: Data,
    nodes: Data,
}

/// `MPOL_F_ADDR`
const OF_ADDRESS: u64 = 2;

/// A step that asks only whether there is a policy, which is cheaper for many addresses.
pub struct Glance {
    step: StepId,
    mode: Data,
}

/// Asks whether a policy governs an address, its mapping's own or the task's.
pub fn glance(address: u64, batch: &mut Batch) -> Glance {
    let mode = batch.room(4);
    let args = [mode.into(), 0.into(), 0.into(), address.into(), OF_ADDRESS.into()];
    // ENOSYS in a kernel without NUMA.
    Glance { step: batch.step_may_fail("get_mempolicy", nr::GET_MEMPOLICY, args), mode }
}

/// Whether one does.
pub fn governs(glance: &Glance, answers: &Answers) -> bool {
    answers.result(glance.step).is_ok() && answers.u32(glance.mode) != 0
}

/// Asks for the policy that governs an address, or for that of the task (get_mempolicy(2)). /proc/PID/numa_maps would
/// tell as well, but walks all pages for it.
pub fn ask(address: Option<u64>, batch: &mut Batch) -> Question {
    let (mode, nodes) = (batch.room(4), batch.room(NODES / 8));
    let flags = if address.is_some() { OF_ADDRESS } else { 0 };
    let args = [mode.into(), nodes.into(), NODES.into(), address.unwrap_or(0).into(), flags.into()];
    // ENOSYS in a kernel without NUMA.
    Question { step: batch.step_may_fail("get_mempolicy", nr::GET_MEMPOLICY, args), mode, nodes }
}

/// The answer; the default policy where the kernel has none.
pub fn answer(question: &Question, answers: &Answers) -> Record {
    if answers.result(question.step).is_err() {
        return Record::default();
    }
    let words = answers.bytes(question.nodes).chunks_exact(8);
    let nodes = words.map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
    Record::new(answers.u32(question.mode), nodes.collect())
}

/// The step that sets it.
pub fn restore(record: &Record, start: u64, len: u64, batch: &mut Batch) {
    let (nodes, max_node) = record.node_mask(batch);
    let args = [start.into(), len.into(), record.mode.into(), nodes.into(), max_node.into(), 0.into()];
    batch.step("mbind", nr::MBIND, args);
}
