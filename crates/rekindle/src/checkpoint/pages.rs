//! The contents of memory, from a frozen tree into page frames.
//!
//! `PAGEMAP_SCAN` tells which pages a process has of its own: present or swapped, not the file's, not the page of
//! zeros. They are read in pieces of up to 1 MiB straight into the buffer that is then sealed and written: by another
//! thread, while this one reads on.

use crate::error::Error;
use crate::fault;
use crate::kinds::mem::inherit;
use crate::kinds::mem::mapping::Backing;
use crate::kinds::mem::shared::{Object, SharedTable};
use crate::record::{Plan, ProcessPlan, space_of_process};
use crate::view::TreeView;
use crossbeam_channel::{Receiver, Sender, bounded};
use rekindle_image::{Codec, PageBuffer, SealedPages, Writer};
use rekindle_procfs::pagemap;
use rekindle_sys::vm::{self, PageFilter, PageIs};
use rekindle_sys::{Errno, PAGE_SIZE};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// How far the pages of a checkpoint or a restore are.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes moved.
    pub done: u64,
    /// Bytes to move in all, as far as is known.
    pub total: u64,
}

/// Buffers in use at a time: one is filled, one written, one waits. 1 MiB each.
const BUFFERS: usize = 4;

/// The memory of a frozen tree, ready to be read.
pub(super) struct Memory<'a> {
    processes: Vec<OwnMemory>,
    objects: &'a [Object],
    /// Bytes expected, for the progress.
    expected: u64,
}

/// What is to be saved of a process's own memory.
struct OwnMemory {
    pid: i32,
    space: u32,
    ranges: Vec<Range>,
}

/// A mapping, or a row of them, whose own pages are to be saved.
struct Range {
    start: u64,
    end: u64,
    /// A page of zeros need not be saved: there is nothing but zeros behind the mapping.
    zeros_are_nothing: bool,
}

impl<'a> Memory<'a> {
    /// That of a tree; `plan` tells its mappings, `differences` which pages to save of those that are inherited.
    pub(super) fn of(
        tree: &TreeView,
        plan: &Plan,
        shared: &'a SharedTable,
        differences: &[HashMap<u64, Vec<inherit::Saved>>],
    ) -> Result<Self, Error> {
        let mut processes = Vec::with_capacity(plan.processes.len());
        let mut expected = 0;
        for (index, (view, process)) in tree.processes.iter().zip(&plan.processes).enumerate() {
            let ranges = ranges_to_save(process, differences.get(index));
            if index == 0 {
                let memory = view.status.memory.as_ref();
                expected += memory.map_or(0, |m| (m.rss_anon_kb + m.rss_shmem_kb + m.swap_kb) * 1024);
            }
            processes.push(OwnMemory { pid: view.pid, space: space_of_process(index), ranges });
        }
        Ok(Self { processes, objects: shared.objects(), expected })
    }

    /// Writes all page frames; tells how many bytes of memory they hold.
    pub(super) fn write<W: Write + Send>(
        &self,
        writer: &mut Writer<W>,
        codec: Codec,
        progress: Option<&(dyn Fn(Progress) + Sync)>,
    ) -> Result<u64, Error> {
        let (full, to_write) = bounded::<SealedPages>(BUFFERS);
        let (empty, to_fill) = bounded::<PageBuffer>(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = empty.send(PageBuffer::new()); // the receiver is right here
        }
        std::thread::scope(|scope| {
            let writing = std::thread::Builder::new()
                .name("writer".into())
                .spawn_scoped(scope, move || write_all(writer, &to_write, &empty))
                .map_err(|error| Error::io("starting a thread", &error))?;
            let filled = Filler::new(self, codec, full, to_fill, progress).fill();
            // The filler is gone, and with it the sending end: the writer comes to its end.
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A writer that failed is why the filler could not go on.
            written?;
            filled
        })
    }
}

/// The ranges of a process that are scanned for pages to save.
fn ranges_to_save(
    process: &ProcessPlan,
    differences: Option<&HashMap<u64, Vec<inherit::Saved>>>,
) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |start: u64, end: u64, zeros_are_nothing: bool| match ranges.last_mut() {
        // Neighbours are read together.
        Some(last) if last.end == start && last.zeros_are_nothing == zeros_are_nothing => last.end = end,
        _ => ranges.push(Range { start, end, zeros_are_nothing }),
    };
    for m in process.mappings.iter().filter(|mapping| mapping.has_private_pages()) {
        if !m.inherited {
            add(m.start, m.end, m.backing() == Backing::Anonymous);
            continue;
        }
        for saved in differences.and_then(|of_process| of_process.get(&m.start)).into_iter().flatten() {
            add(saved.start, saved.end, saved.zeros_are_nothing);
        }
    }
    ranges
}

/// Bytes between two ranges that are scanned with them rather than scanning twice.
const SCANNED_WITH: u64 = 256 * 1024;

