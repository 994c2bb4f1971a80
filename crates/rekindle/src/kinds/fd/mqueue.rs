//! POSIX message queues (mq_overview(7)): limits, permissions, what is in them; under their names, or after these are gone.
//!
//! A queue with a name is the system's, and survives the program. Each description of it is opened by that name again.
//!
//! ```text
//! restore   there is a queue of the name, with as much in it     stays as it is
//!           with something else in it, and nobody has it open    emptied, and filled with what was in it
//!           with something else in it, and others have it open   stays as it is, with a warning
//!           there is none, or it was unlinked                    made by us, opened, filled; unlinked again if it was
//! ```
//!
//! No call looks at messages: they are received and sent again while the whole tree stands still, by a process that outlives
//! our death (`sys::mqueue::look_through` has the story). That is refused for a queue which others than the tree have open:
//! they might notice, or take a message; and for one that somebody waits at for a notification (mq_notify(3)), which it would
//! trigger, and which cannot be made again either: the kernel does not tell the value that comes with the signal.

use super::restore::Opening;
use super::{Capturing, Checking, Claim, Description, FdKind, Opened, Survey, reopen_flags};
use crate::error::Error;
use crate::refusal::show;
use crate::view::{FdView, TreeView};
use rekindle_sys::mqueue::{self, Attributes};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::Batch;
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fstat};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// See the module's story.
pub(super) struct Mqueue;

/// The queue, in the record of each description of it.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its inode number: the same in all its descriptions.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// Its name, without the slash.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::path")]
    pub name: Vec<u8>,
    /// The name has been taken away.
    #[prost(bool, tag = "3")]
    pub unlinked: bool,
    /// Permissions.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "5")]
    pub uid: u32,
    /// The owner's group.
    #[prost(uint32, tag = "6")]
    pub gid: u32,
    /// How many messages there is room for.
    #[prost(uint64, tag = "7")]
    pub maxmsg: u64,
    /// How many bytes a message can have.
    #[prost(uint64, tag = "8")]
    pub msgsize: u64,
    /// What is in it, in the order in which it is received; in the record of one description.
    #[prost(message, repeated, tag = "9")]
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Message {
    /// Its priority.
    #[prost(uint32, tag = "1")]
    pub priority: u32,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub bytes: Vec<u8>,
}

/// The file system (include/uapi/linux/magic.h), and the size that all its files are said to have (`FILENT_SIZE`, ipc/mqueue.c).
const MQUEUE_MAGIC: i64 = 0x1980_0202;
const FILE_SIZE: u64 = 80;
/// The most that a privileged process can give a queue (`HARD_MSGMAX`, `HARD_MSGSIZEMAX`), and priorities (`MQ_PRIO_MAX`).
const MAXMSG_MAX: u64 = 65536;
const MSGSIZE_MAX: u64 = 16 << 20;
const PRIORITIES: u32 = 32768;
/// What a record can hold (docs/image-format.md), and what a message takes beside its bytes; what we have in memory at a time.
const BYTES_MAX: u64 = 1_000_000;
const BYTES_OF_MESSAGE: u64 = 16;
const ROOM_MAX: u64 = 256 << 20;
const DELETED: &[u8] = b" (deleted)";

