//! Memory: the address space, its mappings, and what backs them. Contents are moved by `checkpoint::pages` and
//! `restore::contents`.
//!
//! | file | kind |
//! |---|---|
//! | [`bounds`] | code, data, heap, stack, argument and environment bounds, auxiliary vector, executable |
//! | [`mapping`] | each mapping: where, how protected, what behind it |
//! | [`advice`] | what madvise(2) and mlock(2) have set, as VmFlags show it |
//! | [`policy`] | NUMA policy of mappings |
//! | [`mod@file`] | the files behind mappings and descriptors, and whether they are still the same |
//! | [`inherit`] | what a process has from the one it was forked from |
//! | [`shared`] | memory and files that no path leads to: shared anonymous memory, and the next three |
//! | [`memfd`] | files in memory |
//! | [`deleted`] | deleted files |
//! | [`segment`] | System V shared memory |
//! | [`vdso`] | the kernel's code and data pages in the program |

pub mod advice;
pub mod bounds;
pub mod deleted;
pub mod file;
pub mod inherit;
pub mod mapping;
pub mod memfd;
pub mod policy;
pub mod segment;
pub mod shared;
pub mod vdso;
