//! Where things are: the images' directory, the work directory, and the files in them. CRIU changes to its work
//! directory; we look names up in it, which comes to the same.

use crate::failure::Failure;
use crate::settings::Settings;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The image, in the images' directory.
const IMAGE: &str = "rekindle.img";
/// What CRIU itself always writes.
const INVENTORY: &str = "inventory.img";

/// Absolute paths.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) images: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) pidfile: Option<PathBuf>,
}

impl Places {
    /// Those that the settings name. The directories must exist where the command has to do with images.
    pub(crate) fn of(settings: &Settings, has_images: bool) -> Result<Self, Failure> {
        let images = directory(&settings.images_dir, has_images)?;
        let work = match &settings.work_dir {
            Some(work) => directory(work, true)?,
            None => images.clone(),
        };
        let in_work = |name: &Option<PathBuf>| name.as_ref().map(|name| work.join(name));
        let (log, pidfile) = (in_work(&settings.log_file), in_work(&settings.pidfile));
        Ok(Self { images, work, log, pidfile })
    }

    /// Where the image is, or will be.
    pub(crate) fn image(&self) -> PathBuf {
        self.images.join(IMAGE)
    }

    /// Where the image is. The error says what is there instead.
    pub(crate) fn image_to_read(&self) -> Result<PathBuf, Failure> {
        let image = self.image();
        if image.exists() {
            return Ok(image);
        }
        let images = self.images.display();
        Err(Failure::new(if self.images.join(INVENTORY).exists() {
            format!(
                "{images} holds images of CRIU itself, which rekindle cannot read; restore them with CRIU"
            )
        } else {
            format!("there is no {IMAGE} in {images}; `criu dump -D {images}` writes one")
        }))
    }
}

fn directory(path: &Path, must_exist: bool) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::io(&format!("opening the directory {}", path.display()), &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    if must_exist && !std::fs::metadata(&absolute).map_err(failed)?.is_dir() {
        return Err(failed(ErrorKind::NotADirectory.into()));
    }
    Ok(absolute)
}
