//! System V message queues (msgget(2), sysvipc(7)) that processes of the tree have used, or wait in.
//!
//! Nothing in a process tells which queues it uses; a queue tells which process sent, and which received, last, and a task
//! that waits shows the queue in the arguments of its call. Queues are the system's, and survive the program. Messages are
//! copied, not received (`MSG_COPY`), so that a checkpoint leaves no trace in them.
//!
//! ```text
//! restore   the very queue is there, as it was          stays as it is
//!           it is there, and only the program used it   emptied, and filled with what was in it
//!           it is there, and others used it             stays as it is, with a warning
//!           it is gone (as after a reboot)              made again under its id, and filled
//! ```
//!
//! Messages are sent by the process that had sent last, and one passes through the process that had received last: so that
//! the queue tells of them again, and the next checkpoint finds it. Its times become those of the restore. A queue that the
//! program has made and nobody has used tells of nobody: it stays what the system has.

use crate::error::Error;
use crate::kinds::ipc;
use crate::refusal::{Refusal, Refusals};
use crate::view::TreeView;
use rekindle_procfs::syscall::{self, Syscall};
use rekindle_sys::sysv::{self, MessageQueue, Permissions, Which};
use rekindle_sys::{Errno, errno_text, nr};
use rekindle_tracee::{Arg, Batch};
use std::collections::BTreeSet;

/// The form of a queue in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its id.
    #[prost(int32, tag = "1")]
    pub msqid: i32,
    /// Its key.
    #[prost(int32, tag = "2")]
    pub key: i32,
    /// Permissions.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// The owner's group.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// Whoever made it.
    #[prost(uint32, tag = "6")]
    pub cuid: u32,
    /// Their group.
    #[prost(uint32, tag = "7")]
    pub cgid: u32,
    /// How many bytes there may be in it (`msg_qbytes`).
    #[prost(uint64, tag = "8")]
    pub qbytes: u64,
    /// The process that sent last; 0: nobody.
    #[prost(int32, tag = "9")]
    pub lspid: i32,
    /// The process that received last; 0: nobody.
    #[prost(int32, tag = "10")]
    pub lrpid: i32,
    /// What is in it, in order.
    #[prost(message, repeated, tag = "11")]
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Message {
    /// Its type (`mtype`).
    #[prost(sint64, tag = "1")]
    pub mtype: i64,
    /// Its bytes (`mtext`).
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "crate::json::size")]
    pub mtext: Vec<u8>,
}

/// Queues among the objects of System V IPC.
const KIND: ipc::Kind = ipc::Kind {
    noun: "System V message queue",
    next_id: "/proc/sys/kernel/msg_next_id",
    exists: |id| sysv::message_queue(id).is_ok(),
    remove: sysv::remove_message_queue,
};
/// The list of all queues of this IPC namespace (proc_sysvipc(5)).
const LIST: &str = "/proc/sysvipc/msg";
/// What a record can hold (docs/image-format.md), and what a message takes beside its bytes.
const BYTES_MAX: u64 = 1_000_000;
const BYTES_OF_MESSAGE: u64 = 32;

/// The queues that a tree uses.
fn used_by(tree: &TreeView) -> Vec<(i32, MessageQueue)> {
    let ids = ipc::ids(LIST);
    if ids.is_empty() {
        return Vec::new();
    }
    let (pids, waited_in) = (tree.pids(), waited_in(tree));
    let queues = ids.into_iter().filter_map(|id| Some((id, sysv::message_queue(id).ok()?)));
    let is_used = |(id, queue): &(i32, MessageQueue)| {
        pids.contains(&queue.lspid) || pids.contains(&queue.lrpid) || waited_in.contains(id)
    };
    queues.filter(is_used).collect()
}

/// The queues that tasks of the tree wait in, to send or to receive.
fn waited_in(tree: &TreeView) -> BTreeSet<i32> {
    let tasks = tree
        .processes
        .iter()
        .flat_map(|view| view.threads.iter().map(|thread| format!("/proc/{}/task/{}", view.pid, thread.tid)));
    let call = |task: String| syscall::parse(&std::fs::read(format!("{task}/syscall")).ok()?).ok();
    let queue = |call| match call {
        Syscall::Blocked { nr: libc::SYS_msgrcv | libc::SYS_msgsnd, args, .. } => Some(args[0] as i32),
        _ => None,
    };
    tasks.filter_map(call).filter_map(queue).collect()
}

