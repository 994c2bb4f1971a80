//! `--status-fd`: a descriptor of the caller's that gets one NUL byte when what it waits for has happened.

/// Whether we have been given this descriptor.
pub(crate) fn is_open(fd: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()
}

/// Tells it. That it cannot be told changes nothing about what has been done.
pub(crate) fn tell(fd: Option<i32>) {
    if let Some(fd) = fd
        && let Err(errno) = rekindle_sys::fs::write_to_inherited(fd, &[0])
    {
        tracing::warn!("--status-fd {fd}: {}", rekindle_sys::errno_text(errno));
    }
}
