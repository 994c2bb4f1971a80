//! /proc/PID/smaps, which of all files takes longest to read: some 2 us and 700 bytes a mapping, and 0.1 us a page in
//! memory (40 ms a GiB), as the kernel looks at each. No other file tells the flags of a mapping; where they do not count
//! yet, /proc/PID/maps has to do.
//!
//! What was read is taken apart by another thread while this one reads on, if there is much.

use crate::error::Error;
use crossbeam_channel::bounded;
use rekindle_procfs::ParseError;
use rekindle_procfs::maps;
use rekindle_procfs::smaps::{self, Entry};
use std::fs::File;
use std::io::Read;

/// Bytes that are worth being handed to another thread.
const PIECE: usize = 256 * 1024;

/// The mappings without counters and flags, from /proc/PID/maps.
pub(super) fn glance(pid: i32) -> Result<Vec<Entry>, Error> {
    let mappings = super::parse(pid, "maps", maps::parse)?;
    Ok(mappings.into_iter().map(Entry::of_maps).collect())
}

/// Reads all of it.
pub(super) fn read(pid: i32) -> Result<Vec<Entry>, Error> {
    let failed = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Error::NoSuchProcess { pid },
        _ => Error::proc(pid, "smaps", error),
    };
    let mut file = File::open(format!("/proc/{pid}/smaps")).map_err(failed)?;
    let mut piece = Vec::with_capacity(PIECE + PIECE / 8);
    let parsed = match read_piece(&mut file, &mut piece).map_err(failed)? {
        PIECE => read_on(&mut file, piece).map_err(failed)?,
        _ => smaps::parse(&piece),
    };
    parsed.map_err(|error| Error::proc(pid, "smaps", error))
}

/// Reads the next bytes; fewer than a piece only at the end.
fn read_piece(file: &mut File, piece: &mut Vec<u8>) -> std::io::Result<usize> {
    file.take(PIECE as u64).read_to_end(piece)
}

fn read_on(file: &mut File, first: Vec<u8>) -> std::io::Result<Result<Vec<Entry>, ParseError>> {
    std::thread::scope(|scope| {
        let (full, to_parse) = bounded::<Vec<u8>>(4);
        let parsing = std::thread::Builder::new().name("smaps".into()).spawn_scoped(scope, move || {
            let mut entries = Vec::new();
            for piece in to_parse {
                entries.extend(smaps::parse(&piece)?);
            }
            Ok(entries)
        })?;
        let mut piece = first;
        loop {
            // Whole mappings only; what there is of the last one begins the next piece.
            let mut next = Vec::with_capacity(piece.capacity());
            next.extend_from_slice(&piece[smaps::end_of_whole_entries(&piece)..]);
            piece.truncate(piece.len() - next.len());
            let is_last = read_piece(file, &mut next)? < PIECE;
            if full.send(piece).is_err() {
                break; // the other thread has met something that it can make no sense of, and tells
            }
            if is_last {
                let _ = full.send(next); // likewise
                break;
            }
            piece = next;
        }
        drop(full);
        Ok(parsing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
