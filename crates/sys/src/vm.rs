//! The memory of another process: reading, writing, and which of its pages hold what.

use crate::{Errno, Result, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads another process's memory at `address` into `buffer`; tells how many bytes were read, which may be fewer
/// when a page in between cannot be read (process_vm_readv(2)).
pub fn read(pid: i32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: buffer.len() };
    // SAFETY: `local` describes a live, exclusively borrowed buffer; the remote address is only used in `pid`.
    let count = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    check(count as libc::c_long).map(|n| n as usize)
}

/// Writes into another process's memory; tells how many bytes were written (process_vm_writev(2)).
pub fn write(pid: i32, address: u64, bytes: &[u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: bytes.len() };
    // SAFETY: `local` describes a live buffer that is only read; the remote address is only used in `pid`.
    let count = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    check(count as libc::c_long).map(|n| n as usize)
}

/// Writes `bytes` piece after piece to places (address and length) of another process's memory, as many as the kernel
/// takes at a time; tells how many bytes were written (process_vm_writev(2)), which are fewer when a page cannot be
/// written to.
pub fn write_pieces(pid: i32, pieces: &[(u64, usize)], bytes: &[u8]) -> Result<usize> {
    let mut rest = bytes;
    for some in pieces.chunks(PIECES_MAX) {
        let remote: Vec<libc::iovec> = some
            .iter()
            .map(|(address, len)| libc::iovec { iov_base: *address as *mut _, iov_len: *len })
            .collect();
        let len = some.iter().map(|(_, len)| len).sum();
        let Some((these, after)) = rest.split_at_checked(len) else { return Err(Errno::INVAL) };
        let local = libc::iovec { iov_base: these.as_ptr().cast_mut().cast(), iov_len: len };
        // SAFETY: `local` describes a live buffer that is only read, `remote` points to as many live structures as
        // told; the addresses in them are only used in `pid`.
        let count = unsafe {
            libc::process_vm_writev(
                pid,
                &raw const local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        let count = match check(count as libc::c_long) {
            Ok(count) => count as usize,
            Err(_) if rest.len() < bytes.len() => 0,
            Err(errno) => return Err(errno),
        };
        if count < len {
            return Ok(bytes.len() - rest.len() + count);
        }
        rest = after;
    }
    Ok(bytes.len() - rest.len())
}

/// `UIO_MAXIOV` (include/uapi/linux/uio.h).
const PIECES_MAX: usize = 1024;

bitflags::bitflags! {
    /// `PAGE_IS_*`: what `PAGEMAP_SCAN` tells of a page (include/uapi/linux/fs.h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageIs: u64 {
        /// Its mapping allows asynchronous write-protection.
        const WPALLOWED = 1;
        /// Written to since it was write-protected.
        const WRITTEN = 1 << 1;
        /// It is the file's own, or of shared memory.
        const FILE = 1 << 2;
        /// In memory.
        const PRESENT = 1 << 3;
        /// Swapped out.
        const SWAPPED = 1 << 4;
        /// The page of zeros.
        const PFNZERO = 1 << 5;
        /// Part of a huge page.
        const HUGE = 1 << 6;
        /// Soft-dirty.
        const SOFT_DIRTY = 1 << 7;
        /// A guard region (`MADV_GUARD_INSTALL`, Linux 6.15).
        const GUARD = 1 << 8;
    }
}

/// A range of pages that are alike: `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRegion {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    categories: u64,
}

impl PageRegion {
    /// What its pages are.
    pub fn categories(&self) -> PageIs {
        PageIs::from_bits_retain(self.categories)
    }
}

/// Which pages a scan looks for.
#[derive(Clone, Copy, Debug)]
pub struct PageFilter {
    /// All of these...
    pub all_of: PageIs,
    /// ...none of these...
    pub none_of: PageIs,
    /// ...and at least one of these (unless empty).
    pub any_of: PageIs,
    /// Categories to be told of each region.
    pub tell: PageIs,
}

#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

/// `PAGEMAP_SCAN` (Linux 6.7): the regions between `start` and `end` whose pages pass the filter, given to `each` in
/// order. `pagemap` is an open `/proc/PID/pagemap`. `ENOTTY` on an older kernel.
pub fn scan_pages(
    pagemap: BorrowedFd<'_>,
    start: u64,
    end: u64,
    filter: &PageFilter,
    mut each: impl FnMut(PageRegion),
) -> Result<()> {
    let mut regions = vec![PageRegion::default(); 1024];
    let mut at = start;
    while at < end {
        let (count, walk_end) = scan_once(pagemap, at, end, filter, &mut regions)?;
        regions.iter().take(count).copied().for_each(&mut each);
        if walk_end <= at {
            return Err(Errno::IO);
        }
        at = walk_end;
    }
    Ok(())
}

/// Whether the kernel knows these categories: an empty range is scanned for them.
pub fn knows_categories(pagemap: BorrowedFd<'_>, categories: PageIs) -> bool {
    let none = PageIs::empty();
    let filter = PageFilter { all_of: categories, none_of: none, any_of: none, tell: none };
    scan_once(pagemap, 0, 0, &filter, &mut [PageRegion::default()]).is_ok()
}

/// One call: how many regions were found, and how far it came.
fn scan_once(
    pagemap: BorrowedFd<'_>,
    start: u64,
    end: u64,
    filter: &PageFilter,
    regions: &mut [PageRegion],
) -> Result<(usize, u64)> {
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_inverted: filter.none_of.bits(),
        category_mask: (filter.all_of | filter.none_of).bits(),
        category_anyof_mask: filter.any_of.bits(),
        return_mask: filter.tell.bits(),
        ..PmScanArg::default()
    };
    // SAFETY: `arg` is a live structure of the size it names, and `vec` points to `vec_len` live regions, which is all
    // the kernel writes to.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
    Ok((check(count.into())? as usize, arg.walk_end))
}
