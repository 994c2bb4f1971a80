//! The records of an image: their numbers, and the plan that they make together.
//!
//! Order in the stream: info, files, shared objects, open file descriptions; then each process, with what belongs to it behind it; then pages.
//! A record's number and its field numbers are promises: a change is a new field, or a new record.

use crate::error::Error;
use crate::kinds::clocks;
use crate::kinds::fd::inet::stream;
use crate::kinds::fd::{Description, Descriptor};
use crate::kinds::mem::{bounds, file, mapping, shared, vdso};
use crate::kinds::message_queues;
use crate::kinds::process::{Process, identity, zombie};
use crate::kinds::semaphores;
use crate::kinds::task::Task;
use crate::ties::Member;
use rekindle_image::{Need, Record, RecordType, Writer};
use rekindle_sys::PAGE_SIZE;
use serde::Serialize;
use std::io::Write;

/// Where and when an image was made, and of what.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub struct Info {
    /// Version of rekindle.
    #[prost(string, tag = "1")]
    pub rekindle: String,
    /// Release of the kernel (uname(2)).
    #[prost(string, tag = "2")]
    pub kernel: String,
    /// Time of the checkpoint, nanoseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub created_ns: u64,
    /// Pid of the root of the tree.
    #[prost(int32, tag = "4")]
    pub root_pid: i32,
    /// Its command line, arguments separated by zeros.
    #[prost(bytes = "vec", tag = "5")]
    #[serde(serialize_with = "crate::json::path")]
    pub command: Vec<u8>,
    /// Whether it was asked that sockets whose other ends are outside of the tree be refused; else they are as if
    /// closed (their descriptions say which).
    #[prost(bool, tag = "6")]
    pub outer_peers_refused: bool,
    /// What its clocks showed.
    #[prost(message, optional, tag = "8")]
    pub clocks: Option<clocks::Record>,
}

macro_rules! records {
    ($($number:literal $name:literal $field:ident: $record:ty, $doc:literal;)*) => {
        /// Number, name and meaning of every record.
        pub const RECORDS: &[(u16, &str, &str)] = &[$(($number, $name, $doc)),*];

        /// A record, decoded.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "record", rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the table names them")]
        pub enum AnyRecord {
            $($field($record),)*
        }

        impl AnyRecord {
            /// Decodes a record; `None` for one that is unknown and optional.
            pub fn decode(record: &Record<'_>) -> Result<Option<Self>, Error> {
                match record.ty.0 {
                    $($number => Ok(Some(Self::$field(record.decode_large()?))),)*
                    _ => {
                        record.skip_unknown()?;
                        Ok(None)
                    }
                }
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$field(_) => $name,)*
                }
            }

            /// Writes it.
            pub fn write<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), Error> {
                match self {
                    $(Self::$field(message) => writer.record_large(RecordType($number), Need::Required, message)?,)*
                }
                Ok(())
            }
        }
    };
}

records! {
    1 "info" Info: Info, "where, when and of what the image was made";
    2 "file" File: file::Record, "a file behind mappings or descriptors";
    3 "shared-object" SharedObject: shared::Record, "an object of shared anonymous memory";
    4 "process" Process: Process, "a process: what it has one of";
    5 "task" Task: Task, "a task of the process before it";
    6 "bounds" Bounds: bounds::Record, "bounds of its address space";
    7 "vdso" Vdso: vdso::Record, "its vDSO";
    8 "mapping" Mapping: mapping::Record, "a mapping";
    9 "description" Description: Description, "an open file description";
    10 "descriptor" Descriptor: Descriptor, "a descriptor";
    11 "zombie" Zombie: zombie::Record, "a child that has ended";
    12 "semaphores" Semaphores: semaphores::Record, "a set of System V semaphores that the program has used";
    17 "stream-part" StreamPart: stream::Part, "a part of what is in the queues of a TCP connection";
    20 "message-queue" MessageQueue: message_queues::Record, "a System V message queue that the program uses";
}

/// What the records before the pages say, put together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Where and when.
    pub info: Info,
    /// Files, by id.
    pub files: Vec<file::Record>,
    /// Shared anonymous memory.
    pub shared: Vec<shared::Record>,
    /// Open file descriptions.
    pub descriptions: Vec<Description>,
    /// Children that have ended, and that their parents have not taken notice of.
    pub zombies: Vec<zombie::Record>,
    /// System V semaphores that they have used.
    pub semaphores: Vec<semaphores::Record>,
    /// System V message queues that they use.
    pub message_queues: Vec<message_queues::Record>,
    /// What is in the queues of TCP connections.
    pub parts: Vec<stream::Part>,
    /// The processes, in the order in which they come into being: parents before children.
    pub processes: Vec<ProcessPlan>,
}

/// One process of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessPlan {
    /// What it has one of.
    pub process: Process,
    /// Its tasks, the leader first.
    pub tasks: Vec<Task>,
    /// Bounds of its address space.
    pub bounds: bounds::Record,
    /// Its vDSO, unless it has unmapped it.
    pub vdso: Option<vdso::Record>,
    /// Its mappings, in order of address.
    pub mappings: Vec<mapping::Record>,
    /// Its descriptors.
    pub descriptors: Vec<Descriptor>,
}

