//! `rekindle inspect FILE`: what is in an image.

use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::show;
use rekindle::inspect::{self, Inspection, MappingView, ObjectView};
use rekindle::kinds::fd::Descriptor;
use rekindle::kinds::mem::file::Record as FileRecord;
use rekindle::kinds::task::Task;
use rekindle::record::{Plan, ProcessPlan};
use rekindle_sys::fs::open_flags as o;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

const EXAMPLES: &str = "\
Examples:
  rekindle inspect job.rkd
  rekindle inspect job.rkd --json | jq '.plan.info'
  ssh other cat job.rkd | rekindle inspect -

Nothing is restored, and nothing runs. Of a file only the records and the
index are read, and so checked; `rekindle verify` checks all of it.";

/// Tell what is in an image
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image; `-` is standard input
    #[arg(value_name = "FILE|-")]
    image: PathBuf,
    /// Tell all of it, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Looks into it, and tells.
pub(crate) fn run(args: &Args) -> Outcome {
    let image = Image::open(&args.image)?;
    let name = image.name();
    let inspection = match image {
        Image::File { file, .. } => inspect::file(&file),
        Image::Stream { input, .. } => inspect::stream(input),
    };
    let inspection = inspection.map_err(|error| Failure::from(error).of_image(&name))?;
    if args.json {
        show::json(&inspection)?;
    } else {
        show::print(&text(&name, &inspection))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(name: &str, inspection: &Inspection) -> String {
    let Inspection { header, plan, mappings, objects, summary, verified } = inspection;
    let info = &plan.info;
    let made = UNIX_EPOCH + Duration::from_nanos(info.created_ns);
    let made = humantime::format_rfc3339_seconds(made);
    let (image, memory) = (show::bytes(summary.image_bytes), show::bytes(summary.page_bytes));
    let records = show::count(summary.records as usize, "record");
    let frames = show::count(summary.page_frames as usize, "frame");
    let checked = if *verified { "checked" } else { "not checked; see `rekindle verify`" };
    let head = facts(&[
        ("made", format!("{made} by rekindle {} on Linux {}, {}", info.rekindle, info.kernel, header.arch)),
        ("size", format!("{image}, with {memory} of memory")),
        ("format", format!("{}: {records}, {frames} of pages", header.format)),
        ("needs", header.required_features.join(", ")),
        ("digest", format!("{} ({checked})", summary.digest)),
    ]);
    let mut text = format!("{name}: {}\n{head}", show::count(plan.processes.len(), "process"));
    for (process, mappings) in plan.processes.iter().zip(mappings) {
        let _ = write!(text, "\n{}", process_text(plan, process, mappings));
    }
    let objects: Vec<_> = objects.iter().map(object_row).collect();
    section(&mut text, "object of shared memory", &["ID", "SIZE", "SAVED"], objects);
    section(&mut text, "file behind all that", &["SIZE", "PATH"], plan.files.iter().map(file_row).collect());
    text
}

fn object_row(object: &ObjectView) -> Vec<String> {
    vec![object.id.to_string(), show::bytes(object.size), saved(object.saved_bytes)]
}

fn file_row(file: &FileRecord) -> Vec<String> {
    vec![show::bytes(file.size), show::name(&file.path)]
}

/// A process: what it has one of, then its threads, mappings and descriptors.
fn process_text(plan: &Plan, process: &ProcessPlan, mappings: &[MappingView]) -> String {
    let one = &process.process;
    let identity = &one.identity;
    let executable = plan.files.iter().find(|file| file.id == process.bounds.executable);
    let root = if one.filesystem.root == b"/" { &[] } else { one.filesystem.root.as_slice() };
    let (uid, gid) = process.tasks.first().map_or((0, 0), |leader| {
        let credentials = &leader.credentials;
        (credentials.uid.first().copied().unwrap_or(0), credentials.gid.first().copied().unwrap_or(0))
    });
    let is_root = identity.pid == plan.info.root_pid;
    let command = if is_root { shortened(show::command_line(&plan.info.command)) } else { String::new() };
    let stopped = if identity.stopped { "by job control" } else { "" };
    let mut text = format!("process {}\n", identity.pid);
    text.push_str(&facts(&[
        ("command", command),
        ("executable", executable.map_or_else(String::new, |file| show::name(&file.path))),
        ("directory", show::name(&one.filesystem.cwd)),
        ("root", show::name(root)),
        ("user", format!("{uid}, group {gid}")),
        ("session", format!("{}, process group {}", identity.sid, identity.pgid)),
        ("stopped", stopped.to_owned()),
    ]));
    let threads = process.tasks.iter().map(task_row).collect();
    section(&mut text, "thread", &["TID", "NAME", "WAS IN", "AT"], threads);
    let mappings = mappings.iter().map(mapping_row).collect();
    section(&mut text, "mapping", &["ADDRESSES", "PERMS", "SIZE", "SAVED", "WHAT"], mappings);
    let descriptors = process.descriptors.iter().map(|descriptor| descriptor_row(plan, descriptor)).collect();
    section(&mut text, "descriptor", &["FD", "KIND", "OPEN FOR", "OFFSET", "WHAT"], descriptors);
    text
}

fn task_row(task: &Task) -> Vec<String> {
    let registers = &task.registers;
    let was_in = match registers.syscall {
        ..0 => "its own code".to_owned(),
        number => format!("system call {number}"),
    };
    vec![task.tid.to_string(), show::name(&task.name.comm), was_in, format!("{:x}", registers.rip)]
}

fn mapping_row(mapping: &MappingView) -> Vec<String> {
    let MappingView { start, end, perms, what, saved_bytes } = mapping;
    let size = show::bytes(end.saturating_sub(*start));
    vec![format!("{start:x}-{end:x}"), perms.clone(), size, saved(*saved_bytes), what.clone()]
}

fn descriptor_row(plan: &Plan, descriptor: &Descriptor) -> Vec<String> {
    let fd = descriptor.fd.to_string();
    let found = plan.descriptions.iter().find(|description| description.id == descriptor.description);
    let Some(description) = found else { return vec![fd] };
    let mut open_for = match description.flags & o::ACCMODE {
        0 => "reading",
        1 => "writing",
        _ => "both",
    }
    .to_owned();
    for (bit, word) in [(o::APPEND, "append"), (o::NONBLOCK, "nonblock"), (o::PATH, "path only")] {
        if description.flags & bit != 0 {
            let _ = write!(open_for, ", {word}");
        }
    }
    let offset = if description.kind == "regular" { description.pos.to_string() } else { "-".to_owned() };
    vec![fd, description.kind.clone(), open_for, offset, show::name(&description.link)]
}

/// A table with a title that counts; nothing, if there is nothing to list.
fn section(text: &mut String, noun: &str, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let title = match noun.split_once(' ') {
        Some((noun, rest)) => format!("{} {rest}", show::count(rows.len(), noun)),
        None => show::count(rows.len(), noun),
    };
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let _ = write!(text, "\n{title}\n{}", show::table("  ", &rows));
}

/// Some programs have a script as an argument.
fn shortened(text: String) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// Lines of a word and what belongs to it; those with nothing are left out.
fn facts(rows: &[(&str, String)]) -> String {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<_> = rows.map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    show::table("  ", &rows)
}

fn saved(bytes: Option<u64>) -> String {
    match bytes {
        None => "?".to_owned(),
        Some(0) => "-".to_owned(),
        Some(bytes) => show::bytes(bytes),
    }
}