/// Rows of ranges that are scanned at once: never empty.
fn rows(ranges: &[Range]) -> impl Iterator<Item = &[Range]> {
    ranges.chunk_by(|before, next| next.start - before.end <= SCANNED_WITH)
}

fn write_all<W: Write>(
    writer: &mut Writer<W>,
    to_write: &Receiver<SealedPages>,
    empty: &Sender<PageBuffer>,
) -> Result<(), Error> {
    for mut sealed in to_write {
        writer.pages(&mut sealed)?;
        let _ = empty.send(sealed.into_buffer()); // the filler may be done
    }
    Ok(())
}

/// Fills buffers with what is in memory.
struct Filler<'a> {
    memory: &'a Memory<'a>,
    codec: Codec,
    full: Sender<SealedPages>,
    to_fill: Receiver<PageBuffer>,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    buffer: PageBuffer,
    bytes: u64,
    passed_half: bool,
}

/// The writer has failed: its error is the one to report.
fn writer_is_gone() -> Error {
    Error::call("handing pages to the writer", Errno::PIPE)
}

impl<'a> Filler<'a> {
    fn new(
        memory: &'a Memory<'a>,
        codec: Codec,
        full: Sender<SealedPages>,
        to_fill: Receiver<PageBuffer>,
        progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    ) -> Self {
        Self {
            memory,
            codec,
            full,
            to_fill,
            progress,
            buffer: PageBuffer::new(),
            bytes: 0,
            passed_half: false,
        }
    }

    fn fill(mut self) -> Result<u64, Error> {
        self.buffer = self.to_fill.recv().map_err(|_| writer_is_gone())?;
        let memory = self.memory;
        for process in memory.processes.iter().filter(|process| !process.ranges.is_empty()) {
            self.fill_private(process)?;
        }
        for object in self.memory.objects {
            self.fill_object(object)?;
        }
        self.send()?;
        Ok(self.bytes)
    }

    fn send(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let next = self.to_fill.recv().map_err(|_| writer_is_gone())?;
        let full = std::mem::replace(&mut self.buffer, next);
        self.bytes += full.data().len() as u64;
        // Sealed here, where what was read is still in the processor's cache, and the writer waits for the disk alone.
        self.full.send(full.seal(self.codec)).map_err(|_| writer_is_gone())?;
        if let Some(progress) = self.progress {
            progress(Progress { done: self.bytes, total: self.memory.expected.max(self.bytes) });
        }
        if !self.passed_half && self.bytes * 2 >= self.memory.expected {
            self.passed_half = true;
            fault::point("checkpoint-pages-half")?;
        }
        Ok(())
    }

    /// A process's own pages, in order of address.
    fn fill_private(&mut self, process: &OwnMemory) -> Result<(), Error> {
        let mut source = Source::open(process)?;
        let pagemap =
            source.pagemap.try_clone().map_err(|error| Error::proc(process.pid, "pagemap", error))?;
        let pagemap = pagemap.as_fd();
        let guards =
            if vm::knows_categories(pagemap, PageIs::GUARD) { PageIs::GUARD } else { PageIs::empty() };
        let filter = PageFilter {
            all_of: PageIs::empty(),
            none_of: PageIs::FILE | PageIs::PFNZERO | guards,
            any_of: PageIs::PRESENT | PageIs::SWAPPED,
            tell: PageIs::empty(),
        };
        for row in rows(&process.ranges) {
            let mut rest = row;
            let mut result = Ok(());
            let (start, end) = (row[0].start, row[row.len() - 1].end);
            let scanned = vm::scan_pages(pagemap, start, end, &filter, |region| {
                while rest.first().is_some_and(|range| range.end <= region.start) {
                    rest = &rest[1..];
                }
                for range in rest.iter().take_while(|range| range.start < region.end) {
                    let (start, end) = (region.start.max(range.start), region.end.min(range.end));
                    if result.is_ok() {
                        result = self.fill_range(&mut source, start, end, range.zeros_are_nothing);
                    }
                }
            });
            scanned.map_err(|errno| Error::call("PAGEMAP_SCAN (needs Linux 6.7)", errno))?;
            result?;
        }
        Ok(())
    }

    fn fill_range(
        &mut self,
        source: &mut Source,
        mut start: u64,
        end: u64,
        zeros_are_nothing: bool,
    ) -> Result<(), Error> {
        while start < end {
            if self.buffer.room_pages() == 0 {
                self.send()?;
            }
            let pages = ((end - start) / PAGE_SIZE).min(self.buffer.room_pages().into()) as u32;
            let before = self.buffer.len_pages();
            let room = self
                .buffer
                .push(source.space, start, pages)
                .map_err(|error| Error::Nonsense(error.to_string()))?;
            source.read(start, room)?;
            if zeros_are_nothing {
                self.drop_zero_pages(source.space, start, before, pages)?;
            }
            start += u64::from(pages) * PAGE_SIZE;
        }
        Ok(())
    }

