//! Which operations of a ring are in flight: begun, and not told of yet.
//!
//! The kernel does not list them. What it tells is how many submissions it has taken, how many completions it has put in
//! the queue, and which operations wait for a file to be ready; and the memory of both queues still holds the last of
//! each. Decision 6 (docs/decisions) has the reasons for what is made of that here:
//!
//! ```text
//! every operation tells once          in flight = taken - dropped - told
//!   none                              the ring is idle
//!   as many as there are submissions in memory of which no completion in memory tells: it is these
//! some tell often, or not at all      only a ring so young that its whole history is in memory is understood
//! ```
//!
//! Whatever does not fit together is refused. Nothing here asks anybody anything.

use super::told::Told;
use rekindle_sys::uring::{CQE_LEN, SQE_LEN};
use std::collections::HashMap;

/// A submission (`struct io_uring_sqe`, include/uapi/linux/io_uring.h).
pub(super) type Sqe = [u8; SQE_LEN];

/// What there is to be seen of a ring.
pub(super) struct Seen<'a> {
    pub(super) told: &'a Told,
    /// Submissions that had an index that makes no sense.
    pub(super) dropped: u32,
    /// Completions that are lost.
    pub(super) lost: u32,
    /// The memory of submissions.
    pub(super) sqes: &'a [u8],
    /// Which of them is meant by each place in the queue.
    pub(super) array: &'a [u32],
    /// The memory of completions.
    pub(super) cqes: &'a [u8],
}

// `sqe->flags`
pub(super) const FIXED_FILE: u8 = 1;
const CQE_SKIP_SUCCESS: u8 = 1 << 6;
// `cqe->flags`: more will follow from the same operation; one that tells that a buffer is free again.
const MORE: u32 = 1 << 1;
const NOTIFICATION: u32 = 1 << 3;

/// Operations by their numbers (`enum io_uring_op`).
pub(super) mod op {
    pub(in super::super) const POLL_ADD: u8 = 6;
    pub(in super::super) const TIMEOUT: u8 = 11;
    pub(in super::super) const ACCEPT: u8 = 13;
    pub(in super::super) const READ: u8 = 22;
    pub(in super::super) const RECV: u8 = 27;
}

/// Those that can be begun again: what they do has not begun, and nothing that they point to is the program's to reuse but
/// what they write to, and the time of a timeout.
const AGAIN: [u8; 5] = [op::POLL_ADD, op::TIMEOUT, op::ACCEPT, op::READ, op::RECV];

/// The number of an operation, its flags, and what its completion will say.
pub(super) fn opcode(sqe: &Sqe) -> u8 {
    sqe[0]
}

pub(super) fn flags(sqe: &Sqe) -> u8 {
    sqe[1]
}

pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

pub(super) fn fd(sqe: &Sqe) -> i32 {
    i32::from_le_bytes(number(sqe, 4))
}

fn user_data(sqe: &Sqe) -> u64 {
    u64::from_le_bytes(number(sqe, 32))
}

/// How many operations are in flight, where each tells once. It may be fewer than none where some tell often.
pub(super) fn count(told: &Told, dropped: u32, lost: u32) -> i32 {
    let told_of = told.completed.wrapping_add(lost);
    told.submitted.wrapping_sub(dropped).wrapping_sub(told_of).cast_signed()
}

