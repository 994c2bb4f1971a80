//! The processor: what of it a dump notes in `cpuinfo.img` (`--cpu-cap`, `criu cpuinfo dump`), and what a restore compares
//! with it.
//!
//! The file holds two lines, from /proc/cpuinfo: who made the processor, and its flags.

use crate::failure::Failure;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// The file, in the images' directory.
const FILE: &str = "cpuinfo.img";

/// What is to be compared: criu(8), `--cpu-cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// All that the processor has.
    cpu: bool,
    /// What programs save registers by.
    fpu: bool,
    /// Instructions that were there.
    ins: bool,
}

impl Capabilities {
    const ALL: Self = Self { cpu: true, fpu: true, ins: true };
    const NONE: Self = Self { cpu: false, fpu: false, ins: false };

    /// Those of a list such as `fpu,^ins`. An empty one means all.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::ALL);
        }
        let text = text.to_str().ok_or("there are cpu, fpu, ins, all, none")?;
        let mut chosen = Self::NONE;
        for word in text.split(',') {
            let (word, on) = word.strip_prefix('^').map_or((word, true), |word| (word, false));
            match word {
                "cpu" => chosen.cpu = on,
                "fpu" => chosen.fpu = on,
                "ins" => chosen.ins = on,
                "all" => chosen = if on { Self::ALL } else { Self::NONE },
                "none" => chosen = if on { Self::NONE } else { Self::ALL },
                _ => return Err("there are cpu, fpu, ins, all, none".to_owned()),
            }
        }
        Ok(chosen)
    }

    /// Whether anything is compared. The state of registers is, without any note: it fits, or a restore fails.
    fn needs_note(self) -> bool {
        self.cpu || self.ins
    }
}

/// A processor.
#[derive(Debug, PartialEq, Eq)]
struct Processor {
    vendor: String,
    flags: BTreeSet<String>,
}

/// Notes what this machine's processor is, if that is to be compared.
pub(crate) fn note(images: &Path, capabilities: Capabilities) -> Result<(), Failure> {
    if capabilities == Capabilities::NONE { Ok(()) } else { dump(images) }
}

/// Compares this machine's processor with the noted one.
pub(crate) fn compare(images: &Path, capabilities: Capabilities) -> Result<(), Failure> {
    let path = images.join(FILE);
    if !path.exists() && !capabilities.needs_note() {
        return Ok(());
    }
    let what =
        format!("reading {}, which `criu dump --cpu-cap` or `criu cpuinfo dump` writes", path.display());
    let noted = std::fs::read_to_string(&path).map_err(|error| Failure::io(&what, &error))?;
    let noted = Processor::parse(&noted)
        .ok_or_else(|| Failure::new(format!("{} is not one of ours", path.display())))?;
    noted.fits(&Processor::here()?, capabilities)
}

/// `criu cpuinfo dump`.
pub(crate) fn dump(images: &Path) -> Result<(), Failure> {
    let path = images.join(FILE);
    let Processor { vendor, flags } = Processor::here()?;
    let flags: Vec<_> = flags.into_iter().collect();
    let text = format!("vendor_id: {vendor}\nflags: {}\n", flags.join(" "));
    std::fs::write(&path, text).map_err(|error| Failure::io(&format!("writing {}", path.display()), &error))
}

/// `criu cpuinfo check`.
pub(crate) fn check(images: &Path, capabilities: Option<Capabilities>) -> Result<(), Failure> {
    compare(images, capabilities.unwrap_or(Capabilities::ALL))
}

impl Processor {
    fn here() -> Result<Self, Failure> {
        const PLACE: &str = "/proc/cpuinfo";
        let text = std::fs::read_to_string(PLACE).map_err(|error| Failure::io(PLACE, &error))?;
        Self::parse(&text)
            .ok_or_else(|| Failure::new(format!("{PLACE} does not tell the flags of a processor")))
    }

    /// From the first of each line, as all processors of a machine have the same.
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(":")?;
                (key.trim() == name).then(|| value.trim())
            })
        };
        let flags = field("flags")?.split_whitespace().map(str::to_owned).collect();
        Some(Self { vendor: field("vendor_id")?.to_owned(), flags })
    }

    /// Whether a program of this one can run on another.
    fn fits(&self, here: &Self, capabilities: Capabilities) -> Result<(), Failure> {
        let mut lines = Vec::new();
        if capabilities.cpu && self.vendor != here.vendor {
            lines.push(format!("the processor was by {}, and is by {}", self.vendor, here.vendor));
        }
        if capabilities.cpu && self.flags != here.flags {
            let more: Vec<_> = here.flags.difference(&self.flags).map(String::as_str).collect();
            if !more.is_empty() {
                lines.push(format!("the processor has what the old one had not: {}", more.join(" ")));
            }
        }
        let matters = |flag: &str| {
            if is_of_registers(flag) {
                capabilities.fpu || capabilities.cpu
            } else {
                capabilities.ins || capabilities.cpu
            }
        };
        let lost: Vec<_> =
            self.flags.difference(&here.flags).map(String::as_str).filter(|flag| matters(flag)).collect();
        if !lost.is_empty() {
            lines.push(format!("the processor lacks what the old one had: {}", lost.join(" ")));
        }
        if lines.is_empty() { Ok(()) } else { Err(Failure::of(lines)) }
    }
}

/// Flags (arch/x86/include/asm/cpufeatures.h) that say how registers are saved.
fn is_of_registers(flag: &str) -> bool {
    flag.starts_with("xsave") || matches!(flag, "fpu" | "fxsr" | "xgetbv1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Capabilities, String> {
        Capabilities::parse(OsStr::new(text))
    }

    #[test]
    fn capabilities() {
        assert_eq!(parse(""), Ok(Capabilities::ALL));
        assert_eq!(parse("all,^cpu"), Ok(Capabilities { cpu: false, fpu: true, ins: true }));
        assert_eq!(parse("none"), Ok(Capabilities::NONE));
        assert!(parse("fpu,x").is_err());
    }

    #[test]
    fn processors_are_compared_as_far_as_asked() {
        let processor = |text: &str| Processor::parse(text).unwrap();
        let old = processor("vendor_id\t: A\nflags\t\t: fpu xsave avx\n");
        let same = processor("vendor_id: A\nflags: avx fpu xsave");
        let other = processor("vendor_id: B\nflags: fpu sse\n");
        assert!(old.fits(&same, Capabilities::ALL).is_ok());
        let lines = |chosen: &str| old.fits(&other, parse(chosen).unwrap()).map_err(Failure::into_lines);
        assert_eq!(lines("none"), Ok(()));
        assert_eq!(lines("fpu"), Err(vec!["the processor lacks what the old one had: xsave".to_owned()]));
        assert_eq!(lines("ins"), Err(vec!["the processor lacks what the old one had: avx".to_owned()]));
        assert_eq!(lines("cpu").unwrap_err().len(), 3);
    }
}
