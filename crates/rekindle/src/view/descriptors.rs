//! What /proc tells of each descriptor, read from /proc/PID/fd and fdinfo with short paths, as a process can have thousands.

use super::FdView;
use crate::error::Error;
use crate::parallel;
use rekindle_procfs as procfs;
use rekindle_sys::Errno;
use rekindle_sys::fs::{open_directory, read_single};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, readlinkat, statat};

/// Descriptors that a thread of ours is worth starting for.
const FDS_PER_READER: usize = 256;

/// Reads all of them, by number. A descriptor that goes away meanwhile is left out.
pub(super) fn read(pid: i32) -> Result<Vec<FdView>, Error> {
    let denied = |error: std::io::Error| Error::proc(pid, "fd", error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(denied)? {
        let name = entry.map_err(denied)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    numbers.sort_unstable();
    let from = Directories::open(pid)?;
    let views = parallel::map_rows(&numbers, FDS_PER_READER, |fd, text| match from.view(*fd, text) {
        Ok(view) => Ok(Some(view)),
        Err(Error::NoSuchProcess { .. }) => Ok(None),
        Err(error) => Err(error),
    })?;
    Ok(views.into_iter().flatten().collect())
}

/// Reads what /proc shows of one.
pub(super) fn read_one(pid: i32, fd: i32) -> Result<FdView, Error> {
    Directories::open(pid)?.view(fd, &mut Vec::new())
}

/// /proc/PID/fd and fdinfo
struct Directories {
    pid: i32,
    links: OwnedFd,
    infos: OwnedFd,
}

impl Directories {
    fn open(pid: i32) -> Result<Self, Error> {
        let open = |name: &str| {
            open_directory(CWD, &format!("/proc/{pid}/{name}")).map_err(|errno| failed(pid, name, errno))
        };
        Ok(Self { pid, links: open("fd")?, infos: open("fdinfo")? })
    }

    fn view(&self, fd: i32, text: &mut Vec<u8>) -> Result<FdView, Error> {
        let pid = self.pid;
        let name = fd.to_string();
        let of_link = |errno| failed(pid, &format!("fd/{fd}"), errno);
        let of_info = || format!("fdinfo/{fd}");
        let link = readlinkat(&self.links, &name, Vec::new()).map_err(of_link)?.into_bytes();
        let meta = statat(&self.links, &name, AtFlags::empty()).map_err(of_link)?;
        read_single(&self.infos, &name, text).map_err(|errno| failed(pid, &of_info(), errno))?;
        let info = procfs::fdinfo::parse(text).map_err(|error| Error::proc(pid, of_info(), error))?;
        Ok(FdView {
            fd,
            link,
            info,
            mode: meta.st_mode,
            dev: meta.st_dev,
            ino: meta.st_ino,
            nlink: meta.st_nlink,
            rdev: meta.st_rdev,
            size: meta.st_size.cast_unsigned(),
            mtime: (meta.st_mtime, meta.st_mtime_nsec as i64),
        })
    }
}

fn failed(pid: i32, name: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::SRCH => Error::NoSuchProcess { pid },
        _ => Error::proc(pid, name, rekindle_sys::errno_text(errno)),
    }
}