impl Seen<'_> {
    /// The operations in flight, in the order in which they were submitted. `Err` says why that cannot be known, or why they
    /// could not be begun again.
    pub(super) fn in_flight(&self) -> Result<Vec<Sqe>, String> {
        let submissions = self.submissions();
        let completions = self.completions();
        if submissions.iter().any(|sqe| number::<2>(sqe, 42) != [0; 2]) {
            return Err(
                "it is used with registered credentials (personality), which cannot be captured yet".into()
            );
        }
        let count = count(self.told, self.dropped, self.lost);
        let skips = submissions.iter().any(|sqe| flags(sqe) & CQE_SKIP_SUCCESS != 0);
        let tells_often = completions.iter().any(|cqe| cqe.flags & (MORE | NOTIFICATION) != 0);
        let found =
            match (skips, tells_often, count) {
                (false, false, 0) => Vec::new(),
                (false, false, 1..) => self.untold(&submissions, &completions, count)?,
                (true, false, 0)
                    if self.whole_history()
                        && submissions.iter().all(|sqe| self.is_told(sqe, &completions)) =>
                {
                    Vec::new()
                }
                (false, true, _) if self.whole_history() => {
                    let last: Vec<Cqe> =
                        completions.iter().filter(|cqe| cqe.flags & MORE == 0).copied().collect();
                    let count = submissions.len() as i32 - self.dropped.cast_signed() - last.len() as i32;
                    self.untold(&submissions, &last, count)?
                }
                (true, ..) => return Err(
                    "some of its operations tell nothing when they are done, so that nobody knows which are"
                        .into(),
                ),
                (_, true, _) => return Err(
                    "some of its operations tell many times (multishot), so that nobody knows which are done"
                        .into(),
                ),
                (.., ..0) => return Err(
                    "it was told more than it had asked for (multishot operations, or other rings' messages)"
                        .into(),
                ),
            };
        self.agree(&found)?;
        found.iter().try_for_each(can_begin_again)?;
        Ok(found)
    }

    /// The submissions whose completions are missing, which must be `count`.
    fn untold(&self, submissions: &[Sqe], completions: &[Cqe], count: i32) -> Result<Vec<Sqe>, String> {
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            return Ok(Vec::new());
        }
        let unclear = || Err(format!("{count} of its operations are under way, and nobody knows which"));
        let is_covered = self.told.completed <= self.told.cq_entries
            || submissions.len() + count <= self.told.cq_entries as usize;
        if !is_covered {
            return unclear();
        }
        let mut told: HashMap<u64, usize> = HashMap::new();
        for cqe in completions {
            *told.entry(cqe.user_data).or_default() += 1;
        }
        let never: Vec<Sqe> =
            submissions.iter().filter(|sqe| !told.contains_key(&user_data(sqe))).copied().collect();
        if never.len() == count {
            return Ok(never);
        }
        if !self.whole_history() {
            return unclear();
        }
        // All that ever were: those that say the same are done one after the other. Which of them is left does not matter
        // where they are alike.
        let mut left = Vec::new();
        for sqe in submissions.iter().rev() {
            match told.get_mut(&user_data(sqe)).filter(|count| **count > 0) {
                Some(_)
                    if submissions.iter().any(|other| user_data(other) == user_data(sqe) && other != sqe) =>
                {
                    return unclear();
                }
                Some(count) => *count -= 1,
                None => left.push(*sqe),
            }
        }
        left.reverse();
        if left.len() == count { Ok(left) } else { unclear() }
    }

    /// Those that wait for a file must be among them; others but timeouts are at work.
    fn agree(&self, found: &[Sqe]) -> Result<(), String> {
        let mut polls = self.told.polls.clone();
        for sqe in found {
            match polls.iter().position(|op| *op == u32::from(opcode(sqe))) {
                Some(at) => {
                    polls.swap_remove(at);
                }
                None if opcode(sqe) == op::TIMEOUT => {}
                None => return Err(format!("operation {} is under way, and does not end", opcode(sqe))),
            }
        }
        match polls.first() {
            None => Ok(()),
            Some(op) => Err(format!("operation {op} waits for a file, and nobody knows which")),
        }
    }

    /// The last submissions that the kernel has taken, as far as they are in memory, the oldest first.
    fn submissions(&self) -> Vec<Sqe> {
        let entries = self.told.sq_entries;
        // What the program has queued since lies where the oldest were.
        let kept = entries.saturating_sub(self.told.queued());
        let len = if self.has_come_around() { kept } else { self.told.submitted.min(kept) };
        let sqe = |back: u32| {
            let place = self.told.submitted.wrapping_sub(back) & (entries - 1);
            let slot = *self.array.get(place as usize)? as usize;
            self.sqes.get(slot * SQE_LEN..)?.first_chunk().copied()
        };
        (1..=len).rev().filter_map(sqe).collect()
    }

    /// The same of completions.
    fn completions(&self) -> Vec<Cqe> {
        let entries = self.told.cq_entries;
        let len = if self.has_come_around() { entries } else { self.told.completed.min(entries) };
        let cqe = |back: u32| {
            let place = self.told.completed.wrapping_sub(back) & (entries - 1);
            let bytes: [u8; CQE_LEN] = number(self.cqes, place as usize * CQE_LEN);
            Cqe {
                user_data: u64::from_le_bytes(number(&bytes, 0)),
                flags: u32::from_le_bytes(number(&bytes, 12)),
            }
        };
        (1..=len).rev().map(cqe).collect()
    }

    /// Whether a count that looks small has come around, after 2^32: then there is something where nothing was told yet.
    fn has_come_around(&self) -> bool {
        let unused = self.told.completed as usize * CQE_LEN;
        self.told.completed < self.told.cq_entries
            && self.cqes.get(unused..).is_some_and(|unused| unused.iter().any(|byte| *byte != 0))
    }

    /// Whether all that was ever submitted and told is in memory.
    fn whole_history(&self) -> bool {
        let &Told { submitted, completed, sq_entries, cq_entries, .. } = self.told;
        submitted <= sq_entries.saturating_sub(self.told.queued())
            && completed <= cq_entries
            && !self.has_come_around()
    }

    fn is_told(&self, sqe: &Sqe, completions: &[Cqe]) -> bool {
        completions.iter().any(|cqe| cqe.user_data == user_data(sqe))
    }
}

/// What matters of a completion.
#[derive(Clone, Copy)]
struct Cqe {
    user_data: u64,
    flags: u32,
}