impl FdKind for Mqueue {
    fn name(&self) -> &'static str {
        "mqueue"
    }

    fn claims(&self, fd: &FdView, cx: &Survey<'_>) -> Claim {
        if fd.file_type() != libc::S_IFREG || fd.size != FILE_SIZE {
            return Claim::NotMine;
        }
        let path = very_file(cx.view.pid, fd);
        if rustix::fs::statfs(&path).map(|system| system.f_type) != Ok(MQUEUE_MAGIC) {
            return Claim::NotMine;
        }
        match Look::at(&path) {
            Ok(look) => look.refusal(fd, cx.tree).unwrap_or(Claim::Mine),
            Err(_) => Claim::Refused("mqueue", "this message queue cannot be looked at", ""),
        }
    }

    fn capture(&self, fd: &FdView, cx: &mut Capturing<'_>, record: &mut Description) -> Result<(), Error> {
        let failed = |errno| Error::call(format!("looking into the message queue {}", show(&fd.link)), errno);
        let path = very_file(cx.view.pid, fd);
        let meta = std::fs::metadata(&path)
            .map_err(|error| Error::io(format!("looking at {}", show(&fd.link)), &error))?;
        let Look { queue, attributes, .. } = Look::at(&path).map_err(failed)?;
        let mut messages = Vec::new();
        // Of several descriptions, one tells.
        if attributes.curmsgs > 0 && cx.pipes_read.insert((fd.dev, fd.ino)) {
            let found = mqueue::look_through(&queue, &attributes).map_err(|lost| match lost.messages {
                0 => failed(lost.errno),
                count => Error::call(
                    format!(
                        "putting back {count} messages of {} (has somebody opened it just now?)",
                        show(&fd.link)
                    ),
                    lost.errno,
                ),
            })?;
            messages = found.into_iter().map(Message::from).collect();
        }
        record.mqueue = Some(Record {
            inode: fd.ino,
            name: name_in(&fd.link, fd.nlink).to_vec(),
            unlinked: fd.nlink == 0,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            maxmsg: attributes.maxmsg,
            msgsize: attributes.msgsize,
            messages,
        });
        Ok(())
    }

    fn check(&self, record: &Description, _cx: &Checking<'_>) -> Result<(), String> {
        let Some(queue) = &record.mqueue else { return Err("it says nothing of its queue".into()) };
        let fits =
            |message: &Message| message.priority < PRIORITIES && message.bytes.len() as u64 <= queue.msgsize;
        let name = queue.name.as_slice();
        let is_sane = (1..=255).contains(&name.len())
            && !name.contains(&b'/')
            && !name.contains(&0)
            && (1..=MAXMSG_MAX).contains(&queue.maxmsg)
            && (1..=MSGSIZE_MAX).contains(&queue.msgsize)
            && queue.messages.len() as u64 <= queue.maxmsg
            && queue.mode <= 0o7777
            && queue.messages.iter().all(fits);
        if is_sane { Ok(()) } else { Err("its queue makes no sense".into()) }
    }

    fn open(&self, record: &Description, _cx: &Opening<'_>, batch: &mut Batch) -> Opened {
        let Some(queue) = &record.mqueue else { return Opened::Number(-1) };
        let name = batch.c_string(&queue.name);
        let label = format!("opening the message queue {}", show(&queue.name));
        let opened = batch.step(label, nr::MQ_OPEN, [name.into(), reopen_flags(record.flags).into()]);
        if record.pos != 0 {
            batch.step("lseek", nr::LSEEK, [opened.into(), record.pos.into(), libc::SEEK_SET.into()]);
        }
        Opened::Step(opened)
    }
}

fn very_file(pid: i32, fd: &FdView) -> String {
    format!("/proc/{pid}/fd/{}", fd.fd)
}

/// The name of a queue, as a link has it: `/name`, `/dev/mqueue/name`, `/name (deleted)`.
fn name_in(link: &[u8], nlink: u64) -> &[u8] {
    let link = if nlink == 0 { link.strip_suffix(DELETED).unwrap_or(link) } else { link };
    link.rsplit(|byte| *byte == b'/').next().unwrap_or(link)
}

impl From<mqueue::Message> for Message {
    fn from(mqueue::Message { priority, bytes }: mqueue::Message) -> Self {
        Self { priority, bytes }
    }
}

/// A queue opened by us, and what it tells.
struct Look {
    queue: OwnedFd,
    attributes: Attributes,
    /// `QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260` (mq_overview(7))
    status: String,
}

impl Look {
    fn at(path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::of(rustix::fs::open(path, flags, Mode::empty())?)
    }

    fn of(queue: OwnedFd) -> Result<Self, Errno> {
        let mut status = [0; 256];
        let length = rustix::io::pread(&queue, &mut status, 0)?;
        let status = String::from_utf8_lossy(&status[..length]).into_owned();
        Ok(Self { attributes: mqueue::attributes(&queue)?, queue, status })
    }

