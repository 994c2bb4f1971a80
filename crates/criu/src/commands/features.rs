//! The names that `criu check --feature` knows (CRIU 4.2), and how each is answered: by what the kernel has, and, where
//! tools choose by the answer what they ask of us next, by whether we would do it.

use rekindle::features::Feature;
use std::path::Path;

/// How a name is answered.
enum Probe {
    /// As old as what rekindle needs of the kernel anyway (Linux 6.7).
    Floor,
    /// A feature that rekindle tries.
    Tried(&'static str),
    /// A file that the kernel shows where it has it.
    File(&'static str),
    /// The kernel is at least this new.
    Since(u32, u32),
    /// Only asked by those who would make use of it, which is not possible yet.
    NotYet(&'static str),
}
use Probe::{File, Floor, NotYet, Since, Tried};

const TABLE: &[(&str, Probe)] = &[
    ("mnt_id", Floor),
    ("mem_dirty_track", NotYet("every dump is a whole one")),
    ("aio_remap", File("/proc/sys/fs/aio-max-nr")),
    ("timerfd", Floor),
    ("tun", File("/dev/net/tun")),
    ("tun_ns", File("/dev/net/tun")),
    ("userns", File("/proc/self/ns/user")),
    ("fdinfo_lock", Floor),
    ("seccomp_suspend", Tried("suspend-seccomp")),
    ("seccomp_filters", Tried("suspend-seccomp")),
    ("loginuid", File("/proc/self/loginuid")),
    ("cgroupns", File("/proc/self/ns/cgroup")),
    ("autofs", File("/dev/autofs")),
    ("tcp_half_closed", Floor),
    ("compat_cr", NotYet("32-bit programs are refused")),
    ("uffd", Tried("userfaultfd")),
    ("uffd-noncoop", NotYet("memory is restored before the tree runs")),
    ("can_map_vdso", Tried("map-vdso")),
    ("sk_ns", Floor),
    ("sk_unix_file", Floor),
    ("net_diag_raw", Floor),
    ("nsid", File("/proc/self/ns/net")),
    ("link_nsid", File("/proc/self/ns/net")),
    ("kcmp_epoll", Tried("kcmp")),
    ("timens", Tried("time-namespace")),
    ("external_net_ns", NotYet("namespaces are not restored")),
    ("clone3_set_tid", Tried("choose-pid")),
    ("newifindex", Floor),
    ("nftables", NotYet("the network is not locked")),
    ("has_ipt_legacy", File("/proc/net/ip_tables_names")),
    ("pidfd_store", NotYet("there is no RPC")),
    ("ns_pid", File("/proc/self/ns/pid")),
    ("apparmor_stacking", File("/sys/kernel/security/apparmor/features/domain/stack")),
    ("network_lock_nftables", NotYet("the network is not locked")),
    ("sockopt_buf_lock", Floor),
    ("memfd_hugetlb", File("/sys/kernel/mm/hugepages")),
    ("move_mount_set_group", Floor),
    ("openat2", Floor),
    ("get_rseq_conf", Tried("rseq-configuration")),
    ("ipv6_freebind", File("/proc/sys/net/ipv6")),
    ("pagemap_scan", Tried("pagemap-scan")),
    ("timer_cr_ids", Since(6, 15)), // PR_TIMER_CREATE_RESTORE_IDS, include/uapi/linux/prctl.h
    ("overlayfs_maps", Since(6, 8)),
    ("breakpoints", Floor),
    ("pagemap_scan_guard_pages", Tried("guard-pages")),
];

/// The names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Whether a feature is there, and why not; `None` if there is no such name. `found` is what was tried.
pub(crate) fn ask(name: &str, found: &[Feature]) -> Option<Result<(), String>> {
    let (_, probe) = TABLE.iter().find(|(other, _)| *other == name)?;
    Some(match probe {
        Floor => tried("pagemap-scan", found),
        Tried(name) => tried(name, found),
        File(path) if Path::new(path).exists() => Ok(()),
        File(path) => Err(format!("{path} does not exist")),
        Since(major, minor) if kernel() >= Some((*major, *minor)) => Ok(()),
        Since(major, minor) => Err(format!("it came with Linux {major}.{minor}")),
        NotYet(why) => Err(format!("not by rekindle yet; {why}")),
    })
}

fn tried(name: &str, found: &[Feature]) -> Result<(), String> {
    match found.iter().find(|feature| feature.name == name) {
        Some(feature) if feature.present => Ok(()),
        Some(feature) => Err(feature.without.to_owned()),
        None => Err("nobody has tried".to_owned()),
    }
}

/// The version of this kernel.
fn kernel() -> Option<(u32, u32)> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_is_tried_by_the_library() {
        let found = rekindle::features::probe();
        let tried = TABLE.iter().filter_map(|(_, probe)| match probe {
            Tried(name) => Some(*name),
            Floor => Some("pagemap-scan"),
            _ => None,
        });
        for name in tried {
            assert!(found.iter().any(|feature| feature.name == name), "{name}");
        }
        assert!(kernel() > Some((5, 0)));
        assert!(ask("nope", &found).is_none());
    }
}
