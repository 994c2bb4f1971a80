//! `stats-dump` and `stats-restore` in the work directory: what a dump or a restore took, for tools that read it.
//!
//! Bytes, little-endian: a number that says it is one of CRIU's files for tools, one that says which, the length of the
//! message, the message (protobuf). Names and numbers of the fields are those of CRIU's public `stats.proto`.

use crate::failure::Failure;
use prost::Message;
use rekindle_sys::PAGE_SIZE;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Begins files that are read by tools alone.
const SERVICE: u32 = 0x5510_5940;
/// Says that it is this one.
const STATS: u32 = 0x5709_3306;

/// The message of either file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatsEntry {
    #[prost(message, optional, tag = "1")]
    pub(crate) dump: Option<Dump>,
    #[prost(message, optional, tag = "2")]
    pub(crate) restore: Option<Restore>,
}

/// Times are in microseconds. Readers want all fields that a dump has, zeros included.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dump {
    #[prost(uint32, required, tag = "1")]
    pub(crate) freezing_time: u32,
    #[prost(uint32, required, tag = "2")]
    pub(crate) frozen_time: u32,
    #[prost(uint32, required, tag = "3")]
    pub(crate) memdump_time: u32,
    #[prost(uint32, required, tag = "4")]
    pub(crate) memwrite_time: u32,
    #[prost(uint64, required, tag = "5")]
    pub(crate) pages_scanned: u64,
    #[prost(uint64, required, tag = "6")]
    pub(crate) pages_skipped_parent: u64,
    #[prost(uint64, required, tag = "7")]
    pub(crate) pages_written: u64,
    #[prost(uint32, optional, tag = "8")]
    pub(crate) irmap_resolve: Option<u32>,
    #[prost(uint64, required, tag = "9")]
    pub(crate) pages_lazy: u64,
    #[prost(uint64, optional, tag = "10")]
    pub(crate) page_pipes: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    pub(crate) page_pipe_bufs: Option<u64>,
    #[prost(uint64, optional, tag = "12")]
    pub(crate) shpages_scanned: Option<u64>,
    #[prost(uint64, optional, tag = "13")]
    pub(crate) shpages_skipped_parent: Option<u64>,
    #[prost(uint64, optional, tag = "14")]
    pub(crate) shpages_written: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Restore {
    #[prost(uint64, required, tag = "1")]
    pub(crate) pages_compared: u64,
    #[prost(uint64, required, tag = "2")]
    pub(crate) pages_skipped_cow: u64,
    #[prost(uint32, required, tag = "3")]
    pub(crate) forking_time: u32,
    #[prost(uint32, required, tag = "4")]
    pub(crate) restore_time: u32,
    #[prost(uint64, optional, tag = "5")]
    pub(crate) pages_restored: Option<u64>,
}

/// When things happened at a dump.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DumpTimes {
    /// From the first stop to the last.
    pub(crate) freezing: Duration,
    /// From there to the complete image.
    pub(crate) writing: Duration,
    pub(crate) pause: Duration,
}

impl Dump {
    /// Memory is read and written at once here, and pages that need not be saved are not looked at one by one: pairs of
    /// fields that CRIU tells apart are equal.
    pub(crate) fn of(times: DumpTimes, page_bytes: u64) -> Self {
        let pages = page_bytes.div_ceil(PAGE_SIZE);
        Self {
            freezing_time: us(times.freezing),
            frozen_time: us(times.pause),
            memdump_time: us(times.writing),
            memwrite_time: us(times.writing),
            pages_scanned: pages,
            pages_skipped_parent: 0,
            pages_written: pages,
            irmap_resolve: Some(0),
            pages_lazy: 0,
            page_pipes: Some(0),
            page_pipe_bufs: Some(0),
            shpages_scanned: Some(0),
            shpages_skipped_parent: Some(0),
            shpages_written: Some(0),
        }
    }
}