impl Plan {
    /// An object of shared memory, or a file that no path leads to.
    pub fn object(&self, id: u32) -> Option<&shared::Record> {
        let likely = id.checked_sub(FIRST_OBJECT).and_then(|index| self.shared.get(index as usize));
        likely.filter(|object| object.id == id).or_else(|| self.shared.iter().find(|object| object.id == id))
    }

    /// The records that make it, in order.
    pub fn into_records(self) -> impl Iterator<Item = AnyRecord> {
        let global = std::iter::once(AnyRecord::Info(self.info))
            .chain(self.files.into_iter().map(AnyRecord::File))
            .chain(self.shared.into_iter().map(AnyRecord::SharedObject))
            .chain(self.descriptions.into_iter().map(AnyRecord::Description))
            .chain(self.parts.into_iter().map(AnyRecord::StreamPart))
            .chain(self.zombies.into_iter().map(AnyRecord::Zombie))
            .chain(self.semaphores.into_iter().map(AnyRecord::Semaphores))
            .chain(self.message_queues.into_iter().map(AnyRecord::MessageQueue));
        let processes = self.processes.into_iter().flat_map(|p| {
            std::iter::once(AnyRecord::Process(p.process))
                .chain(p.tasks.into_iter().map(AnyRecord::Task))
                .chain(std::iter::once(AnyRecord::Bounds(p.bounds)))
                .chain(p.vdso.into_iter().map(AnyRecord::Vdso))
                .chain(p.mappings.into_iter().map(AnyRecord::Mapping))
                .chain(p.descriptors.into_iter().map(AnyRecord::Descriptor))
        });
        global.chain(processes)
    }

    /// Adds a record, as the stream brings them.
    pub fn add(&mut self, record: AnyRecord) -> Result<(), Error> {
        let name = record.name();
        match record {
            AnyRecord::Info(info) => self.info = info,
            AnyRecord::File(file) => self.files.push(file),
            AnyRecord::SharedObject(object) => self.shared.push(object),
            // The first images had them behind the process.
            AnyRecord::Description(description) => self.descriptions.push(description),
            AnyRecord::Zombie(zombie) => self.zombies.push(zombie),
            AnyRecord::Semaphores(set) => self.semaphores.push(set),
            AnyRecord::MessageQueue(queue) => self.message_queues.push(queue),
            AnyRecord::StreamPart(part) => self.parts.push(part),
            AnyRecord::Process(process) => {
                self.processes.push(ProcessPlan { process, ..ProcessPlan::default() });
            }
            of_process => {
                let Some(process) = self.processes.last_mut() else {
                    return Err(Error::Nonsense(format!("a `{name}` record comes before any process")));
                };
                process.add(of_process);
            }
        }
        Ok(())
    }
}

impl ProcessPlan {
    fn add(&mut self, record: AnyRecord) {
        match record {
            AnyRecord::Task(task) => self.tasks.push(task),
            AnyRecord::Bounds(bounds) => self.bounds = bounds,
            AnyRecord::Vdso(vdso) => self.vdso = Some(vdso),
            AnyRecord::Mapping(mapping) => self.mappings.push(mapping),
            AnyRecord::Descriptor(descriptor) => self.descriptors.push(descriptor),
            AnyRecord::Info(_)
            | AnyRecord::File(_)
            | AnyRecord::SharedObject(_)
            | AnyRecord::Description(_)
            | AnyRecord::StreamPart(_)
            | AnyRecord::Zombie(_)
            | AnyRecord::Semaphores(_)
            | AnyRecord::MessageQueue(_)
            | AnyRecord::Process(_) => {}
        }
    }
}

/// The space that the pages of the first process's own memory are in; those of the others follow in order. Shared
/// objects have the spaces of their ids, above.
const PROCESS_SPACE: u32 = 1;
/// The id of the first shared object.
pub const FIRST_OBJECT: u32 = 0x1_0000;

/// The space of a process's own memory, by its place in the plan.
pub fn space_of_process(index: usize) -> u32 {
    PROCESS_SPACE + index as u32
}

/// The process that a space is the own memory of, if it is one's.
pub fn process_of_space(space: u32) -> Option<usize> {
    (PROCESS_SPACE..FIRST_OBJECT).contains(&space).then(|| (space - PROCESS_SPACE) as usize)
}

/// How many processes an image can hold: as many as there are spaces.
pub const PROCESSES_MAX: usize = (FIRST_OBJECT - PROCESS_SPACE) as usize;

impl Plan {
    /// The bytes of memory that its pages can be of, at most.
    pub fn memory_bytes(&self) -> u64 {
        let mappings = self.processes.iter().flat_map(|process| &process.mappings);
        let own = mappings.filter(|mapping| mapping.has_private_pages()).map(mapping::Record::length);
        let objects =
            self.shared.iter().map(|object| object.size.saturating_add(object.huge_page.max(PAGE_SIZE)));
        own.chain(objects).fold(0, u64::saturating_add)
    }

    /// The ties of its processes.
    pub fn members(&self) -> Vec<Member> {
        let processes = self.processes.iter().map(|process| {
            let identity::Record { pid, ppid, pgid, sid, .. } = process.process.identity;
            Member { pid, ppid, pgid, sid }
        });
        processes.chain(self.zombies.iter().map(zombie::Record::member)).collect()
    }
}
