//! Memory that we share with a tracee: control blocks, tables of system calls and their data.

use crate::{Errno, Result, last_errno};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A shared mapping of ours. Another process writes to it at the same time, so it is only ever reached through
/// atomic or volatile accesses, never through references to plain memory. Clones are the same mapping.
#[derive(Clone)]
pub struct SharedArea {
    mapping: Arc<Mapping>,
}

struct Mapping {
    address: *mut u8,
    len: usize,
}

// SAFETY: the mapping is plain memory that belongs to the process, not to a thread, and all accesses are atomic or
// volatile.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, made in `SharedArea`, and the last handle to it is going away.
        unsafe { libc::munmap(self.address.cast(), self.len) };
    }
}

impl SharedArea {
    /// Maps the first `len` bytes (a multiple of the page size) of a memory file, where the kernel likes.
    pub fn map(file: &File, len: usize) -> Result<Self> {
        Self::map_with(file, len, 0, libc::MAP_SHARED)
    }

    /// As [`Self::map`], at an address; `EEXIST` when something is mapped there.
    pub fn map_at(file: &File, len: usize, address: u64) -> Result<Self> {
        Self::map_with(file, len, address, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE)
    }

    fn map_with(file: &File, len: usize, address: u64, flags: i32) -> Result<Self> {
        // A shared mapping past the end of a file would kill us at the first access.
        let size = file.metadata().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?.len();
        if len == 0 || size < len as u64 {
            return Err(Errno::INVAL);
        }
        Self::map_part(file.as_fd(), len, address, flags, 0)
    }

    /// Maps `len` bytes, a multiple of the page size, of a ring of io_uring, from the offset `IORING_OFF_*` on (io_uring_setup(2)).
    /// `EFAULT` when the ring has not as many.
    pub fn map_ring(ring: BorrowedFd<'_>, len: usize, offset: u64) -> Result<Self> {
        let area = Self::map_part(ring, len, 0, libc::MAP_SHARED, offset)?;
        // A page that is not there would kill us at the first access.
        let last = area.address() + (len as u64).saturating_sub(1);
        match crate::vm::read(std::process::id().cast_signed(), last, &mut [0])? {
            1 => Ok(area),
            _ => Err(Errno::FAULT),
        }
    }

    fn map_part(fd: BorrowedFd<'_>, len: usize, address: u64, flags: i32, offset: u64) -> Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let fd = fd.as_raw_fd();
        // SAFETY: nothing of ours is replaced: the address is the kernel's choice, or MAP_FIXED_NOREPLACE guards it.
        let at = unsafe { libc::mmap(address as *mut _, len, prot, flags, fd, offset as libc::off_t) };
        if at == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(Self { mapping: Arc::new(Mapping { address: at.cast(), len }) })
    }

    /// Where it lies in our own address space.
    pub fn address(&self) -> u64 {
        self.mapping.address as u64
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.mapping.len
    }

    /// Whether it has no bytes; it always has.
    pub fn is_empty(&self) -> bool {
        self.mapping.len == 0
    }

    /// Whether both are the same mapping.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mapping, &other.mapping)
    }

    /// The 32-bit word at a 4-byte aligned offset.
    ///
    /// # Panics
    /// When the offset is not aligned or lies outside.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len(), "word {offset} of a shared area");
        // SAFETY: inside the mapping and aligned, as just asserted; the mapping lives as long as `self`, and whoever
        // else has it accesses words atomically too (the stub by aligned moves and locked increments).
        unsafe { AtomicU32::from_ptr(self.mapping.address.add(offset).cast()) }
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len(), "long {offset} of a shared area");
        // SAFETY: as for `word`.
        unsafe { AtomicU64::from_ptr(self.mapping.address.add(offset).cast()) }
    }

    /// Loads the 64-bit value at an aligned offset.
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.long(offset).load(Ordering::SeqCst)
    }

    /// Stores the 64-bit value at an aligned offset.
    pub fn store_u64(&self, offset: usize, value: u64) {
        self.long(offset).store(value, Ordering::SeqCst);
    }

    /// Copies bytes in. The other side must be waiting.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.len() && bytes.len() <= self.len() - offset, "write past a shared area");
        // SAFETY: inside the mapping, as just asserted; the source is ours and cannot overlap it, as no reference to
        // the mapping's plain memory is ever made.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.mapping.address.add(offset), bytes.len());
        };
    }

    /// Copies bytes out. The other side must be waiting; whatever it does, what comes out is just bytes.
    ///
    /// # Panics
    /// When they lie outside.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset <= self.len() && bytes.len() <= self.len() - offset, "read past a shared area");
        // SAFETY: as for `write`.
        unsafe {
            std::ptr::copy_nonoverlapping(self.mapping.address.add(offset), bytes.as_mut_ptr(), bytes.len());
        };
    }
}

/// A page of ours with the stub's code, readable and executable, at an address that is free.
pub struct CodePage {
    mapping: Mapping,
}

impl CodePage {
    /// Maps a page at `address` and copies `code` to it. `EEXIST` when something is mapped there.
    pub fn map_at(address: u64, code: &[u8]) -> Result<Self> {
        let len = crate::PAGE_SIZE as usize;
        if code.len() > len {
            return Err(Errno::INVAL);
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE: nothing of ours is replaced.
        let at =
            unsafe { libc::mmap(address as *mut _, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let mapping = Mapping { address: at.cast(), len };
        // SAFETY: the page is fresh and ours alone; the code fits, as checked above.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), mapping.address, code.len()) };
        // SAFETY: as above; no reference to the page's memory exists.
        if unsafe { libc::mprotect(at, len, libc::PROT_READ | libc::PROT_EXEC) } != 0 {
            return Err(last_errno());
        }
        Ok(Self { mapping })
    }

    /// Where it lies.
    pub fn address(&self) -> u64 {
        self.mapping.address as u64
    }
}
