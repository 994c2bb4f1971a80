//! What the options come to. An option that cannot be followed is complained of by name, all at once.

use crate::cpuinfo::Capabilities;
use crate::failure::Failure;
use crate::log::DEFAULT_LEVEL;
use crate::options::table::Fate;
use crate::options::{Given, Line, Value, shown};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// What a command is to do.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) tree: Option<i32>,
    pub(crate) images_dir: PathBuf,
    pub(crate) work_dir: Option<PathBuf>,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) verbosity: u32,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) leave_running: bool,
    pub(crate) leave_stopped: bool,
    pub(crate) detached: bool,
    pub(crate) sibling: bool,
    /// The command that is to be the restored root's parent.
    pub(crate) exec_cmd: Option<Vec<OsString>>,
    pub(crate) action_scripts: Vec<OsString>,
    pub(crate) timeout: Duration,
    pub(crate) close: Vec<i32>,
    pub(crate) display_stats: bool,
    /// What of the processor is noted or compared, if that was asked for.
    pub(crate) capabilities: Option<Capabilities>,
    /// The largest deleted file to carry, in bytes.
    pub(crate) ghost_limit: Option<u64>,
    /// The descriptor that is told when it is done.
    pub(crate) status_fd: Option<i32>,
    pub(crate) log_pid: bool,
    pub(crate) tcp_close: bool,
    /// Connections that nobody has accepted yet are left out.
    pub(crate) skip_in_flight: bool,
    /// Where the names of watched files are looked for.
    pub(crate) scan_paths: Vec<PathBuf>,
    /// The control group that the tree is stopped by.
    pub(crate) freeze_cgroup: Option<PathBuf>,
    pub(crate) extra: bool,
    pub(crate) experimental: bool,
    pub(crate) features: Vec<OsString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tree: None,
            images_dir: ".".into(),
            work_dir: None,
            log_file: None,
            verbosity: DEFAULT_LEVEL,
            pidfile: None,
            leave_running: false,
            leave_stopped: false,
            detached: false,
            sibling: false,
            exec_cmd: None,
            action_scripts: Vec::new(),
            timeout: Duration::from_secs(10),
            close: Vec::new(),
            display_stats: false,
            capabilities: None,
            ghost_limit: None,
            status_fd: None,
            log_pid: false,
            tcp_close: false,
            skip_in_flight: false,
            scan_paths: Vec::new(),
            freeze_cgroup: None,
            extra: false,
            experimental: false,
            features: Vec::new(),
        }
    }
}

/// `--timeout 0`: none.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

impl Settings {
    /// Those of a command line, as far as they can be followed, and what cannot be.
    pub(crate) fn of(line: &Line) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut complaints = line.complaints.clone();
        for (index, given) in line.given.iter().enumerate() {
            let taken_back = line.given[index + 1..]
                .iter()
                .any(|later| later.option == given.option && later.value == Value::Off);
            if let Fate::NotYet(why) = given.option.fate
                && given.value != Value::Off
                && !taken_back
            {
                complaints.push(format!("--{} is not supported yet: {why}", given.option.name));
            } else if let Err(why) = settings.follow(given) {
                complaints.push(why);
            }
        }
        if line.has("exec-cmd") {
            settings.exec_cmd = Some(line.rest.clone());
            if line.rest.is_empty() {
                complaints.push("--exec-cmd: no command follows `--`".into());
            }
        } else if let Some(word) = line.rest.first() {
            complaints.push(format!("{} belongs to no --exec-cmd", shown(word)));
        }
        if settings.sibling && !settings.detached {
            complaints.push("--restore-sibling makes sense with --restore-detached only".into());
        }
        (settings, complaints)
    }

    /// The root of the tree to dump.
    pub(crate) fn tree(&self) -> Result<i32, Failure> {
        self.tree.ok_or_else(|| Failure::new("no process was named; use -t PID"))
    }

    /// Takes one up.
    fn follow(&mut self, Given { option, value }: &Given) -> Result<(), String> {
        let on = *value != Value::Off;
        let text = value.text().unwrap_or_default();
        let path = || PathBuf::from(text);
        let wrong = |what: &str| format!("--{} {}: {what}", option.name, shown(text));
        match option.name {
            "tree" => self.tree = Some(positive(text).ok_or_else(|| wrong("not a pid"))?),
            "images-dir" => self.images_dir = path(),
            "work-dir" => self.work_dir = Some(path()),
            "log-file" => self.log_file = Some(path()),
            "verbosity" => {
                self.verbosity = level(self.verbosity, text).ok_or_else(|| wrong("not a level"))?;
            }
            "pidfile" => self.pidfile = Some(path()),
            "leave-running" => self.leave_running = on,
            "leave-stopped" => self.leave_stopped = on,
            "restore-detached" => self.detached = on,
            "restore-sibling" => self.sibling = on,
            "action-script" => self.action_scripts.push(text.to_owned()),
            "timeout" => {
                let seconds = number(text).ok_or_else(|| wrong("not a number of seconds"))?;
                let limit = Duration::from_secs(seconds);
                self.timeout = if seconds == 0 { NO_LIMIT } else { limit.min(NO_LIMIT) };
            }
            "close" => self.close.push(descriptor(text).ok_or_else(|| wrong("not a descriptor"))?),
            "status-fd" => self.status_fd = Some(descriptor(text).ok_or_else(|| wrong("not a descriptor"))?),
            "log-pid" => self.log_pid = on,
            "tcp-close" => self.tcp_close = on,
            "skip-in-flight" => self.skip_in_flight = on,
            "irmap-scan-path" => self.scan_paths.push(path()),
            "freeze-cgroup" => self.freeze_cgroup = Some(path()),
            "display-stats" => self.display_stats = on,
            "ghost-limit" => {
                self.ghost_limit =
                    Some(size(text).ok_or_else(|| wrong("not a size, such as 512K, 1M or 2G"))?);
            }
            "network-lock" => one_of(text, &["iptables", "nftables", "skip"]).map_err(|why| wrong(&why))?,
            "file-validation" => one_of(text, &["filesize", "buildid"]).map_err(|why| wrong(&why))?,
            "cpu-cap" => self.capabilities = Some(Capabilities::parse(text).map_err(|why| wrong(&why))?),
            "root" if text != "/" => {
                return Err(wrong("mount namespaces are not restored yet; only / is supported"));
            }
            "manage-cgroups" => {
                one_of(text, &["", "none", "props", "soft", "full", "strict", "ignore"])
                    .map_err(|why| wrong(&why))?;
                if text != "ignore" {
                    return Err(wrong("control groups are not restored yet; only ignore is supported"));
                }
            }
            "extra" => self.extra = on,
            "experimental" => self.experimental = on,
            "all" => (self.extra, self.experimental) = (on, on),
            "feature" => self.features.push(text.to_owned()),
            _ => {} // granted, or taken up before there are settings (main.rs, config.rs)
        }
        Ok(())
    }
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

