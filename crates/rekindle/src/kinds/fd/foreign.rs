//! Descriptors that no kind claims: what they are, why they cannot be captured, and what to do about each.

use crate::refusal::show;
use crate::view::FdView;

/// Anonymous inodes that people meet: name in the link, why, and what to do.
pub(crate) const KNOWN: &[(&str, &str, &str)] = &[
    (
        "userfaultfd",
        "memory whose faults a program serves itself (userfaultfd) cannot be captured yet",
        "let the program close it first",
    ),
    (
        "fanotify",
        "fanotify groups cannot be captured: others may be waiting for what this one permits",
        "stop what monitors or scans files, and save the rest",
    ),
    ("perf_event", "performance counters cannot be captured", "stop profiling while it is saved"),
    ("bpf-map", "BPF maps cannot be captured yet", "let the program close it first"),
    ("bpf-prog", "BPF programs cannot be captured yet", "let the program close it first"),
    ("bpf_link", "BPF programs that are attached cannot be captured", "let the program detach it first"),
    ("kvm-vm", "virtual machines cannot be captured", "save the machine by its own means (`virsh save`)"),
    (
        "seccomp notify",
        "the supervisor of another process's system calls cannot be captured",
        "let the program close it first",
    ),
];

/// Devices that people meet: major and minor number (include/linux/miscdevice.h, Documentation/admin-guide/devices.txt), why, and
/// what to do.
pub(crate) const DEVICES: &[((u32, u32), &str, &str)] = &[
    (
        (10, 200),
        "network interfaces of a program's own (tun, tap) cannot be captured yet",
        "let the program close it first",
    ),
    (
        (10, 229),
        "what a file system has asked of the program that serves it (FUSE) cannot be captured",
        "unmount it first",
    ),
    ((10, 232), "virtual machines cannot be captured", "save the machine by its own means (`virsh save`)"),
    ((10, 237), "what makes and removes loop devices cannot be captured", "let the program close it first"),
];

/// Why a descriptor that no kind claims cannot be captured, and what to do.
pub(super) fn why(fd: &FdView) -> (String, &'static str) {
    const CLOSE: &str = "let the program close it first";
    let link = fd.link.as_slice();
    if let Some(name) = link.strip_prefix(b"anon_inode:") {
        let name = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
        // `kvm-vcpu:0`, one for each processor
        let name = if name.starts_with(b"kvm-vcpu:") { b"kvm-vm" } else { name };
        return match KNOWN.iter().find(|(known, ..)| known.as_bytes() == name) {
            Some((_, why, remedy)) => ((*why).to_owned(), remedy),
            None => (format!("{} descriptors cannot be captured yet", show(name)), CLOSE),
        };
    }
    let number = (libc::major(fd.rdev), libc::minor(fd.rdev));
    if fd.file_type() == libc::S_IFCHR
        && let Some((_, why, remedy)) = DEVICES.iter().find(|(known, ..)| *known == number)
    {
        return ((*why).to_owned(), remedy);
    }
    let noun = match fd.file_type() {
        libc::S_IFSOCK => "sockets of this kind",
        libc::S_IFIFO if link.starts_with(b"pipe:") => "pipes",
        libc::S_IFIFO => "FIFOs",
        libc::S_IFCHR => "devices of this kind",
        libc::S_IFBLK => "block devices",
        libc::S_IFLNK => "descriptors of symbolic links",
        _ if link.starts_with(b"/memfd:") => "memfd files",
        _ if link.ends_with(b" (deleted)") => "deleted files",
        _ => "files of this kind",
    };
    (format!("{noun} cannot be captured yet"), CLOSE)
}
