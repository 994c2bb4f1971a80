//! NUMA policy of mappings (mbind(2)), as /proc/PID/numa_maps tells it.

use crate::error::Error;
use rekindle_procfs::numa_maps::{self, Mode, Policy};
use rekindle_sys::nr;
use rekindle_tracee::{Batch, Data};
use std::collections::HashMap;

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

/// The policies that differ from the default, by start of the mapping.
pub fn read(pid: i32) -> Result<HashMap<u64, Record>, Error> {
    // Absent in a kernel without NUMA.
    if !std::path::Path::new(&format!("/proc/{pid}/numa_maps")).exists() {
        return Ok(HashMap::new());
    }
    let entries = crate::view::parse(pid, "numa_maps", numa_maps::parse)?;
    Ok(entries.into_iter().filter_map(|entry| Some((entry.start, record(&entry.policy)?))).collect())
}

fn record(policy: &Policy) -> Option<Record> {
    let mode = match &policy.mode {
        Mode::Default => return None,
        Mode::Preferred => 1,
        Mode::Bind => 2,
        Mode::Interleave => 3,
        Mode::Local => 4,
        Mode::PreferredMany => 5,
        Mode::WeightedInterleave => 6,
        Mode::Other(_) => return None,
    };
    let mut nodes = Vec::new();
    for node in policy.nodes.0.iter().flat_map(|(first, last)| *first..=*last) {
        let (word, bit) = (node as usize / 64, node % 64);
        if nodes.len() <= word {
            nodes.resize(word + 1, 0_u64);
        }
        nodes[word] |= 1 << bit;
    }
    Some(Record::new(mode | u32::from(policy.flags.bits()), nodes))
}

/// The step that sets it.
pub fn restore(record: &Record, start: u64, len: u64, batch: &mut Batch) {
    let (nodes, max_node) = record.node_mask(batch);
    let args = [start.into(), len.into(), record.mode.into(), nodes.into(), max_node.into(), 0.into()];
    batch.step("mbind", nr::MBIND, args);
}
