//! `rekindle verify FILE`: is an image whole?

use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::show;
use rekindle_image::{ReadError, Reader, Summary};
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  rekindle verify job.rkd
  ssh other cat job.rkd | rekindle verify -

Exit code 0: every byte is as it was written.
Exit code 4: it is not; standard error says what is wrong, and where.";

/// Check that an image is whole, byte for byte
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image; `-` is standard input
    #[arg(value_name = "FILE|-")]
    image: PathBuf,
    /// Tell it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// More threads than this gain nothing, and each has buffers.
const MOST_THREADS: usize = 16;

/// Checks it, and says what it is.
pub(crate) fn run(args: &Args) -> Outcome {
    let begun = Instant::now();
    let image = Image::open(&args.image)?;
    let name = image.name();
    let summary = match image {
        Image::File { file, len, .. } => {
            let threads = available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
            rekindle_image::verify(&file, len, threads).map_err(Failure::from)
        }
        Image::Stream { input, .. } => stream(input),
    };
    let summary = summary.map_err(|failure| failure.of_image(&name))?;
    let Summary { frames: _, records, page_frames: _, page_bytes, length, digest } = summary; // frames are our business
    if args.json {
        show::json(&serde_json::json!({
            "image": name,
            "whole": true,
            "image_bytes": length,
            "page_bytes": page_bytes,
            "records": records,
            "digest": digest.to_string(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    show::print(&format!(
        "{name} is whole: {}, {records} records, {} of memory; checked in {}\ndigest {digest}\n",
        show::bytes(length),
        show::bytes(page_bytes),
        show::time(begun.elapsed()),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn stream(mut input: File) -> Result<Summary, Failure> {
    let mut reader = Reader::new(&mut input)?;
    while reader.next()?.is_some() {}
    let summary = reader.summary().ok_or(ReadError::NoFooter)?;
    match input.read(&mut [0]) {
        Ok(0) => Ok(summary),
        Ok(_) => Err(Failure::image("something follows the end of the image")),
        Err(error) => Err(Failure::io("reading on behind the image", &error)),
    }
}