impl Restore {
    /// `forking`: until there was a process.
    pub(crate) fn of(forking: Duration, took: Duration, page_bytes: u64) -> Self {
        Self {
            pages_compared: 0,
            pages_skipped_cow: 0,
            forking_time: us(forking),
            restore_time: us(took),
            pages_restored: Some(page_bytes.div_ceil(PAGE_SIZE)),
        }
    }
}

fn us(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl StatsEntry {
    /// As the bytes of a file.
    fn to_file(&self) -> Vec<u8> {
        let message = self.encode_to_vec();
        let length = message.len() as u32; // a few dozen bytes
        [&SERVICE.to_le_bytes()[..], &STATS.to_le_bytes(), &length.to_le_bytes(), &message].concat()
    }

    /// Writes it into the work directory.
    pub(crate) fn write(&self, work: &Path) -> Result<(), Failure> {
        let path = work.join(if self.dump.is_some() { "stats-dump" } else { "stats-restore" });
        let what = format!("writing {}", path.display());
        std::fs::write(path, self.to_file()).map_err(|error| Failure::io(&what, &error))
    }

    /// For people (`--display-stats`).
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(dump) = &self.dump {
            let _ = write!(
                text,
                "Displaying dump stats:\nFreezing time: {} us\nFrozen time: {} us\nMemory dump time: {} us\n\
                 Memory write time: {} us\nIRMAP resolve time: {} us\nMemory pages scanned: {} (0x{:x})\n\
                 Memory pages skipped from parent: {} (0x{:x})\nMemory pages written: {} (0x{:x})\n\
                 Lazy memory pages: {} (0x{:x})\n",
                dump.freezing_time,
                dump.frozen_time,
                dump.memdump_time,
                dump.memwrite_time,
                dump.irmap_resolve(),
                dump.pages_scanned,
                dump.pages_scanned,
                dump.pages_skipped_parent,
                dump.pages_skipped_parent,
                dump.pages_written,
                dump.pages_written,
                dump.pages_lazy,
                dump.pages_lazy,
            );
        }
        if let Some(restore) = &self.restore {
            let _ = write!(
                text,
                "Displaying restore stats:\nPages compared: {} (0x{:x})\nPages skipped COW: {} (0x{:x})\n\
                 Pages restored: {} (0x{:x})\nRestore time: {} us\nForking time: {} us\n",
                restore.pages_compared,
                restore.pages_compared,
                restore.pages_skipped_cow,
                restore.pages_skipped_cow,
                restore.pages_restored(),
                restore.pages_restored(),
                restore.restore_time,
                restore.forking_time,
            );
        }
        text
    }
}

/// Writes them, and prints them if wanted. What they are of has been done: that they cannot be written is no failure.
pub(crate) fn keep(stats: &StatsEntry, work: &Path, display: bool) {
    if let Err(failure) = stats.write(work) {
        tracing::warn!("{}", failure.sentence());
    }
    if display {
        crate::print(&stats.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_as_readers_want_it() {
        let times = DumpTimes {
            freezing: Duration::from_micros(3),
            writing: Duration::from_secs(10_000),
            pause: Duration::from_micros(300),
        };
        let stats = StatsEntry { dump: Some(Dump::of(times, 4097)), restore: None };
        let bytes = stats.to_file();
        // dump { 3, 300, a time beyond the field's, the same, 2 pages scanned, none skipped, 2 written, ... }
        let expected = "\x40\x59\x10\x55\x06\x33\x09\x57\x27\0\0\0\x0a\x25\x08\x03\x10\u{ac}\x02\x18";
        let expected: Vec<u8> = expected.chars().map(|c| c as u8).collect();
        assert_eq!(bytes[..expected.len()], expected, "{bytes:x?}");
        assert_eq!(bytes.len(), 12 + 0x27);
        assert_eq!(StatsEntry::decode(&bytes[12..]).unwrap(), stats);
        // Zeros are written too: 14 fields, each with its number.
        for tag in 1..=14_u8 {
            assert!(bytes[14..].contains(&(tag << 3)), "field {tag} is missing");
        }
    }
}
