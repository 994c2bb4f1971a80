//! `/proc/PID/mountinfo`: the mounts of a mount namespace that are reachable from the process's root
//! (proc_pid_mountinfo(5)).
//!
//! ```text
//! 64 43 0:40 /root /mnt/a\040b rw,relatime shared:1 master:2 - tmpfs source rw,size=4k
//! id parent dev root mount_point options propagation.......... fs_type source super_options
//! ```
//!
//! The kernel writes blanks, tabs, newlines and backslashes as `\040 \011 \012 \134`, `#` in types and sources as
//! `\043`, and commas in the values of options as `\054`: options are split first and unescaped then. A source may be
//! empty.

use crate::text::{At, cut, lines, unescape};
use crate::{Dev, ParseError};

const FILE: &str = "/proc/PID/mountinfo";
const PATH_ESCAPES: &[u8] = b" \t\n\\";
const NAME_ESCAPES: &[u8] = b" \t\n\\#";
const OPTION_ESCAPES: &[u8] = b" \t\n\\#,=\"";

/// One mount. All names have their escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number, unique until it is unmounted.
    pub id: i32,
    /// The mount it is mounted on; its own number, or one that is not listed, at the top of the tree.
    pub parent: i32,
    /// The device of the files on it (`st_dev`).
    pub dev: Dev,
    /// The directory (or file) of the file system that is mounted here: `/`, or for a bind mount what is below. It ends
    /// in `//deleted` when that directory was removed. Some file systems put a name here: `net:[4026531992]`.
    pub root: Vec<u8>,
    /// Where, as seen from the process's root.
    pub mount_point: Vec<u8>,
    /// Options of the mount.
    pub options: Vec<Vec<u8>>,
    /// How mounts made below it spread, and whether it may be bound.
    pub propagation: Vec<Propagation>,
    /// The type of the file system, with its subtype behind a dot: `ext4`, `fuse.sshfs`.
    pub fs_type: Vec<u8>,
    /// What was mounted: a device, a name, nothing.
    pub source: Vec<u8>,
    /// Options of the file system.
    pub super_options: Vec<Vec<u8>>,
}

/// One optional field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Propagation {
    /// `shared:N`: member of peer group N.
    Shared(u32),
    /// `master:N`: receives from peer group N.
    Master(u32),
    /// `propagate_from:N`: its master is not visible here, N is the nearest that is.
    PropagateFrom(u32),
    /// `unbindable`
    Unbindable,
    /// Anything else, as it stands.
    Other(Vec<u8>),
}

impl Mount {
    /// What it was mounted from before that directory was removed. A directory whose name ends so in truth
    /// cannot exist: `//` is in no path.
    #[must_use]
    pub fn deleted_root(&self) -> Option<&[u8]> {
        self.root.strip_suffix(b"//deleted")
    }

    /// Whether one of the options of the mount (not of its file system) is `name`.
    #[must_use]
    pub fn has_option(&self, name: &[u8]) -> bool {
        self.options.iter().any(|option| option == name)
    }

    /// The value of the first option `name=VALUE` of the file system.
    #[must_use]
    pub fn super_option(&self, name: &[u8]) -> Option<&[u8]> {
        self.super_options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix(b"="))
    }
}

/// All mounts, in the order of the file: a mount comes after the one it is mounted on.
///
/// # Errors
/// A line that is not of the form above.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, ParseError> {
    lines(FILE, text).map(|(at, line)| mount(at, line)).collect()
}

fn mount(at: At, line: &[u8]) -> Result<Mount, ParseError> {
    let mut fields = Fields { at, rest: Some(line) };
    let id = at.signed(Some(fields.next("the mount id")?), "the mount id")?;
    let parent = at.signed(Some(fields.next("the parent id")?), "the parent id")?;
    let dev = fields.next("the device")?;
    let dev = Dev::parse(dev, 10).ok_or_else(|| at.expected("the device (MAJOR:MINOR)", dev))?;
    Ok(Mount {
        id,
        parent,
        dev,
        root: unescape(fields.next("the root")?, PATH_ESCAPES),
        mount_point: unescape(fields.next("the mount point")?, PATH_ESCAPES),
        options: options(fields.next("the options")?),
        propagation: fields.propagation()?,
        fs_type: unescape(fields.next("the file system type")?, NAME_ESCAPES),
        source: unescape(fields.next("the source")?, NAME_ESCAPES),
        super_options: options(fields.rest.unwrap_or_default()),
    })
}

/// Fields between single blanks: an empty one counts.
struct Fields<'a> {
    at: At,
    /// `None` behind the last one.
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn next(&mut self, wanted: &str) -> Result<&'a [u8], ParseError> {
        let rest = self.at.word(self.rest, wanted)?;
        let (field, after) = cut(rest, b' ').map_or((rest, None), |(field, after)| (field, Some(after)));
        self.rest = after;
        Ok(field)
    }

    /// Up to and with the `-`.
    fn propagation(&mut self) -> Result<Vec<Propagation>, ParseError> {
        let mut found = Vec::new();
        loop {
            match self.next("a hyphen")? {
                b"-" => return Ok(found),
                field => found.push(propagation(self.at, field)?),
            }
        }
    }
}