    /// Takes pages that hold only zeros out of the last `pages` of the buffer again. What is left may be of more runs than
    /// fit into a frame.
    fn drop_zero_pages(&mut self, space: u32, address: u64, before: u32, pages: u32) -> Result<(), Error> {
        let page = PAGE_SIZE as usize;
        let from = before as usize * page;
        let is_zero = |bytes: &[u8]| bytes.first() == Some(&0) && bytes.iter().all(|byte| *byte == 0);
        if !self.buffer.data()[from..].chunks_exact(page).any(is_zero) {
            return Ok(());
        }
        let copy = self.buffer.data()[from..].to_vec();
        self.buffer.truncate(before);
        for (n, bytes) in (0..u64::from(pages)).zip(copy.chunks_exact(page)) {
            if is_zero(bytes) {
                continue;
            }
            if self.buffer.room_pages() == 0 {
                self.send()?;
            }
            let room = self.buffer.push(space, address + n * PAGE_SIZE, 1);
            room.map_err(|error| Error::Nonsense(error.to_string()))?.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The contents of a shared object, but for its holes.
    fn fill_object(&mut self, object: &Object) -> Result<(), Error> {
        use rustix::fs::{SeekFrom, seek};
        let failed = |errno| Error::call("reading shared memory", errno);
        let (file, size) = (&object.file, object.record.size);
        let mut at = 0;
        while at < size {
            at = match seek(file, SeekFrom::Data(at)) {
                Ok(data) => data / PAGE_SIZE * PAGE_SIZE,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(failed(errno)),
            };
            let end = seek(file, SeekFrom::Hole(at)).map_err(failed)?.min(size);
            while at < end {
                if self.buffer.room_pages() == 0 {
                    self.send()?;
                }
                let pages = (end - at).div_ceil(PAGE_SIZE).min(self.buffer.room_pages().into()) as u32;
                let (space, before) = (object.record.id, self.buffer.len_pages());
                let room =
                    self.buffer.push(space, at, pages).map_err(|error| Error::Nonsense(error.to_string()))?;
                read_fully(file, at, room)?;
                self.drop_zero_pages(space, at, before, pages)?;
                at += u64::from(pages) * PAGE_SIZE;
            }
        }
        Ok(())
    }
}

fn read_fully(file: &File, offset: u64, room: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    while filled < room.len() {
        match file.read_at(&mut room[filled..], offset + filled as u64) {
            // The last page may be cut by the size of the object.
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(Error::io("reading shared memory", &error)),
        }
    }
    room[filled..].fill(0);
    Ok(())
}

/// Where a process's own memory is read.
struct Source {
    pid: i32,
    space: u32,
    pagemap: File,
    mem: File,
    /// Room for entries of the page map.
    entries: Vec<u8>,
}

impl Source {
    fn open(process: &OwnMemory) -> Result<Self, Error> {
        let OwnMemory { pid, space, .. } = *process;
        let open = |name: &str| {
            File::open(format!("/proc/{pid}/{name}")).map_err(|error| Error::proc(pid, name, error))
        };
        Ok(Self { pid, space, pagemap: open("pagemap")?, mem: open("mem")?, entries: Vec::new() })
    }

    /// Reads memory. Pages that only this process has are read the quick way, by process_vm_readv(2). One that it shares
    /// with another since a fork would be copied for that (the kernel unshares what it pins, mm/gup.c), which costs the
    /// program memory: such pages are read through /proc/PID/mem.
    fn read(&mut self, address: u64, room: &mut [u8]) -> Result<(), Error> {
        let pages = room.len() / PAGE_SIZE as usize;
        self.entries.resize(pages * 8, 0);
        let offset = address / PAGE_SIZE * 8;
        let known = self.pagemap.read_exact_at(&mut self.entries, offset);
        known.map_err(|error| Error::proc(self.pid, "pagemap", error))?;
        let is_own = |entry: pagemap::Entry| entry.exclusive() || !entry.present();
        let entries: Vec<bool> = pagemap::entries(&self.entries).map(is_own).collect();
        let mut at = 0;
        for run in entries.chunk_by(|a, b| a == b) {
            let bytes = run.len() * PAGE_SIZE as usize;
            let (from, into) = (address + at as u64, &mut room[at..at + bytes]);
            let quick = if run[0] { vm::read(self.pid, from, into).unwrap_or(0) } else { 0 };
            // What cannot be read the quick way may be protected.
            if quick < bytes {
                let (from, into) = (from + quick as u64, &mut into[quick..]);
                self.mem.read_exact_at(into, from).map_err(|error| {
                    Error::proc(self.pid, "mem", format!("reading the page at {from:x}: {error}"))
                })?;
            }
            at += bytes;
        }
        Ok(())
    }
}
