//! `/proc/PID/fdinfo/FD`: what an open file description is, besides its path (proc_pid_fdinfo(5)).
//!
//! ```text
//! pos:    0                                                             every file
//! flags:  02100002
//! mnt_id: 27
//! ino:    1038                                                          since Linux 5.14
//! lock:   1: POSIX  ADVISORY  WRITE 6183 fe:00:10035225 3 12            each lock held through this descriptor
//! eventfd-count:                7                                       what the kind of file adds
//! tfd:       23 events: 80000019 data:     7f2a00000017  pos:0 ino:2e87 sdev:f
//! inotify wd:1 ino:99200f sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:0f20...
//! ```
//!
//! What a kind adds stays text here ([`FdInfo::rest`]). For lines that are pairs themselves there is [`pairs`].

use crate::text::{At, Words, cut, lines, radix, trim_start, words};
use crate::{Dev, ParseError};

const FILE: &str = "/proc/PID/fdinfo/FD";

/// The lines of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdInfo {
    /// The file offset in bytes. Signed as `loff_t` is.
    pub pos: i64,
    /// The status flags and the access mode of open(2), and O_CLOEXEC, which belongs to the descriptor.
    pub flags: u32,
    /// The mount that its path is on, as in mountinfo; 0 or a number that mountinfo does not list for files of
    /// the kernel's internal mounts (pipes, sockets, memfds).
    pub mnt_id: i32,
    /// The inode (Linux 5.14).
    pub ino: Option<u64>,
    /// The locks: those of flock(2) and OFD locks of this description, POSIX locks of the process on the same file,
    /// leases.
    pub locks: Vec<Lock>,
    /// All other lines, in order: name and value. The name ends at the first colon, or, in lines of inotify and
    /// fanotify, after that word. Names may repeat (`tfd`), values may be empty.
    pub rest: Vec<(Vec<u8>, Vec<u8>)>,
}

impl FdInfo {
    /// The value of the first line of that name in `rest`.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all lines of that name in `rest`, in order.
    pub fn values(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.rest.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_slice())
    }
}

/// One `lock:` line; proc_locks(5) has the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The ordinal in the file, from 1.
    pub id: u64,
    /// Who made it, and so how it is made again.
    pub kind: LockKind,
    /// `ADVISORY`, `MANDATORY` (before Linux 5.15), or of a lease `ACTIVE`, `BREAKING`, `BREAKER`; `MSNFS`.
    pub mode: Vec<u8>,
    /// What it is good for.
    pub access: LockAccess,
    /// The process that took it; -1 for OFD locks, 0 if it is outside the reader's pid namespace.
    pub pid: i32,
    /// The device of the file, as in maps.
    pub dev: Dev,
    /// The inode of the file.
    pub inode: u64,
    /// The first locked byte.
    pub start: u64,
    /// The last locked byte; `None` is "to the end of the file, wherever it will be" (`EOF`).
    pub end: Option<u64>,
}

/// Kinds of locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockKind {
    /// `POSIX`: fcntl(2) F_SETLK, owned by the process.
    Posix,
    /// `OFDLCK`: fcntl(2) F_OFD_SETLK, owned by the open file description.
    Ofd,
    /// `FLOCK`: flock(2), owned by the open file description.
    Flock,
    /// `LEASE`: fcntl(2) F_SETLEASE.
    Lease,
    /// `DELEG`: a delegation of an NFS server.
    Delegation,
    /// Anything else, as it stands.
    Other(Vec<u8>),
}

/// What a lock allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockAccess {
    /// `READ`: shared.
    Read,
    /// `WRITE`: exclusive.
    Write,
    /// `UNLCK`: a lease about to end.
    Unlock,
    /// Anything else, as it stands.
    Other(Vec<u8>),
}

/// The file as a value.
///
/// # Errors
/// No `pos`, `flags` or `mnt_id`, or one of them, `ino` or a lock of another form than documented.
pub fn parse(text: &[u8]) -> Result<FdInfo, ParseError> {
    let (mut pos, mut flags, mut mnt_id, mut ino) = (None, None, None, None);
    let (mut locks, mut rest) = (Vec::new(), Vec::new());
    for (at, line) in lines(FILE, text) {
        let (name, value) = name_and_value(line);
        match name {
            b"pos" if pos.is_none() => pos = Some(at.signed(Some(value), "the offset")?),
            b"flags" if flags.is_none() => flags = Some(at.oct(Some(value), "the flags (octal)")?),
            b"mnt_id" if mnt_id.is_none() => mnt_id = Some(at.signed(Some(value), "the mount")?),
            b"ino" if ino.is_none() => ino = Some(at.dec(Some(value), "the inode")?),
            b"lock" => locks.push(lock(at, value)?),
            _ => rest.push((name.to_vec(), value.to_vec())),
        }
    }
    let missing = |name| At::file(FILE).bad(format!("there is no line {name}: cut short?"));
    let (pos, flags) = (pos.ok_or_else(|| missing("pos"))?, flags.ok_or_else(|| missing("flags"))?);
    Ok(FdInfo { pos, flags, mnt_id: mnt_id.ok_or_else(|| missing("mnt_id"))?, ino, locks, rest })
}

