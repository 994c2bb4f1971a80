//! The bytes of `/proc` files as values: pure functions, one module per file.
//!
//! Who reads the file is the caller's business; every function here takes the whole text and returns a value or
//! a [`ParseError`] naming the file, the line and what was expected. Nothing here does I/O, and nothing panics,
//! whatever the input (the parsers are fuzzed: see `fuzz/` at the top of the repository).
//!
//! Three rules hold in every module:
//!
//! * **Names are bytes.** A path, a thread's name or a mount point may hold any byte but NUL; nothing is
//!   converted, replaced or dropped. Escapes are undone exactly where, and exactly as, the kernel makes them.
//! * **What is unknown is kept.** Fields that newer kernels print end up in a `rest` or in a code kept verbatim,
//!   so that a caller can refuse what it does not understand instead of losing it.
//! * **What is missing is said.** A field that older kernels lack is an `Option`; a field that every kernel
//!   prints and that is not there is an error: the text was cut short.
//!
//! Units are in the names (`_kb` is kibibytes, which `/proc` prints as `kB`; `_ns` nanoseconds). Sources: proc(5),
//! the proc_pid_*(5) pages, and Documentation/filesystems/proc.rst in the kernel tree.

pub mod auxv;
pub mod bits;
pub mod cgroup;
pub mod children;
mod dev;
mod error;
pub mod fdinfo;
pub mod limits;
pub mod maps;
pub mod mountinfo;
pub mod ns;
pub mod numa_maps;
pub mod pagemap;
pub mod personality;
pub mod sched;
pub mod smaps;
pub mod stat;
mod state;
pub mod status;
pub mod syscall;
mod text;
pub mod timer_list;
pub mod timers;

pub use dev::Dev;
pub use error::ParseError;
pub use state::State;
pub use text::unescape;
