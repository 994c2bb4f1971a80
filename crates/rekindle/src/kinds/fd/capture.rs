//! From the descriptors of a tree of processes to descriptions.

use super::inet::network::Network;
use super::unix::Transit;
use super::{
    Capturing, Claim, Description, Descriptor, FdKind, KINDS, Relating, Survey, foreign, locks, owner, stream,
};
use crate::error::Error;
use crate::kinds::mem::file::FileTable;
use crate::kinds::mem::shared::SharedTable;
use crate::refusal::{Refusals, show};
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::fs::open_flags as o;
use rekindle_sys::task::{Kcmp, kcmp};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

/// Says which descriptors of a process cannot be captured.
pub fn survey(view: &ProcessView, tree: &TreeView, refusals: &mut Refusals) {
    let cx = Survey { view, tree };
    for fd in &view.fds {
        let subject = || subject(fd, view);
        locks::survey(fd, &subject(), refusals);
        let claimed = claim(fd, &cx);
        if fd.info.flags & o::ASYNC != 0
            && claimed.as_ref().is_some_and(|(kind, _)| kind.name() == stream::NAME)
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
    }
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

/// What descriptors of one description have in common: link, flags, offset.
type Likeness = (Vec<u8>, u32, i64);

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
    let mut descriptions = Vec::new();
    let mut tables = Vec::with_capacity(tree.processes.len());
    let mut met: HashMap<Likeness, Vec<Met>> = HashMap::new();
    let mut ids = HashMap::new();
    let mut pipes_read = BTreeSet::new();
    let mut locked = BTreeSet::new();
    let mut first = Vec::new();
    let transit = Transit::look(tree)?;
    refuse_travellers(&transit, tree)?;
    for view in tree.processes.iter().chain(transit.view()) {
        let mut descriptors = Vec::with_capacity(view.fds.len());
        for fd in &view.fds {
            let flags = fd.info.flags & !o::CLOEXEC;
            let alike = met.entry((fd.link.clone(), flags, fd.info.pos)).or_default();
            let description = match find(alike, view.pid, fd.fd) {
                Ok(at) => alike[at].id,
                Err(at) => {
                    let id = descriptions.len() as u32 + 1;
                    let (pipes_read, transit) = (&mut pipes_read, &transit);
                    let mut cx = Capturing { view, tree, files, shared, pipes_read, transit, network };
                    descriptions.push(capture_one(id, fd, &mut cx)?);
                    first.push((view, fd));
                    alike.insert(at, Met { pid: view.pid, fd: fd.fd, id });
                    id
                }
            };
            for lock in locks::of_process(fd, view.pid) {
                if locked.insert((fd.dev, fd.ino, lock.pid, lock.start, lock.length)) {
                    descriptions[description as usize - 1].locks.push(lock);
                }
            }
            ids.insert((view.pid, fd.fd), description);
            let cloexec = fd.info.flags & o::CLOEXEC != 0;
            descriptors.push(Descriptor { fd: fd.fd, description, cloexec });
        }
        tables.push(descriptors);
    }
    for (record, (view, fd)) in descriptions.iter_mut().zip(first) {
        if let Some(kind) = record.kind() {
            kind.relate(fd, &Relating { view, tree, ids: &ids, transit: &transit }, record)?;
        }
    }
    // What is on its way belongs to no process.
    tables.truncate(tree.processes.len());
    Ok((descriptions, tables))
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

fn capture_one(id: u32, fd: &FdView, cx: &mut Capturing<'_>) -> Result<Description, Error> {
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
            kind.capture(fd, cx, &mut record)?;
            record.locks = locks::of_description(fd);
            if owner::is_kept(&record) {
                record.owner = owner::capture(fd, cx.view)?;
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
