//! The control block: how we and a task in the stub talk, in memory that both have.
//!
//! ```text
//! offset 0    command word 0        owned by us (our tid | WAITERS): nothing to do yet. 0: run the table.
//!        8    command word 1        OWNER_DIED set by the kernel: we are gone, recover.
//!        16   address of the table
//!        24   address of the entry the table ended at
//!        32   address of the recovery table
//!        40   number of tables done
//!        44   number of threads that answered
//!        48   park word: threads that answered wait here
//!        64   robust-list nodes of the three words, 64 bytes behind each
//!        120  this block's own address (for `pop rbx` in a new thread)
//! ```
//!
//! Two command words take turns, so that at every instant the one the task will wait on next is owned by us: if we
//! die while a table runs, the kernel has already marked the word the task is about to look at.

/// Offset of command word `parity` (0 or 1).
pub const fn command_word(parity: usize) -> usize {
    parity * 8
}
/// Offset of the table's address.
pub const TABLE: usize = 16;
/// Offset of the address of the entry where the table ended.
pub const REACHED: usize = 24;
/// Offset of the recovery table's address.
pub const RECOVERY: usize = 32;
/// Offset of the count of tables done.
pub const DONE: usize = 40;
/// Offset of the count of threads that answered.
pub const ANSWERED: usize = 44;
/// Offset of the word that threads park on.
pub const PARK: usize = 48;
/// Offset of the block's own address.
pub const SELF: usize = 120;
/// Length of a block.
pub const LEN: usize = 128;
/// Length of an entry of a table.
pub const ENTRY_LEN: usize = 64;