    fn number(&self, name: &str) -> u64 {
        let field = self.status.split_whitespace().find_map(|field| field.strip_prefix(name));
        field.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Bytes of all messages.
    fn bytes(&self) -> u64 {
        self.number("QSIZE:")
    }

    fn refusal(&self, fd: &FdView, tree: &TreeView) -> Option<Claim> {
        let Attributes { msgsize, curmsgs, .. } = self.attributes;
        let refused = |code, why, remedy| Some(Claim::Refused(code, why, remedy));
        if self.number("NOTIFY_PID:") != 0 {
            return refused(
                "mqueue-notify",
                "a process has asked to be notified of messages in it (mq_notify), which cannot be captured: the kernel does \
                 not tell what goes with the notification",
                "let the program use epoll or a thread that receives",
            );
        }
        if curmsgs == 0 {
            return None;
        }
        let in_image = self.bytes().saturating_add(curmsgs.saturating_mul(BYTES_OF_MESSAGE));
        if in_image > BYTES_MAX || curmsgs.saturating_mul(msgsize) > ROOM_MAX {
            return refused(
                "mqueue-size",
                "it holds more messages than go into an image",
                "let the program receive some of them first",
            );
        }
        if is_open_outside((fd.dev, fd.ino), name_in(&fd.link, fd.nlink), &tree.pids()) {
            return refused(
                "mqueue-shared",
                "there are messages in it, and processes outside of the tree have it open, too: they might notice that these are \
                 looked at",
                "checkpoint a process further up, or let the messages be received first",
            );
        }
        None
    }
}

/// Whether a process that is neither of these nor ourselves has a file open. One whose descriptors cannot be looked at may.
fn is_open_outside(file: (u64, u64), name: &[u8], pids: &BTreeSet<i32>) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let pids_there = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id().cast_signed();
    let mut others = pids_there.filter(|pid| *pid != own && !pids.contains(pid));
    others.any(|pid| match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(mut fds) => fds.any(|fd| fd.is_ok_and(|fd| leads_to(&fd.path(), file, name))),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    })
}

fn leads_to(path: &std::path::Path, file: (u64, u64), name: &[u8]) -> bool {
    let is_called_so = std::fs::read_link(path).is_ok_and(|link| {
        let link = link.as_os_str().as_bytes();
        let link = link.strip_suffix(DELETED).unwrap_or(link);
        link.ends_with(name.strip_suffix(DELETED).unwrap_or(name))
    });
    is_called_so && std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == file)
}

/// The queues of a plan, while it is restored.
pub struct Queues<'a> {
    held: Vec<Held<'a>>,
}

struct Held<'a> {
    record: &'a Record,
    name: CString,
    queue: OwnedFd,
    /// We made it, and it goes again unless the restore succeeds.
    is_ours: bool,
}

impl<'a> Queues<'a> {
    /// Finds those that are still there, and makes those that are not, empty.
    pub fn make(descriptions: &'a [Description]) -> Result<Self, Error> {
        let mut queues = Self { held: Vec::new() };
        let mut met = BTreeSet::new();
        for record in descriptions.iter().filter_map(|description| description.mqueue.as_ref()) {
            if met.insert(record.inode) {
                queues.held.push(Held::of(record)?);
            }
        }
        Ok(queues)
    }

    /// All descriptions are there: queues are filled, and lose their names if they had. `pids` are those of the program.
    pub fn complete(&mut self, pids: &BTreeSet<i32>) -> Result<(), Error> {
        for held in &mut self.held {
            if held.is_ours || held.empty_if_changed(pids)? {
                held.fill()?;
            }
            if held.record.unlinked {
                mqueue::unlink(&held.name).map_err(|errno| held.record.failed("unlinking", errno))?;
                held.is_ours = false;
            }
        }
        Ok(())
    }

    /// The processes live, and have them.
    pub fn hand_over(&mut self) {
        self.held.clear();
    }
}

