//! Where the stub lies in a live process: in the unused tail of the last page of executable memory, the vDSO's first.

use crate::Result;
use crate::error::TraceeError;
use rekindle_procfs::maps::{Mapping, Perms};
use rekindle_sys::arch::{StubEntry, stub_code, stub_entry_offset};
use rekindle_sys::{PAGE_SIZE, vm};
use std::os::unix::fs::FileExt;

/// Room for the stub in the process: the unused tail of the last page of an executable mapping.
pub(crate) struct Cave {
    pid: i32,
    address: u64,
}

/// The name of the shared memory, as it shows in /proc/PID/maps while it is there. It lies behind the stub's code.
const AREA_NAME: &[u8] = b"rekindle\0";

/// Takes out of `code`, read from a process, what is left there of a stub whose supervisor died.
pub fn wipe_leftover(code: &mut [u8]) {
    let stub = Cave::contents();
    if let Some(at) = code.windows(stub.len()).position(|window| window == stub) {
        code[at..at + stub.len()].fill(0);
    }
}

impl Cave {
    /// The vDSO's tail if it has room (it has, on every kernel so far), else that of another file's code.
    pub(crate) fn find(pid: i32, mappings: &[Mapping]) -> Result<Self> {
        let executable = |m: &&Mapping| {
            m.perms.contains(Perms::EXEC | Perms::READ) && !m.perms.intersects(Perms::SHARED | Perms::WRITE)
        };
        let vdso = mappings.iter().filter(|m| m.name == b"[vdso]");
        let files = mappings.iter().filter(|m| m.is_file());
        let len = Self::contents().len() as u64;
        for mapping in vdso.chain(files).filter(executable) {
            let address = (mapping.end - len) & !15;
            let mut tail = vec![0; (mapping.end - address) as usize];
            let read = vm::read(pid, address, &mut tail);
            let unused = tail.iter().all(|byte| *byte == 0) || tail.starts_with(stub_code());
            if read == Ok(tail.len()) && unused && mapping.end - address <= PAGE_SIZE {
                return Ok(Self { pid, address });
            }
        }
        let why = "no executable mapping ends in unused bytes";
        Err(TraceeError::NoRoom { pid, what: "the stub", why })
    }

    fn contents() -> Vec<u8> {
        [stub_code(), AREA_NAME].concat()
    }

    pub(crate) fn fill(&self) -> Result<()> {
        self.write(&Self::contents())
    }

    pub(crate) fn wipe(&self) -> Result<()> {
        self.write(&vec![0; Self::contents().len()])
    }

    /// Writes through /proc/PID/mem, which goes past the protection of the mapping, to a page of the process's own.
    fn write(&self, bytes: &[u8]) -> Result<()> {
        let written = std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/{}/mem", self.pid))
            .and_then(|mem| mem.write_all_at(bytes, self.address));
        written.map_err(|error| TraceeError::Proc {
            pid: self.pid,
            file: "mem".into(),
            why: error.to_string(),
        })
    }

    pub(crate) fn entry(&self, entry: StubEntry) -> u64 {
        self.address + stub_entry_offset(entry)
    }

    pub(crate) fn name_address(&self) -> u64 {
        self.address + stub_code().len() as u64
    }
}