/// Whether an operation can be begun again. `Err` says why not.
pub(super) fn can_begin_again(sqe: &Sqe) -> Result<(), String> {
    let operation = opcode(sqe);
    if !AGAIN.contains(&operation) {
        return Err(format!("operation {operation} is under way, which cannot be begun again"));
    }
    if flags(sqe) & !FIXED_FILE != 0 {
        return Err(format!("operation {operation} is under way with others that depend on it"));
    }
    let counts = u64::from_le_bytes(number(sqe, 8));
    if operation == op::TIMEOUT && counts != 0 {
        return Err("a timeout that counts completions is under way".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqe(op: u8, user_data: u64) -> Sqe {
        let mut sqe = [0; SQE_LEN];
        sqe[0] = op;
        sqe[32..40].copy_from_slice(&user_data.to_le_bytes());
        sqe
    }

    fn cqe(user_data: u64, flags: u32) -> [u8; CQE_LEN] {
        let mut cqe = [0; CQE_LEN];
        cqe[..8].copy_from_slice(&user_data.to_le_bytes());
        cqe[12..].copy_from_slice(&flags.to_le_bytes());
        cqe
    }

    /// A ring of 4 and 8 entries on which these were submitted and told, counted from a number on.
    fn ring(from: u32, sqes: &[Sqe], cqes: &[[u8; CQE_LEN]], polls: &[u8]) -> Result<Vec<Sqe>, String> {
        let (mut submissions, mut completions) = (vec![0; 4 * SQE_LEN], vec![0; 8 * CQE_LEN]);
        for (sqe, at) in sqes.iter().zip(from..) {
            let at = (at % 4) as usize * SQE_LEN;
            submissions[at..at + SQE_LEN].copy_from_slice(sqe);
        }
        for (cqe, at) in cqes.iter().zip(from..) {
            let at = (at % 8) as usize * CQE_LEN;
            completions[at..at + CQE_LEN].copy_from_slice(cqe);
        }
        let submitted = from + sqes.len() as u32;
        let told = Told {
            sq_entries: 4,
            cq_entries: 8,
            submitted,
            sq_tail: submitted,
            completed: from + cqes.len() as u32,
            polls: polls.iter().map(|op| u32::from(*op)).collect(),
            ..Told::default()
        };
        let array = [0, 1, 2, 3];
        Seen { told: &told, dropped: 0, lost: 0, sqes: &submissions, array: &array, cqes: &completions }
            .in_flight()
    }

    #[test]
    fn a_ring_that_has_told_all_is_idle() {
        assert_eq!(ring(0, &[], &[], &[]), Ok(vec![]));
        assert_eq!(ring(0, &[sqe(0, 1), sqe(22, 2)], &[cqe(2, 0), cqe(1, 0)], &[]), Ok(vec![]));
        assert_eq!(ring(800, &[sqe(0, 1)], &[cqe(1, 0)], &[]), Ok(vec![]));
    }

    #[test]
    fn what_has_not_been_told_is_found() {
        let (read, timeout) = (sqe(op::READ, 7), sqe(op::TIMEOUT, 8));
        assert_eq!(ring(0, &[sqe(0, 1), read, timeout], &[cqe(1, 0)], &[op::READ]), Ok(vec![read, timeout]));
        // Used for long: the older ones are gone, but those in memory and their completions are.
        let told: Vec<_> = (0..3).map(|n| cqe(n, 0)).collect();
        let submitted = [sqe(0, 0), read, sqe(0, 1), sqe(0, 2)];
        assert_eq!(ring(400, &submitted, &told, &[op::READ]), Ok(vec![read]));
    }

    #[test]
    fn what_says_the_same_is_found_while_all_is_in_memory() {
        let poll = sqe(op::POLL_ADD, 0);
        assert_eq!(ring(0, &[poll, poll], &[cqe(0, 0)], &[op::POLL_ADD]), Ok(vec![poll]));
        assert!(ring(400, &[poll, poll], &[cqe(0, 0)], &[op::POLL_ADD]).is_err());
        assert!(ring(0, &[sqe(0, 0), poll], &[cqe(0, 0)], &[op::POLL_ADD]).is_err());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        // A read that nothing waits for is at work; a wait that nobody has asked for.
        assert!(ring(0, &[sqe(op::READ, 1)], &[], &[]).is_err());
        assert!(ring(0, &[sqe(0, 1)], &[cqe(1, 0)], &[op::READ]).is_err());
        assert!(ring(0, &[sqe(23, 1)], &[], &[23]).is_err());
        assert!(ring(0, &[], &[cqe(1, 0)], &[]).is_err());
    }

    #[test]
    fn what_tells_often_is_understood_while_all_is_in_memory() {
        let (accept, nop) = (sqe(op::ACCEPT, 5), sqe(0, 1));
        let told = [cqe(5, MORE), cqe(1, 0), cqe(5, MORE)];
        assert_eq!(ring(0, &[accept, nop], &told, &[op::ACCEPT]), Ok(vec![accept]));
        assert!(ring(400, &[accept, nop], &told, &[op::ACCEPT]).is_err());
        let mut silent = nop;
        silent[1] = CQE_SKIP_SUCCESS;
        assert!(ring(0, &[silent, accept], &[cqe(5, 0)], &[]).is_err());
    }
}
