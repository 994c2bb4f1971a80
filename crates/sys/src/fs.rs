//! Files: what `rustix` has no call for.

use crate::{Errno, Result, check};
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `O_*` bits that are the state of an open file description, not an order to open(2) (open(2); `O_LARGEFILE` is
/// set by the kernel on 64-bit opens).
pub mod open_flags {
    #![expect(missing_docs, reason = "the names are those of open(2)")]
    pub const ACCMODE: u32 = 0o3;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const NOCTTY: u32 = 0o400;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const NONBLOCK: u32 = 0o4000;
    pub const ASYNC: u32 = 0o20000;
    pub const DIRECT: u32 = 0o40000;
    pub const LARGEFILE: u32 = 0o100_000;
    pub const DIRECTORY: u32 = 0o200_000;
    pub const NOFOLLOW: u32 = 0o400_000;
    pub const CLOEXEC: u32 = 0o2_000_000;
    pub const NOATIME: u32 = 0o1_000_000;
    pub const PATH: u32 = 0o10_000_000;
    pub const TMPFILE: u32 = 0o20_200_000;
}

/// Reads a whole file into `bytes`, from its start, whatever they held before. Made for /proc, in as few calls as there
/// can be: the size of a file there is not known before it is read, and most are smaller than a page. `path` begins at
/// `dir`.
pub fn read_whole(dir: BorrowedFd<'_>, path: &str, bytes: &mut Vec<u8>) -> Result<()> {
    const PIECE: usize = 8192;
    let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    bytes.clear();
    loop {
        if bytes.capacity() - bytes.len() < PIECE {
            bytes.reserve(bytes.len().max(PIECE));
        }
        match rustix::io::read(&file, rustix::buffer::spare_capacity(bytes)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// As [`read_whole`], for a file that the kernel makes as one piece (seq_file.rst, `single_open()`): a read that
/// does not fill the room it has was the last.
pub fn read_single(dir: impl AsFd, path: &str, bytes: &mut Vec<u8>) -> Result<()> {
    const PIECE: usize = 4096;
    let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    bytes.clear();
    loop {
        if bytes.capacity() - bytes.len() < PIECE {
            bytes.reserve(bytes.len().max(PIECE));
        }
        let room = bytes.capacity() - bytes.len();
        match rustix::io::read(&file, rustix::buffer::spare_capacity(bytes)) {
            Ok(count) if count < room => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Opens a directory to begin paths at it. `path` begins at `dir`.
pub fn open_directory(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    openat(dir, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Makes orphans of our descendants children of ours (`PR_SET_CHILD_SUBREAPER`).
pub fn become_subreaper() -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into()).map(drop)
}

/// Sees to it that programs started from now on inherit none of our descriptors but the standard ones
/// (close_range(2) with `CLOSE_RANGE_CLOEXEC`, Linux 5.11).
pub fn keep_descriptors_from_children() -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: numbers only; no descriptor is closed in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flags) }).map(drop)
}

/// Closes a descriptor that this process was started with, by its number; one of the standard three is made to lead
/// nowhere, as what is opened next would take its place. Nothing happens if there is none.
pub fn close_inherited(fd: i32) -> Result<()> {
    if fd > 2 {
        // SAFETY: a number only. The caller asks for it before it has opened anything, so nobody here owns it.
        unsafe { libc::close(fd) };
        return Ok(());
    }
    let nowhere = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: numbers only; `fd` is one of the three that everybody shares, and stays open.
    check(unsafe { libc::dup2(nowhere.as_raw_fd(), fd) }.into()).map(drop)
}

/// Writes to a descriptor that this process was started with, by its number.
pub fn write_to_inherited(fd: i32, bytes: &[u8]) -> Result<()> {
    // SAFETY: the bytes are live for the call, and nothing becomes of the descriptor.
    let written = check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long)?;
    if written == bytes.len() as u64 { Ok(()) } else { Err(Errno::IO) }
}

/// Whom signals about a description go to: kind (`F_OWNER_*`) and number (fcntl(2), `F_GETOWN_EX`).
pub fn owner(file: impl AsFd) -> Result<(i32, i32)> {
    const F_GETOWN_EX: i32 = 16;
    let mut owner = [0_i32; 2];
    // SAFETY: F_GETOWN_EX writes a `struct f_owner_ex`, two ints, for which there is room.
    check(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) }.into())?;
    Ok((owner[0], owner[1]))
}

/// The signal that goes to the owner of a description; 0: SIGIO (fcntl(2), `F_GETSIG`).
pub fn owner_signal(file: impl AsFd) -> Result<i32> {
    const F_GETSIG: i32 = 11;
    // SAFETY: numbers only.
    check(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), F_GETSIG) }.into()).map(|signal| signal as i32)
}

/// Room for the longest file handle (`MAX_HANDLE_SZ`, include/linux/exportfs.h).
const HANDLE_MAX: usize = 128;

/// `struct file_handle` (include/linux/fs.h)
#[repr(C)]
struct FileHandle {
    bytes: u32,
    ty: i32,
    handle: [u8; HANDLE_MAX],
}

/// open_by_handle_at(2): the file that a handle of a mounted file system names, as a descriptor that leads to it and nothing
/// more (`O_PATH`). `ESTALE` when it is gone; needs `CAP_DAC_READ_SEARCH`.
pub fn open_by_handle(mount: impl AsFd, ty: i32, handle: &[u8]) -> Result<OwnedFd> {
    let mut file = FileHandle { bytes: handle.len() as u32, ty, handle: [0; HANDLE_MAX] };
    file.handle.get_mut(..handle.len()).ok_or(Errno::INVAL)?.copy_from_slice(handle);
    let (mount, flags) = (mount.as_fd().as_raw_fd(), libc::O_PATH | libc::O_CLOEXEC);
    // SAFETY: `file` is live, of the form that the kernel reads, and holds as many bytes of handle as it says.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount, &raw mut file, flags) })?;
    // SAFETY: the call has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