/// The pairs `name:value` or `name: value` in a value that holds several, as in the lines of epoll (after the
/// descriptor), inotify and fanotify.
///
/// ```
/// use rekindle_procfs::fdinfo::pairs;
/// let line = b"       23 events: 80000019 data:     7f2a00000017  pos:0";
/// let found: Vec<_> = pairs(line).collect();
/// assert_eq!(found, [(&b"events"[..], &b"80000019"[..]), (b"data", b"7f2a00000017"), (b"pos", b"0")]);
/// ```
pub fn pairs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut words = words(value);
    std::iter::from_fn(move || {
        loop {
            match cut(words.next()?, b':') {
                Some((name, [])) => return Some((name, words.next().unwrap_or_default())),
                Some(pair) => return Some(pair),
                None => {} // a value without name, as the descriptor in a `tfd` line
            }
        }
    })
}

fn name_and_value(line: &[u8]) -> (&[u8], &[u8]) {
    for name in [&b"inotify"[..], b"fanotify"] {
        if let Some(value) = line.strip_prefix(name).filter(|value| value.starts_with(b" ")) {
            return (name, trim_start(value));
        }
    }
    let (name, value) = cut(line, b':').unwrap_or((line, &[]));
    (name, trim_start(value))
}

fn lock(at: At, value: &[u8]) -> Result<Lock, ParseError> {
    let mut words = words(value);
    let id = at.word(words.next(), "the number of the lock")?;
    let id = at.dec(id.strip_suffix(b":"), "the number of the lock and a colon")?;
    let kind = lock_kind(at.word(words.next(), "the kind of the lock")?);
    let mode = at.word(words.next(), "the mode of the lock")?.to_vec();
    let access = lock_access(at.word(words.next(), "the access of the lock")?);
    let pid = at.signed(words.next(), "the pid")?;
    let (dev, inode) = lock_file(at, &mut words)?;
    let start = at.dec(words.next(), "the first byte")?;
    let end = match at.word(words.next(), "the last byte")? {
        b"EOF" => None,
        word => Some(at.dec(Some(word), "the last byte")?),
    };
    Ok(Lock { id, kind, mode, access, pid, dev, inode, start, end })
}

fn lock_kind(word: &[u8]) -> LockKind {
    match word {
        b"POSIX" => LockKind::Posix,
        b"OFDLCK" => LockKind::Ofd,
        b"FLOCK" => LockKind::Flock,
        b"LEASE" => LockKind::Lease,
        b"DELEG" => LockKind::Delegation,
        other => LockKind::Other(other.to_vec()),
    }
}

fn lock_access(word: &[u8]) -> LockAccess {
    match word {
        b"READ" => LockAccess::Read,
        b"WRITE" => LockAccess::Write,
        b"UNLCK" => LockAccess::Unlock,
        other => LockAccess::Other(other.to_vec()),
    }
}

