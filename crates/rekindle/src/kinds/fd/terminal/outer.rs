//! Terminals that are not part of the program: the one that it was started on.

use super::{Terminals, device, index_of, is_terminal};
use crate::kinds::process::controlling_terminal;
use crate::record::Plan;
use crate::refusal::Refusals;
use crate::view::{FdView, ProcessView, TreeView};
use rekindle_sys::tty::SETTINGS_LEN;

/// What a restorer in the foreground does about its terminal before it lets a program go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnTerminal {
    /// The process group of the program that had the terminal, if it had it.
    pub foreground: Option<i32>,
    /// The settings that it had given it: a `struct termios2`.
    pub modes: Option<[u8; SETTINGS_LEN]>,
}

impl OnTerminal {
    /// What a plan says.
    pub(crate) fn of(plan: &Plan) -> Self {
        let root = plan.processes.first().map(|root| &root.process.controlling_terminal);
        let group = root
            .filter(|terminal| inner_index(plan, terminal).is_none())
            .and_then(|terminal| terminal.foreground);
        let is_of_tree =
            |group: &i32| plan.processes.iter().any(|process| process.process.identity.pgid == *group);
        let settings =
            plan.descriptions.iter().find_map(|description| description.terminal.as_ref()?.outer.as_ref());
        let foreground = group.filter(is_of_tree);
        // While it was in the background, the settings were another program's.
        let modes = foreground.and_then(|_| settings?.modes());
        Self { foreground, modes }
    }
}

/// Which pseudo-terminal of the plan a controlling terminal is, if it is one.
pub(crate) fn inner_index(plan: &Plan, terminal: &controlling_terminal::Record) -> Option<u32> {
    let index = index_of(terminal.device.unwrap_or(0))?;
    let is_it = |description: &crate::kinds::fd::Description| {
        description.terminal.as_ref().is_some_and(|it| it.pair.is_some() && it.index == index)
    };
    plan.descriptions.iter().any(is_it).then_some(index)
}

/// The controlling terminal of the root, if it is none of the tree's.
pub(crate) fn root_terminal(tree: &TreeView) -> Option<u64> {
    let root = tree.processes.first()?;
    outer_terminal(root, &tree.terminals)
}

fn outer_terminal(view: &ProcessView, terminals: &Terminals) -> Option<u64> {
    let device = controlling_terminal::device(view)?;
    terminals.inner(device).is_none().then_some(device)
}

/// Refuses a session whose controlling terminal cannot be given to it again.
pub fn survey(view: &ProcessView, tree: &TreeView, refusals: &mut Refusals) {
    let root = tree.processes.first().map(|root| root.stat.session);
    if let Some(device) = outer_terminal(view, &tree.terminals)
        && view.stat.session == view.pid
        && root != Some(view.stat.session)
    {
        let (major, minor) = (libc::major(device), libc::minor(device));
        refusals.add(
            "controlling-terminal",
            "the session",
            format!("its controlling terminal (device {major}:{minor}) is another program's"),
            "checkpoint this process alone, or the program whose terminal it is",
        );
    }
}

/// Whether a descriptor leads to a terminal that the restorer's takes the place of: one that is the standard stream of a
/// process, or the controlling terminal of the root.
pub(crate) fn is_replaced(fd: &FdView, view: &ProcessView, tree: &TreeView) -> bool {
    let wanted = device(fd, view);
    let is_stream = |other: &ProcessView| {
        let streams = other.fds.iter().take_while(|fd| fd.fd <= 2).filter(|fd| is_terminal(fd));
        streams.into_iter().any(|stream| device(stream, other) == wanted)
    };
    root_terminal(tree) == Some(wanted) || tree.processes.iter().any(is_stream)
}
