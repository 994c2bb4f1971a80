//! Descriptors of files that no path leads to: memfds, and deleted files ([`crate::kinds::mem::shared`]).
//!
//! The file is made before the processes are, and waits under a number of its own; descriptions are opened from there.

use super::restore::Opening;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey, reopen_flags};
use crate::error::Error;
use crate::kinds::mem::{deleted, memfd};
use crate::view::FdView;
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::nr;
use rekindle_tracee::Batch;
use std::path::Path;

/// See the module's story.
pub(super) struct Object;

/// What is particular to it.
#[derive(Clone, Copy, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The id of the object.
    #[prost(uint32, tag = "1")]
    pub object: u32,
}

const F_SETFL: i32 = 4;
/// Flags that F_SETFL can set (fcntl(2)), but for `O_ASYNC`.
const SETTABLE: u32 = o::APPEND | o::NONBLOCK | o::DIRECT | o::NOATIME;
/// The bit that tells `O_TMPFILE` from `O_DIRECTORY`.
const TMPFILE: u32 = o::TMPFILE & !o::DIRECTORY;

impl FdKind for Object {
    fn name(&self) -> &'static str {
        "object"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFREG || fd.nlink != 0 || !fd.link.starts_with(b"/") {
            return Claim::NotMine;
        }
        if memfd::is_named_so(&fd.link) {
            return Claim::Mine;
        }
        if !deleted::is_named_so(&fd.link) {
            return Claim::NotMine;
        }
        let very_file = format!("/proc/{}/fd/{}", cx.view.pid, fd.fd);
        match deleted::directory_of(&fd.link, Path::new(&very_file)) {
            Some(_) => Claim::Mine,
            None => Claim::Refused("deleted-file", "nothing leads to the file system that it is on", ""),
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        record.object = Some(Record { object: cx.shared.id_of_descriptor(cx.view.pid, fd)? });
        Ok(())
    }

    fn check(&self, record: &Description, cx: &Checking<'_>) -> Result<(), String> {
        let is_there = record.object.is_some_and(|record| cx.objects.contains(&record.object));
        if is_there { Ok(()) } else { Err("there is no such file".into()) }
    }

    fn open(&self, record: &Description, cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let id = record.object.unwrap_or_default().object;
        let own = cx.object(id).unwrap_or(-1);
        // The flag comes with the making of the file alone: the description that has it is the one it was made with.
        if record.flags & TMPFILE != 0 && record.flags & o::ACCMODE == 2 && record.flags & o::PATH == 0 {
            let args = [own.into(), F_SETFL.into(), (record.flags & SETTABLE).into()];
            batch.step("F_SETFL", nr::FCNTL, args);
            batch.step("lseek", nr::LSEEK, [own.into(), record.pos.into(), libc::SEEK_SET.into()]);
            return Opened::Number(own);
        }
        let path = batch.c_string(&cx.path_of_object(id));
        let flags = reopen_flags(record.flags) & !o::TMPFILE & !o::NOFOLLOW;
        let args = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0.into()];
        let opened = batch.step("opening a file that no path leads to", nr::OPENAT, args);
        if record.flags & o::PATH == 0 {
            batch.step("lseek", nr::LSEEK, [opened.into(), record.pos.into(), libc::SEEK_SET.into()]);
        }
        Opened::Step(opened)
    }
}
