//! The memory of a ring, that the kernel shares with whoever maps it (io_uring(7)), mapped by us.

use rekindle_sys::shared::SharedArea;
use rekindle_sys::uring::{self, CQE_LEN, Params, SQE_LEN, setup};
use rekindle_sys::{Errno, PAGE_SIZE};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// See the module's story.
pub(super) struct Memory {
    rings: SharedArea,
    sqes: SharedArea,
    /// Where what lies in it.
    params: Params,
}

/// A word of it: an index into `sq_off` or `cq_off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    SqHead,
    SqTail,
    Dropped,
    CqHead,
    CqTail,
    Lost,
    CqFlags,
}

/// A ring of this size, with everything that the kernel says of it.
pub(super) fn like(sq_entries: u32, cq_entries: u32, flags: u32) -> Result<(OwnedFd, Params), Errno> {
    let mut params = Params { flags: flags | setup::CQSIZE, cq_entries, ..Params::default() };
    let made = uring::make(sq_entries, &mut params)?;
    let is_it = (params.sq_entries, params.cq_entries) == (sq_entries, cq_entries);
    if is_it { Ok((made, params)) } else { Err(Errno::INVAL) }
}

/// Bytes of the memory of both queues; of completions twice as long, if `cqe_len` is.
fn len_of_rings(params: &Params, cqe_len: usize) -> usize {
    let cqes_end = params.cq_off[5] as usize + params.cq_entries as usize * cqe_len;
    if params.sq_off[6] == 0 {
        return cqes_end;
    }
    cqes_end.next_multiple_of(64) + params.sq_entries as usize * 4
}

fn pages(len: usize) -> usize {
    len.next_multiple_of(PAGE_SIZE as usize)
}

impl Memory {
    /// That of a ring of this size. `EOPNOTSUPP` for one whose submissions or completions are longer than usual
    /// (`IORING_SETUP_SQE128`, `_CQE32`), or that lies in the program's own memory (`IORING_SETUP_NO_MMAP`).
    pub(super) fn map(ring: &OwnedFd, sq_entries: u32, cq_entries: u32) -> Result<Self, Errno> {
        let map = |params: &Params| {
            SharedArea::map_ring(ring.as_fd(), pages(len_of_rings(params, CQE_LEN)), uring::OFF_SQ_RING)
        };
        let (_, mut params) = like(sq_entries, cq_entries, 0)?;
        let rings = match map(&params) {
            Err(Errno::FAULT) => {
                (_, params) = like(sq_entries, cq_entries, setup::NO_SQARRAY)?;
                map(&params)
            }
            mapped => mapped,
        };
        let unsupported = |errno| if errno == Errno::INVAL { Errno::OPNOTSUPP } else { errno };
        let rings = rings.map_err(unsupported)?;
        let sqes_len = pages(sq_entries as usize * SQE_LEN);
        let sqes = SharedArea::map_ring(ring.as_fd(), sqes_len, uring::OFF_SQES)?;
        let memory = Self { rings, sqes, params };
        if memory.is_wide(ring)? { Err(Errno::OPNOTSUPP) } else { Ok(memory) }
    }

    /// Whether there is more of it than there should be: where that fits into the last page, it must hold nothing.
    fn is_wide(&self, ring: &OwnedFd) -> Result<bool, Errno> {
        let wide = [
            (
                &self.rings,
                len_of_rings(&self.params, CQE_LEN),
                len_of_rings(&self.params, 2 * CQE_LEN),
                uring::OFF_SQ_RING,
            ),
            (&self.sqes, self.sqes_len(), 2 * self.sqes_len(), uring::OFF_SQES),
        ];
        for (area, len, wide, offset) in wide {
            if pages(wide) > area.len() {
                match SharedArea::map_ring(ring.as_fd(), pages(wide), offset) {
                    Err(Errno::FAULT) => {}
                    mapped => return mapped.map(|_| true),
                }
            }
            let mut rest = vec![0; area.len() - len];
            area.read(len, &mut rest);
            if rest.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn params(&self) -> &Params {
        &self.params
    }

    pub(super) fn has_array(&self) -> bool {
        self.params.sq_off[6] != 0
    }

    fn sqes_len(&self) -> usize {
        self.params.sq_entries as usize * SQE_LEN
    }

    fn place(&self, word: Word) -> usize {
        let Params { sq_off, cq_off, .. } = &self.params;
        let place = match word {
            Word::SqHead => sq_off[0],
            Word::SqTail => sq_off[1],
            Word::Dropped => sq_off[5],
            Word::CqHead => cq_off[0],
            Word::CqTail => cq_off[1],
            Word::Lost => cq_off[4],
            Word::CqFlags => cq_off[6],
        };
        place as usize
    }

    pub(super) fn get(&self, word: Word) -> u32 {
        self.rings.word(self.place(word)).load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, word: Word, value: u32) {
        self.rings.word(self.place(word)).store(value, Ordering::SeqCst);
    }

    pub(super) fn sqes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.sqes_len()];
        self.sqes.read(0, &mut bytes);
        bytes
    }

    pub(super) fn cqes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.params.cq_entries as usize * CQE_LEN];
        self.rings.read(self.params.cq_off[5] as usize, &mut bytes);
        bytes
    }

    /// Which submission is meant by each place in the queue: the one of that number where there is no array.
    pub(super) fn array(&self) -> Vec<u32> {
        let entry = |index: u32| match self.has_array() {
            true => {
                self.rings.word(self.params.sq_off[6] as usize + index as usize * 4).load(Ordering::SeqCst)
            }
            false => index,
        };
        (0..self.params.sq_entries).map(entry).collect()
    }

    /// Writes submissions from the first on; what does not fit is left out.
    pub(super) fn set_sqes(&self, bytes: &[u8]) {
        self.sqes.write(0, &bytes[..bytes.len().min(self.sqes_len())]);
    }

    /// Writes the completion at a place in the queue.
    pub(super) fn set_cqe(&self, place: u32, bytes: &[u8]) {
        let index = (place & (self.params.cq_entries - 1)) as usize;
        let len = bytes.len().min(CQE_LEN);
        self.rings.write(self.params.cq_off[5] as usize + index * CQE_LEN, &bytes[..len]);
    }

    pub(super) fn set_array(&self, entries: &[u32]) {
        if self.has_array() {
            for (index, entry) in entries.iter().take(self.params.sq_entries as usize).enumerate() {
                let at = self.params.sq_off[6] as usize + index * 4;
                self.rings.word(at).store(*entry, Ordering::SeqCst);
            }
        }
    }
}