fn propagation(at: At, field: &[u8]) -> Result<Propagation, ParseError> {
    let group = |digits| at.dec(Some(digits), "a peer group");
    match cut(field, b':') {
        Some((b"shared", digits)) => group(digits).map(Propagation::Shared),
        Some((b"master", digits)) => group(digits).map(Propagation::Master),
        Some((b"propagate_from", digits)) => group(digits).map(Propagation::PropagateFrom),
        None if field == b"unbindable" => Ok(Propagation::Unbindable),
        _ => Ok(Propagation::Other(field.to_vec())),
    }
}

fn options(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b',').map(|option| unescape(option, OPTION_ESCAPES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18: blanks, `#`, a tab, no source, a backslash, a removed root with a newline in the mount point,
    /// and an overlay with a comma in a lower directory (overlayfs itself escapes it by a backslash).
    const SAMPLE: &[u8] = br"63 43 0:39 / /tmp/cap/m/a\040b rw,relatime unbindable - tmpfs so\040urce\043,\134x rw
64 43 0:40 / /tmp/cap/m/t\011ab rw,relatime shared:1 - tmpfs  rw
65 43 254:0 /tmp/cap/l1 /tmp/cap/m/b\134s rw,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534
66 43 254:0 /tmp/cap/todel//deleted /tmp/cap/m/n\012l rw,relatime - ext4 /dev/vda rw
70 43 0:41 / /tmp/cap/m/ov rw,relatime - overlay ov rw,lowerdir=/tmp/cap/l1:/tmp/cap/l\134\0542,upperdir=/tmp/cap/u
";

    #[test]
    fn real_mounts_with_hard_names() {
        let mounts = parse(SAMPLE).unwrap();
        let [blank, tab, backslash, deleted, overlay] = mounts.as_slice() else { panic!("{}", mounts.len()) };
        let expected = Mount {
            id: 63,
            parent: 43,
            dev: Dev { major: 0, minor: 39 },
            root: b"/".to_vec(),
            mount_point: b"/tmp/cap/m/a b".to_vec(),
            options: vec![b"rw".to_vec(), b"relatime".to_vec()],
            propagation: vec![Propagation::Unbindable],
            fs_type: b"tmpfs".to_vec(),
            source: b"so urce#,\\x".to_vec(),
            super_options: vec![b"rw".to_vec()],
        };
        assert_eq!(*blank, expected);
        assert!(blank.has_option(b"relatime") && !blank.has_option(b"ro"));
        assert_eq!(tab.mount_point, b"/tmp/cap/m/t\tab");
        assert_eq!((tab.source.as_slice(), &tab.propagation), (&b""[..], &vec![Propagation::Shared(1)]));
        assert_eq!((backslash.mount_point.as_slice(), backslash.dev.major), (&b"/tmp/cap/m/b\\s"[..], 254));
        assert_eq!(backslash.super_option(b"resuid"), Some(&b"65534"[..]));
        assert_eq!(deleted.deleted_root(), Some(&b"/tmp/cap/todel"[..]));
        assert_eq!(deleted.mount_point, b"/tmp/cap/m/n\nl");
        assert_eq!(overlay.super_option(b"lowerdir"), Some(&br"/tmp/cap/l1:/tmp/cap/l\,2"[..]));
        assert_eq!(overlay.super_option(b"upperdir"), Some(&b"/tmp/cap/u"[..]));
    }

    #[test]
    fn every_optional_field() {
        let line = b"1 0 0:1 net:[4026531992] /x rw shared:3 master:2 propagate_from:1 idmapped new:x - \xff.y s ro\n";
        let mount = parse(line).unwrap().remove(0);
        use Propagation::{Master, Other, PropagateFrom, Shared};
        let other = [Other(b"idmapped".to_vec()), Other(b"new:x".to_vec())];
        assert_eq!(mount.propagation[..3], [Shared(3), Master(2), PropagateFrom(1)]);
        assert_eq!(mount.propagation[3..], other);
        assert_eq!(
            (mount.root.as_slice(), mount.fs_type.as_slice()),
            (&b"net:[4026531992]"[..], &b"\xff.y"[..])
        );
    }

    #[test]
    fn broken_lines_are_refused() {
        for (line, complaint) in [
            (&b"1"[..], "the line ends where the parent id should stand"),
            (b"1 0 0:1 / / rw shared:1", "the line ends where a hyphen should stand"),
            (b"1 0 0:1 / / rw shared:x - a b c", "expected a peer group, found \"x\""),
            (b"1 0 fe:01 / / rw - a b c", "expected the device (MAJOR:MINOR), found \"fe:01\""),
        ] {
            assert_eq!(parse(line).unwrap_err().what, complaint);
        }
    }
}
