//! The file that an image goes to: under a passing name until it is complete and on the disk.

use crate::error::Error;
use crate::fault;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file in the making; removed again unless it is published.
pub(super) struct Place {
    passing: PathBuf,
    wanted: PathBuf,
    published: bool,
}

/// Creates the file under its passing name, beside the wanted one.
pub(super) fn create(wanted: &Path) -> Result<(File, Place), Error> {
    let failed = |error: std::io::Error| Error::io(format!("creating {}", wanted.display()), &error);
    if wanted.is_dir() {
        return Err(failed(std::io::Error::from_raw_os_error(libc::EISDIR)));
    }
    let mut name = wanted.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let passing = wanted.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    // Past the page cache: the image is written once, in aligned pieces, and to be on the disk at the end anyway.
    // Not every file system can (tmpfs could not before Linux 6.6).
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(&passing);
    let file = match direct {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let _ = std::fs::remove_file(&passing); // some file systems create it before they refuse
            options.open(&passing)
        }
        opened => opened,
    };
    let file = file.map_err(failed)?;
    Ok((file, Place { passing, wanted: wanted.to_owned(), published: false }))
}

impl Place {
    /// Syncs the file and gives it its name.
    pub(super) fn publish(mut self, file: File) -> Result<(), Error> {
        let failed = |what: &str| {
            let what = format!("{what} {}", self.wanted.display());
            move |error: std::io::Error| Error::io(what, &error)
        };
        file.sync_all().map_err(failed("syncing"))?;
        fault::point("checkpoint-synced")?;
        std::fs::rename(&self.passing, &self.wanted).map_err(failed("renaming the finished image to"))?;
        let parent = self.wanted.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = File::open(parent.unwrap_or(Path::new("."))).map_err(failed("syncing the directory of"))?;
        dir.sync_all().map_err(failed("syncing the directory of"))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_file(&self.passing); // it may have been renamed already
        }
    }
}
