//! What the rules are not held against, each with its reason.
//!
//! An entry that nothing needs any more is an error too, so that this table stays short and true.

/// An exception: a path (of a file, or of a folder when it ends with `/`) and the reason.
pub(super) type Exception = (&'static str, &'static str);

/// Files of Rust that may be longer than [`super::LONGEST_FILE`] lines.
pub(super) const LONG_FILES: &[Exception] = &[];

/// Where `unsafe` may stand outside of crates/sys.
pub(super) const UNSAFE_CODE: &[Exception] =
    &[("crates/capi/src/lib.rs", "`#[unsafe(no_mangle)]`: C finds its functions by their names")];

/// Files of Rust that need not open with their story.
pub(super) const NO_STORY: &[Exception] = &[];

/// Files that may name a local path or a package registry.
pub(super) const PLACES: &[Exception] = &[];
