//! From the descriptors of a tree of processes to descriptions.
//!
//! ```text
//! identify   which descriptors lead to one description        kcmp(2), among those that look alike
//! ask        what each description can be asked by itself     by several threads
//! capture    what goes into tables common to all              one after the other
//! relate     what refers to other descriptions                one after the other
//! ```

use super::inet::network::Network;
use super::unix::Transit;
use super::{
    Asking, Capturing, Claim, Description, Descriptor, FdKind, KINDS, Relating, Survey, foreign, locks,
    owner, stream,
};
use crate::error::Error;
use crate::kinds::mem::file::FileTable;
use crate::kinds::mem::shared::SharedTable;
use crate::parallel;
use crate::refusal::{Refusal, Refusals, show};
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::task::{Kcmp, kcmp};
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

/// Descriptors that a thread of ours is worth starting for.
const FDS_PER_THREAD: usize = 256;

/// Says which descriptors of a process cannot be captured.
pub fn survey(view: &ProcessView, tree: &TreeView, refusals: &mut Refusals) {
    let cx = Survey { view, tree };
    let found = parallel::map_rows(&view.fds, FDS_PER_THREAD, |fd, _: &mut ()| Ok(survey_one(fd, &cx)));
    refusals.extend(found.unwrap_or_default().concat()); // none of them fails
}

fn survey_one(fd: &FdView, cx: &Survey<'_>) -> Vec<Refusal> {
    let mut refusals = Refusals::of(cx.view.pid);
    let subject = || subject(fd, cx.view);
    locks::survey(fd, subject, &mut refusals);
    let claimed = claim(fd, cx);
    if fd.info.flags & o::ASYNC != 0 && claimed.as_ref().is_some_and(|(kind, _)| kind.name() == stream::NAME)
    {
        let why = "O_ASYNC on a standard stream, which becomes the restorer's, cannot be captured";
        refusals.add("async-io", subject(), why, "");
    }
    match claimed {
        Some((_, Claim::Refused(code, why, remedy))) => refusals.add(code, subject(), why, remedy),
        Some(_) => {}
        None => {
            let (why, remedy) = foreign::why(fd);
            refusals.add("fd-kind", subject(), why, remedy);
        }
    }
    refusals.into_list()
}

/// What a descriptor is called in a refusal. Those of our own are on their way through a socket.
fn subject(fd: &FdView, view: &ProcessView) -> String {
    let link = show(&fd.link);
    if view.pid == std::process::id() as i32 {
        format!("a descriptor on its way through a socket ({link})")
    } else {
        format!("fd {} ({link})", fd.fd)
    }
}

fn claim(fd: &FdView, cx: &Survey<'_>) -> Option<(&'static dyn FdKind, Claim)> {
    KINDS.iter().find_map(|kind| match kind.claims(fd, cx) {
        Claim::NotMine => None,
        claim => Some((*kind, claim)),
    })
}

/// What descriptors of one description have in common: link, flags, offset, and the number that the kernel gives to each
/// eventfd (Linux 5.2), as a program can have thousands.
type Likeness<'a> = (&'a [u8], u32, i64, Option<&'a [u8]>);

/// A description that has been met: where, and its id.
struct Met {
    pid: i32,
    fd: i32,
    id: u32,
}

/// The descriptions of a tree, and the descriptors of each of its processes.
pub fn capture(
    tree: &TreeView,
    files: &mut FileTable,
    shared: &mut SharedTable,
    network: &mut Network,
) -> Result<(Vec<Description>, Vec<Vec<Descriptor>>), Error> {
    let transit = Transit::look(tree)?;
    refuse_travellers(&transit, tree)?;
    let Identified { first, mut tables, ids } = identify(tree.processes.iter().chain(transit.view()));
    let mut descriptions = parallel::map_rows(&first, FDS_PER_THREAD, |(id, view, fd), _: &mut ()| {
        let cx = Asking { view, tree, transit: &transit, fetched: OnceCell::new() };
        ask_one(*id, fd, &cx)
    })?;
    let mut pipes_read = BTreeSet::new();
    for (record, (_, view, fd)) in descriptions.iter_mut().zip(&first) {
        let pipes_read = &mut pipes_read;
        let mut cx = Capturing { view, tree, files, shared, pipes_read, network };
        if let Some(kind) = record.kind() {
            kind.capture(fd, &mut cx, record)?;
        }
    }
    let mut locked = BTreeSet::new();
    for view in tree.processes.iter().chain(transit.view()) {
        for fd in view.fds.iter().filter(|fd| !fd.info.locks.is_empty()) {
            for lock in locks::of_process(fd, view.pid) {
                if let Some(id) = ids.get(&(view.pid, fd.fd))
                    && locked.insert((fd.dev, fd.ino, lock.pid, lock.start, lock.length))
                {
                    descriptions[*id as usize - 1].locks.push(lock);
                }
            }
        }
    }
    for (record, (_, view, fd)) in descriptions.iter_mut().zip(&first) {
        if let Some(kind) = record.kind() {
            kind.relate(fd, &Relating { view, tree, ids: &ids, transit: &transit }, record)?;
        }
    }
    // What is on its way belongs to no process.
    tables.truncate(tree.processes.len());
    Ok((descriptions, tables))
}