/// Refuses queues that do not fit into a record, or that cannot be looked into.
pub fn survey(tree: &TreeView, list: &mut Vec<Refusal>) {
    let mut refusals = Refusals::of(tree.processes.first().map_or(0, |root| root.pid));
    for (id, queue) in used_by(tree) {
        let subject = format!("{} {id}", KIND.noun);
        if queue.cbytes.saturating_add(queue.qnum.saturating_mul(BYTES_OF_MESSAGE)) > BYTES_MAX {
            let why = format!(
                "it holds {} bytes in {} messages, more than go into an image",
                queue.cbytes, queue.qnum
            );
            refusals.add("message-queue", subject, why, "let the program receive some of them first");
        } else if queue.qnum > 0
            && let Err(errno) = sysv::message(id, Which::CopyOf(0), queue.cbytes as usize)
            && errno != Errno::NOMSG
        {
            let why = format!("its messages cannot be looked at: {}", errno_text(errno));
            let remedy =
                "the kernel needs CONFIG_CHECKPOINT_RESTORE; else let the program receive them first";
            refusals.add("message-queue", subject, why, remedy);
        }
    }
    list.extend(refusals.into_list());
}

/// The queues that a tree uses. Others may use them at the same time.
pub fn capture(tree: &TreeView) -> Result<Vec<Record>, Error> {
    used_by(tree).into_iter().map(|(id, queue)| read(id, &queue)).collect()
}

fn read(id: i32, queue: &MessageQueue) -> Result<Record, Error> {
    let MessageQueue { perm, cbytes, qnum, qbytes, lspid, lrpid } = *queue;
    let messages = copies(id, qnum, cbytes).map_err(|errno| KIND.failed("looking into the", id, errno))?;
    Ok(Record {
        msqid: id,
        key: perm.key,
        mode: perm.mode & 0o777,
        uid: perm.uid,
        gid: perm.gid,
        cuid: perm.cuid,
        cgid: perm.cgid,
        qbytes,
        lspid,
        lrpid,
        messages,
    })
}

fn copies(id: i32, qnum: u64, cbytes: u64) -> Result<Vec<Message>, Errno> {
    let copy = |place| match sysv::message(id, Which::CopyOf(place), cbytes as usize) {
        Ok((mtype, mtext)) => Some(Ok(Message { mtype, mtext })),
        Err(Errno::NOMSG) => None, // somebody else has received one meanwhile
        Err(errno) => Some(Err(errno)),
    };
    (0..qnum as usize).map_while(copy).collect()
}

impl Record {
    /// Refuses what no checkpoint writes.
    pub fn check(&self) -> Result<(), String> {
        let sane = self.msqid >= 0 && self.mode <= 0o777 && self.messages.iter().all(|m| m.mtype > 0);
        if sane { Ok(()) } else { Err(format!("message queue {} makes no sense", self.msqid)) }
    }

    /// Whether the queue is still there. `Err` says that its place is taken by another.
    pub fn find(&self) -> Result<bool, String> {
        let id = self.msqid;
        match sysv::message_queue(id) {
            Ok(MessageQueue { perm, .. })
                if (perm.key, perm.cuid, perm.cgid) == (self.key, self.cuid, self.cgid) =>
            {
                Ok(true)
            }
            Ok(_) => Err(format!(
                "the System V message queue {id}, which the program has used, is another one by now; remove that with \
                 `ipcrm -q {id}`"
            )),
            Err(Errno::INVAL | Errno::IDRM) => Ok(false),
            Err(errno) => {
                Err(format!("the System V message queue {id} cannot be looked at: {}", errno_text(errno)))
            }
        }
    }

    /// Makes it again, empty, under its id.
    pub fn make(&self) -> Result<(), Error> {
        let (id, perm) = (self.msqid, self.permissions());
        KIND.make(id, &perm, &|| sysv::make_message_queue(&perm))?;
        self.own(self.room())
    }

