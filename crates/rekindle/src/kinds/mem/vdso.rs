//! The vDSO: the kernel's own code and data in every program, by which it reads clocks without a system call.
//!
//! It is not saved as contents but mapped again by the kernel of the restore, where the program knows it
//! (`ARCH_MAP_VDSO_64`). A copy of its code is kept: should another kernel's vDSO differ, the copy goes to the old
//! address with each function replaced by a jump to the new one, mapped elsewhere.

use crate::error::Error;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSymbol};
use rekindle_procfs::maps::{Mapping, Special};
use rekindle_sys::vm;

/// Its form in the image.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Where the data pages begin (`[vvar]`, then `[vvar_vclock]`).
    #[prost(fixed64, tag = "1")]
    pub vvar_start: u64,
    /// Where the code begins.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// Where it ends.
    #[prost(fixed64, tag = "3")]
    pub end: u64,
    /// The code, an ELF image.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "crate::json::size")]
    pub code: Vec<u8>,
}

/// Whether a mapping is part of it.
pub fn is_part(mapping: &Mapping) -> bool {
    matches!(mapping.special(), Some(Special::Vdso | Special::Vvar | Special::VvarVclock))
}

/// Reads that of a process; `None` if it has unmapped its vDSO.
pub fn read<'m>(pid: i32, mappings: impl Iterator<Item = &'m Mapping>) -> Result<Option<Record>, Error> {
    let mut record = Record::default();
    for mapping in mappings.filter(|mapping| is_part(mapping)) {
        if mapping.special() == Some(Special::Vdso) {
            (record.start, record.end) = (mapping.start, mapping.end);
        } else if record.vvar_start == 0 || mapping.start < record.vvar_start {
            record.vvar_start = mapping.start;
        }
    }
    if record.start == 0 {
        return Ok(None);
    }
    record.code = vec![0; (record.end - record.start) as usize];
    let read = vm::read(pid, record.start, &mut record.code);
    if read != Ok(record.code.len()) {
        return Err(Error::proc(pid, "mem", "the vDSO cannot be read"));
    }
    rekindle_tracee::cave::wipe_leftover(&mut record.code);
    Ok(Some(record))
}

/// That of this kernel, as we have it ourselves.
pub fn own() -> Result<Record, Error> {
    let pid = std::process::id() as i32;
    let mappings = crate::view::parse(pid, "maps", rekindle_procfs::maps::parse)?;
    read(pid, mappings.iter())?.ok_or_else(|| Error::proc(pid, "maps", "this process has no vDSO"))
}

impl Record {
    /// Bytes from the first data page to the end of the code.
    pub fn footprint(&self) -> u64 {
        self.end.saturating_sub(self.vvar_start)
    }

    /// Whether the kernel that has `own` can map the same thing at the same place.
    pub fn is_same_as(&self, own: &Self) -> bool {
        self.code == own.code
            && self.vvar_start != 0
            && self.start.wrapping_sub(self.vvar_start) == own.start - own.vvar_start
    }

    /// The saved code with each function replaced by a jump to that of `own`, which is mapped with its code at
    /// `own_start`. Functions that `own` lacks stay as they are.
    pub fn with_jumps(&self, own: &Self, own_start: u64) -> Result<Vec<u8>, Error> {
        let mut code = self.code.clone();
        let ours = functions(&own.code)?;
        for (name, offset) in functions(&self.code)? {
            let Some((_, target)) = ours.iter().find(|(ours, _)| *ours == name) else { continue };
            let jump = jump_to(own_start.wrapping_add(*target));
            let room = usize::try_from(offset).ok().and_then(|at| code.get_mut(at..)?.get_mut(..jump.len()));
            match room {
                Some(room) => room.copy_from_slice(&jump),
                None => return Err(Error::Nonsense(format!("the saved vDSO's `{name}` lies outside of it"))),
            }
        }
        Ok(code)
    }
}

/// `movabs r11, target; jmp r11`: r11 is not kept across calls (System V ABI, 3.2.1).
fn jump_to(target: u64) -> [u8; 13] {
    let mut code = [0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3];
    code[2..10].copy_from_slice(&target.to_le_bytes());
    code
}

/// Name and offset of each function of a vDSO.
fn functions(code: &[u8]) -> Result<Vec<(String, u64)>, Error> {
    let elf = ElfFile64::<Endianness>::parse(code)
        .map_err(|error| Error::Nonsense(format!("the saved vDSO is not an ELF image: {error}")))?;
    let mut list = Vec::new();
    for symbol in elf.dynamic_symbols().filter(|symbol| symbol.is_definition() && symbol.address() != 0) {
        if let Ok(name) = symbol.name() {
            list.push((name.to_owned(), symbol.address()));
        }
    }
    debug_assert!(elf.elf_header().is_class_64());
    Ok(list)
}
