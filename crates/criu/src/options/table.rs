//! Every option that CRIU 4.2 has, one line each: its names, what it takes, what becomes of it here, and what it means.
//!
//! The names and meanings are those of criu(8). An option of the table is never ignored without a word: it acts
//! (settings.rs takes it up), or it permits what needs no permission here, or it is refused by name.

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    /// Its long name, without dashes.
    pub(crate) name: &'static str,
    /// Its short one.
    pub(crate) short: Option<char>,
    pub(crate) takes: Takes,
    pub(crate) fate: Fate,
    /// What it means, for `--help`.
    pub(crate) about: &'static str,
}

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing: it is on, and `--no-` before its name makes it off.
    Switch,
    /// Nothing, and there is no taking it back.
    Order,
    /// A value, called so.
    Value(&'static str),
    /// A value or none: only one that is attached (`--name=VALUE`, `-nVALUE`) is taken for it.
    Maybe(&'static str),
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done as it says.
    Acts,
    /// It permits, or chooses how to do, what goes without saying here; or is about what is refused by name where it
    /// is met. Accepted.
    Granted,
    /// It cannot be done yet; this is what is missing.
    NotYet(&'static str),
}
use Fate::{Acts, Granted, NotYet};
use Takes::{Maybe, Order, Switch, Value};

const NETWORK: Fate = NotYet("memory is not sent over the network");
const INCREMENTS: Fate = NotYet("every dump is a whole one");
const EXTERNAL: Fate = NotYet("nothing from outside of the tree can be named");
const NAMESPACES: Fate = NotYet("namespaces are not restored");
const MOUNTS: Fate = NotYet("mount namespaces are not restored");
const CGROUPS: Fate = NotYet("control groups are not restored");

const fn opt(name: &'static str, short: Option<char>, takes: Takes, fate: Fate, about: &'static str) -> Opt {
    Opt { name, short, takes, fate, about }
}

/// All of them, in the order in which `--help` lists them.
#[rustfmt::skip] // a line each
pub(crate) const OPTIONS: &[Opt] = &[
    // what, and where
    opt("tree", Some('t'), Value("PID"), Acts, "the root of the tree to dump"),
    opt("images-dir", Some('D'), Value("DIR"), Acts, "where the image is; it must exist"),
    opt("work-dir", Some('W'), Value("DIR"), Acts, "where logs, pid files and statistics go (the images' directory)"),
    opt("pidfile", None, Value("FILE"), Acts, "where the pid of the restored root goes"),
    opt("prev-images-dir", None, Value("DIR"), INCREMENTS, "the images of the dump before"),
    // what becomes of the tree
    opt("leave-running", Some('R'), Switch, Acts, "after the dump: let the tree go on, instead of killing it"),
    opt("leave-stopped", Some('s'), Switch, Acts, "after the dump, or the restore: leave the tree stopped"),
    opt("restore-detached", Some('d'), Switch, Acts, "end once the restored tree runs"),
    opt("restore-sibling", Some('S'), Switch, Acts, "the restored root becomes a child of our parent (with -d)"),
    opt("exec-cmd", None, Order, Acts, "after the restore execute what follows `--`, as the parent of the root"),
    opt("action-script", None, Value("FILE"), Acts, "a script to run at every stage (CRTOOLS_SCRIPT_ACTION)"),
    opt("timeout", None, Value("SECONDS"), Acts, "how long it may take to stop the tree (10)"),
    opt("close", None, Value("FD"), Acts, "close this descriptor before all else"),
    // logging
    opt("log-file", Some('o'), Value("FILE"), Acts, "where the log goes, in the work directory (standard error)"),
    opt("verbosity", Some('v'), Maybe("LEVEL"), Acts, "0 nothing, 1 errors, 2 warnings too, 3 what is done, 4 all"),
    opt("log-pid", None, Switch, Acts, "a log for each process too: the log's name, a dot, and the pid"),
    opt("display-stats", None, Switch, Acts, "print what is in stats-dump or stats-restore"),
    opt("status-fd", None, Value("FD"), Acts, "gets one NUL byte when the image is complete, or the tree is back"),
    // permissions, and what is chosen without being asked
    opt("shell-job", Some('j'), Switch, Granted, "permit a job of a shell"),
    opt("file-locks", Some('l'), Switch, Granted, "permit file locks"),
    opt("ext-unix-sk", Some('x'), Maybe("INODE"), Granted, "permit UNIX sockets connected to the outside"),
    opt("tcp-established", None, Switch, Granted, "permit established connections"),
    opt("tcp-close", None, Switch, Acts, "dump, or restore, established connections closed"),
    opt("skip-in-flight", None, Switch, Acts, "leave out connections that wait to be accepted"),
    opt("network-lock", None, Value("METHOD"), Acts, "how packets are held back: iptables, nftables, skip"),
    opt("link-remap", None, Switch, Granted, "permit links to deleted files"),
    opt("evasive-devices", None, Switch, Granted, "permit another path to a device"),
    opt("force-irmap", None, Switch, Granted, "search for the names of watched files"),
    opt("irmap-scan-path", None, Value("PATH"), Acts, "where to search for them, besides what the tree has open"),
    opt("allow-uprobes", None, Switch, Granted, "permit probes in the tree's code"),
    opt("ghost-limit", None, Value("SIZE"), Acts, "the largest deleted file to carry (1G), with K, M or G"),
    opt("ghost-fiemap", None, Switch, Granted, "find holes in deleted files by FIEMAP"),
    opt("file-validation", None, Value("METHOD"), Acts, "filesize or buildid: how files are compared at a restore"),
    opt("skip-file-rwx-check", None, Switch, Granted, "do not compare the permissions of files"),
    opt("cpu-cap", None, Maybe("CAPS"), Acts, "what of the processor is noted and compared: cpu, fpu, ins, all, none"),
    opt("freeze-cgroup", None, Value("DIR"), Acts, "the control group of the tree, which must not be frozen already"),
    opt("weak-sysctls", None, Switch, Granted, "leave out settings of the kernel that are not there"),
    opt("mntns-compat-mode", None, Switch, Granted, "restore mounts the older way"),
    opt("unprivileged", None, Switch, Granted, "run without being root"),
    opt("ms", None, Switch, Granted, "check less"),
    // containers
    opt("root", Some('r'), Value("DIR"), Acts, "the root of the restored mount namespace (/)"),
    opt("external", None, Value("RESOURCE"), EXTERNAL, "something that stays outside"),
    opt("inherit-fd", None, Value("fd[N]:RESOURCE"), EXTERNAL, "a descriptor of ours to take for one in the image"),
    opt("join-ns", Some('J'), Value("NS:FILE"), NAMESPACES, "a namespace to enter"),
    opt("empty-ns", None, Value("NS"), NAMESPACES, "a namespace to create empty"),
    opt("ext-mount-map", Some('M'), Value("KEY:VALUE"), MOUNTS, "a mount that stays outside"),
    opt("enable-external-sharing", None, Switch, MOUNTS, "permit mounts shared with the outside"),
    opt("enable-external-masters", None, Switch, MOUNTS, "permit mounts with a master outside"),
    opt("enable-fs", None, Value("NAMES"), MOUNTS, "file systems to try all the same"),
    opt("skip-mnt", None, Value("PATH"), MOUNTS, "a mount to leave out"),
    opt("veth-pair", None, Value("IN=OUT"), NAMESPACES, "names of network devices"),
    opt("lsm-profile", None, Value("TYPE:NAME"), NotYet("security profiles are not restored"), "the security profile"),
    opt("lsm-mount-context", None, Value("CONTEXT"), MOUNTS, "the context of restored mounts"),
    opt("manage-cgroups", None, Maybe("MODE"), Acts, "what to do about control groups: ignore"),
    opt("cgroup-root", None, Value("[CTRL:]/DIR"), CGROUPS, "where control groups go"),
    opt("cgroup-props", None, Value("TEXT"), CGROUPS, "properties of control groups"),
    opt("cgroup-props-file", None, Value("FILE"), CGROUPS, "the same in a file"),
    opt("cgroup-dump-controller", None, Value("NAME"), CGROUPS, "a controller to dump"),
    opt("cgroup-yard", None, Value("DIR"), CGROUPS, "where control groups are mounted"),
    opt("libdir", Some('L'), Value("DIR"), NotYet("plugins of CRIU cannot be loaded"), "where plugins are"),
    // memory
    opt("track-mem", None, Switch, INCREMENTS, "take note of what is written from now on"),
    opt("auto-dedup", None, Switch, INCREMENTS, "remove what a later image holds too"),
    opt("pre-dump-mode", None, Value("MODE"), INCREMENTS, "splice or read"),
    opt("stream", None, Switch, NotYet("there is no image streamer to talk to; the image is one stream anyway"),
        "images go through an image streamer"),
    opt("lazy-pages", None, Switch, NETWORK, "memory follows later"),
    opt("page-server", None, Switch, NETWORK, "memory goes to a page server"),
    opt("daemon", None, Switch, NETWORK, "serve in the background"),
    opt("address", None, Value("ADDRESS"), NETWORK, "of a server"),
    opt("port", None, Value("PORT"), NETWORK, "of a server"),
    opt("ps-socket", None, Value("FD"), NETWORK, "a socket to a page server"),
    opt("tls", None, Switch, NETWORK, "encrypt"),
    opt("tls-cacert", None, Value("FILE"), NETWORK, "whom to trust"),
    opt("tls-cacrl", None, Value("FILE"), NETWORK, "whom not to trust any more"),
    opt("tls-cert", None, Value("FILE"), NETWORK, "who we are"),
    opt("tls-key", None, Value("FILE"), NETWORK, "our key"),
    opt("tls-no-cn-verify", None, Order, NETWORK, "do not compare the server's name"),
    // check
    opt("extra", None, Switch, Acts, "check what some programs need"),
    opt("experimental", None, Switch, Acts, "check what nothing needs yet"),
    opt("all", None, Switch, Acts, "both"),
    opt("feature", None, Value("NAME"), Acts, "check this alone; `list` lists the names"),
    // configuration, and the usual two
    opt("config", None, Value("FILE"), Acts, "a file with options, one a line, without dashes"),
    opt("no-default-config", None, Order, Acts, "do not read the files that are read otherwise"),
    opt("help", Some('h'), Order, Acts, "this text"),
    opt("version", Some('V'), Order, Acts, "the version of CRIU that this stands in for"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), OPTIONS.len());
        let shorts: Vec<_> = OPTIONS.iter().filter_map(|option| option.short).collect();
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len());
    }
}