    fn permissions(&self) -> Permissions {
        let Self { key, mode, uid, gid, cuid, cgid, .. } = *self;
        Permissions { key, uid, gid, cuid, cgid, mode }
    }

    /// The bytes that there must be room for: its limit may have been lowered with messages in it.
    fn room(&self) -> u64 {
        let bytes = self.messages.iter().map(|message| message.mtext.len() as u64).sum::<u64>();
        self.qbytes.max(bytes).max(self.messages.len() as u64)
    }

    fn own(&self, qbytes: u64) -> Result<(), Error> {
        let owned = sysv::own_message_queue(self.msqid, &self.permissions(), qbytes);
        owned.map_err(|errno| {
            KIND.failed(&format!("giving owner and size ({qbytes} bytes) to the"), self.msqid, errno)
        })
    }

    /// Empties it if it is not what it was, and whether it is to be filled; `pids` are those of the program.
    pub fn empty_if_changed(&self, pids: &BTreeSet<i32>) -> Result<bool, Error> {
        let id = self.msqid;
        let failed = |errno| KIND.failed("emptying the", id, errno);
        let now = sysv::message_queue(id).map_err(failed)?;
        let is_as_it_was = (now.lspid, now.lrpid) == (self.lspid, self.lrpid)
            && copies(id, now.qnum, now.cbytes).map_err(failed)? == self.messages;
        if is_as_it_was {
            return Ok(false);
        }
        let theirs = |pid: &i32| *pid == 0 || pids.contains(pid);
        if let Some(pid) = [now.lspid, now.lrpid].iter().find(|pid| !theirs(pid)) {
            tracing::warn!(
                "process {pid} has used the System V message queue {id} since the checkpoint: it stays as it is"
            );
            return Ok(false);
        }
        for _ in 0..now.qnum {
            match sysv::message(id, Which::First, now.cbytes as usize) {
                Ok(_) => {}
                Err(Errno::NOMSG) => break,
                Err(errno) => return Err(failed(errno)),
            }
        }
        if now.qbytes < self.room() {
            self.own(self.room())?;
        }
        Ok(true)
    }

    /// The steps that fill it, and who is to execute them, one after the other: places among the processes of the program,
    /// whose pids are `pids`.
    pub fn fill(&self, pids: &[i32]) -> Vec<(usize, Batch)> {
        let place = |of: i32| pids.iter().position(|pid| *pid == of);
        let (sender, receiver) = (place(self.lspid), place(self.lrpid));
        let sender = sender.or(receiver).unwrap_or(0);
        let mut steps = Vec::new();
        if self.lrpid != 0 {
            let mut sending = Batch::new();
            let passing = sending.data(&1_i64.to_ne_bytes());
            let args = [self.msqid.into(), passing.into(), 0.into(), libc::IPC_NOWAIT.into()];
            sending.step_may_fail("msgsnd", nr::MSGSND, args); // there may be no room, by the program's own will
            steps.push((sender, sending));
            let mut receiving = Batch::new();
            let room = receiving.room(size_of::<i64>());
            let args: [Arg; 5] =
                [self.msqid.into(), room.into(), 0.into(), 0.into(), libc::IPC_NOWAIT.into()];
            receiving.step_may_fail("msgrcv", nr::MSGRCV, args);
            steps.push((receiver.unwrap_or(sender), receiving));
        }
        let mut sending = Batch::new();
        for message in &self.messages {
            let bytes = [&message.mtype.to_ne_bytes()[..], &message.mtext].concat();
            let data = sending.data(&bytes);
            let args = [self.msqid.into(), data.into(), message.mtext.len().into(), libc::IPC_NOWAIT.into()];
            sending.step(format!("filling the {} {}", KIND.noun, self.msqid), nr::MSGSND, args);
        }
        steps.push((sender, sending));
        steps
    }

    /// It is full: its limit is what it was.
    pub fn settle(&self) -> Result<(), Error> {
        if self.room() == self.qbytes { Ok(()) } else { self.own(self.qbytes) }
    }
}
