//! Working directory, root and umask (`CLONE_FS`).

use super::super::{Phase, ProcessKind, gone_directory};
use crate::error::Error;
use crate::refusal::{Refusals, show};
use crate::view::ProcessView;
use rekindle_sys::nr;
use rekindle_tracee::{Answers, Batch, StoppedTask};
use std::path::PathBuf;

/// See the module's story.
pub(super) struct Filesystem;

/// Its form in the image. Paths are as the supervisor sees them.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// The working directory.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::path")]
    pub cwd: Vec<u8>,
    /// The root directory.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::path")]
    pub root: Vec<u8>,
    /// The umask.
    #[prost(uint32, tag = "3")]
    pub umask: u32,
    /// The working directory, if it has been deleted.
    #[prost(message, optional, tag = "4")]
    pub gone: Option<gone_directory::Record>,
}

fn gone_cwd(view: &ProcessView) -> Option<gone_directory::Record> {
    let link = PathBuf::from(format!("/proc/{}/cwd", view.pid));
    gone_directory::Record::read(&view.link("cwd").ok()?, &link)
}

impl ProcessKind for Filesystem {
    type Record = Record;
    type Question = ();

    fn survey(view: &ProcessView, refusals: &mut Refusals) {
        for name in ["cwd", "root"] {
            match view.link(name) {
                Ok(_) if name == "cwd" && gone_cwd(view).is_some() => {}
                Ok(path) if path.ends_with(b" (deleted)") => refusals.add(
                    "deleted-directory",
                    format!("{name} {}", show(&path)),
                    "the directory has been deleted",
                    "let the program change to another one first",
                ),
                Ok(path) if !path.starts_with(b"/") => refusals.add(
                    "unreachable-directory",
                    format!("{name} {}", show(&path)),
                    "the directory cannot be reached from here",
                    "checkpoint the process from inside its mount namespace",
                ),
                Ok(_) => {}
                Err(error) => {
                    refusals.add("unreadable", name, error.to_string(), "run as its user, or as root");
                }
            }
        }
        let ours = std::fs::read_link("/proc/self/ns/mnt").ok();
        let theirs = std::fs::read_link(format!("/proc/{}/ns/mnt", view.pid)).ok();
        if theirs.is_some() && ours != theirs {
            refusals.add(
                "mount-namespace",
                "the process",
                "it lives in another mount namespace",
                "checkpoint it from inside that namespace",
            );
        }
    }

    fn outside(view: &ProcessView, _leader: &StoppedTask) -> Result<Record, Error> {
        let (cwd, root) = (view.link("cwd")?, view.link("root")?);
        Ok(Record { cwd, root, umask: view.status.umask.unwrap_or(0o022), gone: gone_cwd(view) })
    }

    fn ask(_record: &Record, _batch: &mut Batch) -> Self::Question {}

    fn answer(_record: &mut Record, (): &(), _answers: &Answers) -> Result<(), Error> {
        Ok(())
    }

    fn restore(record: &Record, phase: Phase, batch: &mut Batch) {
        if phase != Phase::Attributes {
            return;
        }
        let cwd = match &record.gone {
            Some(gone) => gone.make(batch),
            None => batch.c_string(&record.cwd),
        };
        batch.step(format!("chdir to {}", show(&record.cwd)), nr::CHDIR, [cwd.into()]);
        if record.gone.is_some() {
            gone_directory::Record::delete(cwd, batch);
        }
        if record.root != b"/" {
            let root = batch.c_string(&record.root);
            batch.step(format!("chroot to {}", show(&record.root)), nr::CHROOT, [root.into()]);
        }
        batch.step("umask", nr::UMASK, [record.umask.into()]);
    }
}
