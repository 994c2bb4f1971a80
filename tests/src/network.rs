//! Network namespaces: a test in one of its own has all ports, names and addresses for itself, whatever else runs.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::ensure;
use crate::trial::Verdict;

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept by this.
#[derive(Debug)]
pub struct Network {
    namespace: File,
}

impl Network {
    /// A new one, in which nothing but the loopback device is up. `None` without the right to make one.
    pub fn make() -> Verdict<Option<Self>> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo up && read end"]);
        let mut keeper =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut answer = [0; 3];
        let is_up = keeper.stdout.take().is_some_and(|mut told| told.read_exact(&mut answer).is_ok());
        let namespace = is_up.then(|| File::open(format!("/proc/{}/ns/net", keeper.id()))).transpose();
        drop(keeper.stdin.take());
        keeper.wait()?;
        Ok(namespace?.map(|namespace| Self { namespace }))
    }

    /// Brings this thread, and what it starts, into it until the guard is dropped.
    pub fn enter(&self) -> Verdict<Inside> {
        let before = File::open(OWN)?;
        enter(&self.namespace)?;
        Ok(Inside { before })
    }

    /// Runs a command of `ip` inside.
    pub fn ip(&self, words: &str) -> Verdict {
        let _inside = self.enter()?;
        let done = Command::new("ip").args(words.split_ascii_whitespace()).output()?;
        ensure!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// A path that leads to it as long as this process and this object live.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}

/// This thread is in another network namespace; it goes back when this is dropped.
#[derive(Debug)]
pub struct Inside {
    before: File,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = enter(&self.before) {
            // What runs next in this thread would run in the wrong place.
            eprintln!("error: the harness cannot go back to its network: {error}");
            std::process::abort();
        }
    }
}

fn enter(namespace: impl AsFd) -> std::io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Brings this thread into a network of its own, where that is possible; elsewhere it stays where it is.
pub fn alone() -> Verdict<Option<Inside>> {
    if !Path::new(OWN).exists() {
        return Ok(None);
    }
    Network::make()?.map(|network| network.enter()).transpose()
}