fn positive(text: &OsStr) -> Option<i32> {
    number(text).and_then(|number| i32::try_from(number).ok()).filter(|number| *number > 0)
}

fn descriptor(text: &OsStr) -> Option<i32> {
    number(text).and_then(|number| i32::try_from(number).ok())
}

/// A number is the level; each `v` raises it by one.
fn level(now: u32, text: &OsStr) -> Option<u32> {
    match text.to_str()? {
        letters if letters.bytes().all(|byte| byte == b'v') => {
            // The letter of the option itself is one.
            Some(now.saturating_add(1).saturating_add(u32::try_from(letters.len()).unwrap_or(u32::MAX)))
        }
        number => number.parse().ok(),
    }
}

/// Bytes, in K, M or G of 1024 each if so marked.
fn size(text: &OsStr) -> Option<u64> {
    let text = text.to_str()?;
    let (digits, shift) = match text.bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn one_of(text: &OsStr, words: &[&str]) -> Result<(), String> {
    if words.iter().any(|word| text == *word) {
        return Ok(());
    }
    let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    Err(format!("there are {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> (Settings, Vec<String>) {
        Settings::of(&Line::parse(words.iter().map(OsString::from)))
    }

    #[test]
    fn levels() {
        let level = |words: &[&str]| settings(words).0.verbosity;
        assert_eq!(level(&[]), 2);
        assert_eq!(level(&["-v"]), 3);
        assert_eq!(level(&["-vv"]), 4);
        assert_eq!(level(&["-v0"]), 0);
        assert_eq!(level(&["-v4"]), 4);
        assert_eq!(level(&["--verbosity=1"]), 1);
        assert_eq!(settings(&["-vx"]).1.len(), 1);
    }

    #[test]
    fn sizes() {
        let sizes = ["0", "1500", "2K", "3m", "1G"].map(|text| size(OsStr::new(text)));
        assert_eq!(sizes, [0, 1500, 2048, 3 << 20, 1 << 30].map(Some));
        for wrong in ["", "K", "-1", "1T", "99999999999G", "1.5M"] {
            assert_eq!(size(OsStr::new(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_word_counts() {
        let (settings, complaints) =
            settings(&["-R", "--no-leave-running", "--no-restore-detached", "-d", "-t", "1", "--tree=7"]);
        assert_eq!(complaints, [""; 0]);
        assert!(!settings.leave_running && settings.detached);
        assert_eq!(settings.tree, Some(7));
    }

    #[test]
    fn what_cannot_be_done_is_told_unless_it_was_taken_back() {
        let words =
            ["--page-server", "--lazy-pages", "--no-lazy-pages", "--root", "x", "--manage-cgroups", "--all"];
        let (_, complaints) = settings(&words);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        for (complaint, says) in complaints.iter().zip(["--page-server", "--root x", "--manage-cgroups"]) {
            assert!(complaint.contains(says), "{complaint}");
        }
        assert_eq!(settings(&["--root", "/", "--manage-cgroups=ignore", "--no-track-mem"]).1, [""; 0]);
    }

    #[test]
    fn values_without_sense_are_told() {
        let wrong = [
            "-t0",
            "-tx",
            "--timeout=-1",
            "--close=x",
            "--ghost-limit=1X",
            "--network-lock=x",
            "--cpu-cap=x",
            "--file-validation=x",
            "--manage-cgroups=x",
            "--status-fd=x",
            "-S",
            "--exec-cmd",
        ];
        for word in wrong {
            assert_eq!(settings(&[word]).1.len(), 1, "{word}");
        }
        assert_eq!(settings(&["restore", "--", "x"]).1.len(), 1);
    }
}