/// Which descriptors lead to which descriptions.
struct Identified<'a> {
    /// The first descriptor of each description, with its id, in order.
    first: Vec<(u32, &'a ProcessView, &'a FdView)>,
    /// For each process.
    tables: Vec<Vec<Descriptor>>,
    /// By process and number.
    ids: HashMap<(i32, i32), u32>,
}

fn identify<'a>(views: impl Iterator<Item = &'a ProcessView>) -> Identified<'a> {
    let mut found = Identified { first: Vec::new(), tables: Vec::new(), ids: HashMap::new() };
    let mut met: HashMap<Likeness<'_>, Vec<Met>> = HashMap::new();
    for view in views {
        let mut descriptors = Vec::with_capacity(view.fds.len());
        for fd in &view.fds {
            let flags = fd.info.flags & !o::CLOEXEC;
            let likeness = (fd.link.as_slice(), flags, fd.info.pos, fd.info.value(b"eventfd-id"));
            let alike = met.entry(likeness).or_default();
            let description = match find(alike, view.pid, fd.fd) {
                Ok(at) => alike[at].id,
                Err(at) => {
                    let id = found.first.len() as u32 + 1;
                    found.first.push((id, view, fd));
                    alike.insert(at, Met { pid: view.pid, fd: fd.fd, id });
                    id
                }
            };
            found.ids.insert((view.pid, fd.fd), description);
            let cloexec = fd.info.flags & o::CLOEXEC != 0;
            descriptors.push(Descriptor { fd: fd.fd, description, cloexec });
        }
        found.tables.push(descriptors);
    }
    found
}

/// Refuses what is on its way through sockets and cannot be captured. The survey could not see it: nobody looks into the
/// sockets of a program that runs.
fn refuse_travellers(transit: &Transit, tree: &TreeView) -> Result<(), Error> {
    let Some(view) = transit.view() else { return Ok(()) };
    let mut refusals = Refusals::of(tree.processes.first().map_or(0, |root| root.pid));
    survey(view, tree, &mut refusals);
    match refusals.into_list() {
        list if list.is_empty() => Ok(()),
        list => Err(Error::Refused(list)),
    }
}

/// Where among descriptions, in kcmp(2)'s order, one is, or belongs.
fn find(alike: &[Met], pid: i32, fd: i32) -> Result<usize, usize> {
    // Without kcmp, descriptions that look alike are taken for different ones.
    let order =
        |met: &Met| kcmp(met.pid, pid, Kcmp::File, met.fd as u64, fd as u64).unwrap_or(Ordering::Less);
    alike.binary_search_by(order)
}

/// What can be told of a description without regard to others.
fn ask_one(id: u32, fd: &FdView, cx: &Asking<'_>) -> Result<Description, Error> {
    let mut record = Description {
        id,
        flags: fd.info.flags & !o::CLOEXEC,
        pos: fd.info.pos,
        link: fd.link.clone(),
        ..Description::default()
    };
    match claim(fd, &Survey { view: cx.view, tree: cx.tree }) {
        Some((kind, Claim::Mine)) => {
            record.kind = kind.name().to_owned();
            kind.ask(fd, cx, &mut record)?;
            record.locks = locks::of_description(fd);
            if owner::is_kept(&record) {
                record.owner = owner::capture(fd, cx)?;
            }
            Ok(record)
        }
        _ => Err(Error::proc(
            cx.view.pid,
            format!("fd/{}", fd.fd),
            "it appeared after the survey, and cannot be captured",
        )),
    }
}