impl Drop for Queues<'_> {
    fn drop(&mut self) {
        for held in self.held.iter().filter(|held| held.is_ours) {
            let _ = mqueue::unlink(&held.name); // somebody else may have been faster
        }
    }
}

impl Record {
    fn failed(&self, doing: &str, errno: Errno) -> Error {
        Error::call(format!("{doing} the message queue {}", show(&self.name)), errno)
    }
}

impl<'a> Held<'a> {
    fn of(record: &'a Record) -> Result<Self, Error> {
        let name =
            CString::new(record.name.clone()).map_err(|_| Error::Nonsense("a name with a zero".into()))?;
        let shown = show(&record.name);
        match mqueue::open(&name) {
            Ok(_) if record.unlinked => Err(Error::DoesNotFit(vec![format!(
                "the name of the message queue {shown}, which the program has unlinked, is taken by another; unlink that \
                 (rm /dev/mqueue/{shown}) until the program is restored"
            )])),
            Ok(queue) => {
                let found = fstat(&queue).map_err(|errno| record.failed("looking at", errno))?;
                let has = mqueue::attributes(&queue).map_err(|errno| record.failed("looking at", errno))?;
                let is_it = (has.maxmsg, has.msgsize, found.st_uid, found.st_gid)
                    == (record.maxmsg, record.msgsize, record.uid, record.gid);
                if is_it {
                    return Ok(Self { record, name, queue, is_ours: false });
                }
                Err(Error::DoesNotFit(vec![format!(
                    "the message queue {shown}, which the program has open, is another one by now, with other limits or another \
                     owner; unlink that (rm /dev/mqueue/{shown})"
                )]))
            }
            Err(Errno::NOENT) => Self::made(record, name),
            Err(errno) => Err(record.failed("opening", errno)),
        }
    }

    fn made(record: &'a Record, name: CString) -> Result<Self, Error> {
        let queue = mqueue::make(&name, record.maxmsg, record.msgsize).map_err(|errno| {
            let Record { maxmsg, msgsize, .. } = record;
            let limits = "(is that within /proc/sys/fs/mqueue and RLIMIT_MSGQUEUE?)";
            record.failed(&format!("making again, for {maxmsg} messages of {msgsize} bytes {limits},"), errno)
        })?;
        let owned = fchown(&queue, Some(Uid::from_raw(record.uid)), Some(Gid::from_raw(record.gid)))
            .and_then(|()| fchmod(&queue, Mode::from_raw_mode(record.mode)));
        if let Err(errno) = owned {
            let _ = mqueue::unlink(&name);
            return Err(record.failed("setting owner and mode of", errno));
        }
        Ok(Self { record, name, queue, is_ours: true })
    }

    /// Empties it if it is not what it was, and tells whether it is to be filled.
    fn empty_if_changed(&self, pids: &BTreeSet<i32>) -> Result<bool, Error> {
        let failed = |errno| self.record.failed("looking at", errno);
        let look = Look::of(self.queue.try_clone().map_err(|_| failed(Errno::MFILE))?).map_err(failed)?;
        let bytes = self.record.messages.iter().map(|message| message.bytes.len() as u64).sum::<u64>();
        if (look.attributes.curmsgs, look.bytes()) == (self.record.messages.len() as u64, bytes) {
            return Ok(false);
        }
        let file = fstat(&self.queue).map_err(failed)?;
        if is_open_outside((file.st_dev, file.st_ino), &self.record.name, pids) {
            tracing::warn!(
                "what is in the message queue {} has changed since the checkpoint, and others have it open: it stays as it is",
                show(&self.record.name)
            );
            return Ok(false);
        }
        mqueue::empty(&self.queue, &look.attributes)
            .map_err(|errno| self.record.failed("emptying", errno))?;
        Ok(true)
    }

    fn fill(&self) -> Result<(), Error> {
        for Message { priority, bytes } in &self.record.messages {
            let message = mqueue::Message { priority: *priority, bytes: bytes.clone() };
            let sent = mqueue::send(&self.queue, &message);
            sent.map_err(|errno| self.record.failed("filling", errno))?;
        }
        Ok(())
    }
}
