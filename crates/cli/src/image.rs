//! The image that a command is given: a file, or a stream.
//!
//! A stream is read unbuffered. The program that is restored from standard input inherits it, and may read what comes
//! after the image: not one byte of that is ours.

use crate::failure::Failure;
use crate::show::reason;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// An image that was opened, and nothing read of it yet.
#[derive(Debug)]
pub(crate) enum Image {
    /// A file, which can be read anywhere.
    File {
        /// Its path.
        path: PathBuf,
        /// The open file.
        file: File,
        /// Its length in bytes.
        len: u64,
    },
    /// Standard input, or a named pipe.
    Stream {
        /// What to call it.
        name: String,
        /// The open stream.
        input: File,
    },
}

/// What to do about a name that leads to no image.
const NAME_ONE: &str = "name the file that `rekindle checkpoint` wrote";

impl Image {
    /// Opens what the argument names; `-` is standard input.
    pub(crate) fn open(argument: &Path) -> Result<Self, Failure> {
        if argument == Path::new("-") {
            return Self::standard_input();
        }
        let path = argument.to_path_buf();
        let name = path.display().to_string();
        let failed = |error: io::Error| {
            Failure::image(format!("{name} cannot be read ({}); {NAME_ONE}", reason(&error)))
        };
        let file = File::open(&path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(Failure::image(format!("{name} is a directory, not an image; {NAME_ONE}")));
        }
        if meta.is_file() {
            return Ok(Self::File { path, file, len: meta.len() });
        }
        Ok(Self::Stream { name, input: file })
    }

    fn standard_input() -> Result<Self, Failure> {
        let input = io::stdin();
        if input.is_terminal() {
            let message =
                "standard input is a terminal, and an image cannot be typed; name a file, or pipe one in";
            return Err(Failure::usage(message));
        }
        let input = input.as_fd().try_clone_to_owned();
        let input = input.map_err(|error| Failure::io("standard input", &error))?;
        Ok(Self::Stream { name: "standard input".to_owned(), input: input.into() })
    }

    /// What to call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Stream { name, .. } => name.clone(),
        }
    }
}
