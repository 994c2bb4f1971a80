//! The commands, a file each.

mod check;
mod dump;
mod features;
mod restore;

use crate::failure::Failure;
use crate::options::shown;
use crate::places::Places;
use crate::settings::Settings;
use std::ffi::OsString;
use std::process::ExitCode;

/// What a command comes to.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Dump,
    Restore,
    Check,
    CpuinfoDump,
    CpuinfoCheck,
    /// One that cannot be done yet: its name, and what is missing.
    NotYet(&'static str, &'static str),
}

/// Those that CRIU has and this has not.
const NOT_YET: &[(&str, &str)] = &[
    ("pre-dump", "every dump is a whole one; use `criu dump --leave-running`"),
    ("page-server", "memory is not sent over the network"),
    ("lazy-pages", "memory is restored before the tree runs"),
    ("service", "there is no RPC"),
    ("swrk", "there is no RPC"),
    ("dedup", "an image has no parent to compare it with"),
    ("exec", "CRIU itself has given it up"),
];

impl Command {
    /// The one that the words say. The error is a sentence.
    pub(crate) fn of(words: &[OsString]) -> Result<Self, String> {
        let Some((name, more)) = words.split_first() else {
            return Err("no command was given; see criu --help".into());
        };
        let name = shown(name);
        if let Some((name, why)) = NOT_YET.iter().find(|(other, _)| *other == name) {
            return Ok(Self::NotYet(name, why));
        }
        let first = more.first().map(|word| shown(word));
        let (command, taken) = match (name.as_str(), first.as_deref()) {
            ("dump", _) => (Self::Dump, 0),
            ("restore", _) => (Self::Restore, 0),
            ("check", _) => (Self::Check, 0),
            ("cpuinfo", Some("dump")) => (Self::CpuinfoDump, 1),
            ("cpuinfo", Some("check")) => (Self::CpuinfoCheck, 1),
            ("cpuinfo", _) => return Err("cpuinfo needs one more word: dump or check".into()),
            _ => return Err(format!("unknown command: {name}; see criu --help")),
        };
        match more.get(taken) {
            None => Ok(command),
            Some(word) => Err(format!("excessive parameter {} for command {name}", shown(word))),
        }
    }

    /// Whether it reads or writes in the images' directory.
    pub(crate) fn has_images(self) -> bool {
        !matches!(self, Self::Check)
    }

    /// Does it.
    pub(crate) fn run(self, settings: &Settings, places: &Places) -> Outcome {
        match self {
            Self::Dump => dump::run(settings, places),
            Self::Restore => restore::run(settings, places),
            Self::Check => check::run(settings),
            Self::CpuinfoDump => crate::cpuinfo::dump(&places.images).map(|()| ExitCode::SUCCESS),
            Self::CpuinfoCheck => {
                crate::cpuinfo::check(&places.images, settings.capabilities).map(|()| ExitCode::SUCCESS)
            }
            Self::NotYet(name, why) => Err(Failure::new(format!("criu {name} is not supported yet: {why}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Command, String> {
        Command::of(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_known_and_take_no_more_words_than_they_should() {
        assert_eq!(of("dump"), Ok(Command::Dump));
        assert_eq!(of("cpuinfo check"), Ok(Command::CpuinfoCheck));
        assert!(matches!(of("swrk 3"), Ok(Command::NotYet("swrk", _))));
        for wrong in ["", "dumb", "dump 7", "cpuinfo", "cpuinfo x", "cpuinfo dump x", "check x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