/// `fe:00:10035225`
fn lock_file(at: At, words: &mut Words<'_>) -> Result<(Dev, u64), ParseError> {
    let word = at.word(words.next(), "the file")?;
    let bad = || at.expected("the file (MAJOR:MINOR:INODE)", word);
    let colon = word.iter().rposition(|byte| *byte == b':').ok_or_else(bad)?;
    let (dev, inode) = (word.get(..colon).unwrap_or_default(), word.get(colon + 1..).unwrap_or_default());
    Ok((Dev::parse(dev, 16).ok_or_else(bad)?, radix(inode, 10).ok_or_else(bad)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_and(rest: &[u8]) -> FdInfo {
        parse(&[b"pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\n", rest].concat()).unwrap()
    }

    #[test]
    fn a_file_and_an_older_kernel() {
        let info = parse(b"pos:\t-1\nflags:\t012200000\nmnt_id:\t27\nino:\t737\n").unwrap();
        let plain =
            FdInfo { pos: -1, flags: 0o12_200_000, mnt_id: 27, ino: Some(737), locks: vec![], rest: vec![] };
        assert_eq!(info, plain);
        assert_eq!(parse(b"pos:\t0\nflags:\t00\nmnt_id:\t9\n").unwrap().ino, None);
    }

    #[test]
    fn locks_of_all_kinds() {
        let info = head_and(
            b"lock:\t1: FLOCK  ADVISORY  READ 6183 fe:00:10035225 0 EOF\n\
            lock:\t2: POSIX  ADVISORY  WRITE 6183 fe:00:10035225 3 12\n\
            lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:10035246 1000 1049\n\
            lock:\t1: LEASE  ACTIVE    WRITE 6183 fe:00:10035247 0 EOF\n\
            lock:\t1: NEW    STRANGE   BOTH 6183 fe:00:10035247 0 EOF\n",
        );
        let kinds: Vec<_> = info.locks.iter().map(|lock| lock.kind.clone()).collect();
        let other = LockKind::Other(b"NEW".to_vec());
        assert_eq!(kinds, [LockKind::Flock, LockKind::Posix, LockKind::Ofd, LockKind::Lease, other]);
        let posix = Lock {
            id: 2,
            kind: LockKind::Posix,
            mode: b"ADVISORY".to_vec(),
            access: LockAccess::Write,
            pid: 6183,
            dev: Dev { major: 254, minor: 0 },
            inode: 10_035_225,
            start: 3,
            end: Some(12),
        };
        assert_eq!(info.locks[1], posix);
        assert_eq!((info.locks[0].end, info.locks[2].pid), (None, -1));
        assert_eq!(info.locks[3].mode, b"ACTIVE");
        assert_eq!(info.locks[4].access, LockAccess::Other(b"BOTH".to_vec()));
    }

    #[test]
    fn what_kinds_of_files_add() {
        let event = head_and(b"eventfd-count:                7\neventfd-id: 1\neventfd-semaphore: 0\n");
        assert_eq!(event.value(b"eventfd-count"), Some(&b"7"[..]));
        let timer = head_and(b"clockid: 1\nticks: 0\nsettime flags: 00\nit_value: (98, 999960859)\n");
        assert_eq!(timer.value(b"settime flags"), Some(&b"00"[..]));
        assert_eq!(timer.value(b"it_value"), Some(&b"(98, 999960859)"[..]));
        let ring = head_and(b"PollList:\nNAPI:\tdisabled\nno colon\n");
        assert_eq!((ring.value(b"PollList"), ring.value(b"no colon")), (Some(&b""[..]), Some(&b""[..])));
        let late = head_and(b"ino:\tsomething else\n");
        assert_eq!((late.ino, late.value(b"ino")), (Some(1038), Some(&b"something else"[..])));
    }

    #[test]
    fn lines_that_repeat() {
        let epoll = head_and(
            b"tfd:       23 events: 80000019 data:     7f2a00000017  pos:0 ino:2e87 sdev:f\n\
            tfd:       20 events:       19 data:     7f2a00000014  pos:0 ino:40e sdev:10\n",
        );
        let last = epoll.values(b"tfd").nth(1).unwrap();
        assert!(last.starts_with(b"20 events:"));
        assert_eq!(pairs(last).nth(1), Some((&b"data"[..], &b"7f2a00000014"[..])));
        let watch = head_and(
            b"inotify wd:2 ino:1 sdev:15 mask:2 ignored_mask:0 fhandle-bytes:c fhandle-type:81 f_handle:01\n",
        );
        let found: Vec<_> = pairs(watch.value(b"inotify").unwrap()).collect();
        assert_eq!(found[0], (&b"wd"[..], &b"2"[..]));
        assert_eq!(found[7], (&b"f_handle"[..], &b"01"[..]));
        let marks =
            head_and(b"fanotify flags:0 event-flags:8000\nfanotify ino:99200f sdev:fe00000 mflags:0\n");
        assert_eq!(marks.values(b"fanotify").count(), 2);
    }

    #[test]
    fn cut_and_broken_texts_are_refused() {
        assert_eq!(parse(b"pos:\t0\nflags:\t02\n").unwrap_err().what, "there is no line mnt_id: cut short?");
        assert_eq!(
            parse(b"pos:\t0\nflags:\t9\n").unwrap_err().what,
            "expected the flags (octal), found \"9\""
        );
        for broken in [
            &b"lock:\t1 FLOCK"[..],
            b"lock:\t1: POSIX  ADVISORY  WRITE 6183 <none>:0 0 EOF",
            b"lock:\t1: POSIX  ADVISORY  WRITE 6183 fe:00:1 0",
        ] {
            assert_eq!(parse(broken).unwrap_err().line, 1);
        }
    }
}
