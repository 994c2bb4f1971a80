//! Where one test plays: a temporary directory with the program's working directory, its standard error, and the image.

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;
use tempfile::TempDir;

use crate::ensure;
use crate::program::Process;
use crate::trial::{Context, Verdict};

/// A temporary directory, removed with all that is in it, processes included: whatever a failed test has left running there
/// has it as its working directory.
#[derive(Debug)]
pub struct Scene(TempDir);

impl Scene {
    /// A fresh one.
    pub fn new() -> Verdict<Self> {
        let scene = Self(tempfile::Builder::new().prefix("rekindle-test.").tempdir()?);
        fs::create_dir(scene.directory()).context("making the program's directory")?;
        Ok(scene)
    }

    /// The program's working directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.0.path().join("work")
    }

    /// Where the image goes.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.0.path().join("images/image")
    }

    /// The directory that holds nothing but images, made on first use.
    pub fn images(&self) -> Verdict<PathBuf> {
        let directory = self.0.path().join("images");
        fs::create_dir_all(&directory).context(directory.display())?;
        Ok(directory)
    }

    /// A checkpoint that failed, and knew it, has left nothing: no image, no part of one.
    pub fn no_image_left(&self) -> Verdict {
        let left: Vec<_> = fs::read_dir(self.images()?)?.flatten().map(|entry| entry.file_name()).collect();
        ensure!(left.is_empty(), "the failed checkpoint has left {left:?}");
        Ok(())
    }

    /// The file that standard error is appended to.
    #[must_use]
    pub fn errors(&self) -> PathBuf {
        self.0.path().join("stderr")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let Ok(processes) = fs::read_dir("/proc") else { return };
        for process in processes.flatten() {
            let number = process.file_name().to_string_lossy().parse().ok();
            let here =
                fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.0.path()));
            if let (true, Some(pid)) = (here, number.and_then(Pid::from_raw)) {
                drop(Process::of(pid)); // which kills it
            }
        }
    }
}
