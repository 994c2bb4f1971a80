//! Every parser of the crate behind one signature, for the tests that throw bytes at all of them and for the fuzz
//! target (`fuzz/fuzz_targets/proc_parsers.rs`), which includes this file.
//!
//! Each entry parses, and then calls what can be called on the result, so that accessors are tried too.

use rekindle_procfs::bits::{Mask, Ranges};
use rekindle_procfs::{
    Dev, auxv, cgroup, children, fdinfo, limits, maps, mountinfo, ns, numa_maps, pagemap, personality, sched,
    smaps, stat, status, syscall, timer_list, timers,
};

/// Takes any bytes; a panic is a bug.
pub(crate) type Parser = fn(&[u8]);

/// A name, and the parser. A fuzz input picks by its first byte, `a` being the first: append only, or the corpus and the
/// seeds in `fuzz/seeds` mean something else.
pub(crate) const PARSERS: &[(&str, Parser)] = &[
    ("maps", maps),
    ("smaps", smaps),
    ("status", |text| drop(status::parse(text).map(|status| status.rest_value(b"x").is_some()))),
    ("stat", |text| drop(stat::parse(text))),
    ("limits", |text| drop(limits::parse(text))),
    ("fdinfo", fdinfo),
    ("mountinfo", mountinfo),
    ("auxv", |text| drop(auxv::parse(text))),
    ("pagemap", pagemap),
    ("syscall", |text| drop(syscall::parse(text))),
    ("sched", |text| assert!(sched::exec_start_ns(text).is_none_or(|_| text.contains(&b'.')))),
    ("cgroup", |text| drop(cgroup::parse(text))),
    ("children", |text| drop(children::parse(text))),
    ("timers", |text| drop(timers::parse(text))),
    ("personality", |text| drop(personality::parse(text))),
    ("numa_maps", numa_maps),
    ("ns", |text| drop(ns::parse(text).map(|(kind, _)| kind.len()))),
    ("bits", bits),
    ("map_files", |text| assert!(maps::parse_range(text).is_none_or(|_| text.contains(&b'-')))),
    ("timer_list", |text| drop(timer_list::sleepers(text))),
];

/// What the kernel would print for `mapping`: the proof that nothing of it was lost.
pub(crate) fn maps_line(mapping: &maps::Mapping) -> Vec<u8> {
    let letter = |bit, yes, no| if mapping.perms.contains(bit) { yes } else { no };
    let perms: String = [
        letter(maps::Perms::READ, 'r', '-'),
        letter(maps::Perms::WRITE, 'w', '-'),
        letter(maps::Perms::EXEC, 'x', '-'),
        letter(maps::Perms::SHARED, 's', 'p'),
    ]
    .into_iter()
    .collect();
    let maps::Mapping { start, end, perms: _, offset, dev: Dev { major, minor }, inode, name } = mapping;
    let head = format!("{start:08x}-{end:08x} {perms} {offset:08x} {major:02x}:{minor:02x} {inode} ");
    if name.is_empty() {
        return head.into_bytes();
    }
    let mut line = format!("{head:<73}").into_bytes();
    for byte in name {
        match byte {
            b'\n' => line.extend(b"\\012"),
            byte => line.push(*byte),
        }
    }
    line
}

fn maps(text: &[u8]) {
    let Ok(mappings) = maps::parse(text) else { return };
    for mapping in mappings {
        let _ =
            (mapping.len(), mapping.is_empty(), mapping.contains(mapping.start), mapping.name_is_ambiguous());
        let _ = (mapping.is_file(), mapping.deleted(), mapping.anon_name(), mapping.special());
        assert_eq!(Dev::from_st_dev(mapping.dev.to_st_dev()), mapping.dev);
        assert_eq!(maps::parse(&maps_line(&mapping)), Ok(vec![mapping]));
    }
}

fn smaps(text: &[u8]) {
    let Ok(entries) = smaps::parse(text) else { return };
    for entry in entries {
        let _ = (entry.rss_kb(), entry.swap_kb(), entry.hugetlb_kb(), format!("{entry:?}"));
        for (name, value, _) in entry.counters.iter().take(1) {
            assert_eq!(entry.counters.get(name), Some(value));
        }
        assert!(entry.vm_flags.unknown().all(|code| entry.vm_flags.has(code)));
    }
}

fn fdinfo(text: &[u8]) {
    let Ok(info) = fdinfo::parse(text) else { return };
    for (name, value) in &info.rest {
        assert!(info.values(name).any(|found| found == value));
        let _ = fdinfo::pairs(value).count();
    }
}

fn mountinfo(text: &[u8]) {
    let Ok(mounts) = mountinfo::parse(text) else { return };
    for mount in mounts {
        let _ = (mount.deleted_root(), mount.has_option(b"ro"), mount.super_option(b"mode"));
    }
}

fn pagemap(bytes: &[u8]) {
    for entry in pagemap::entries(bytes) {
        let _ = (entry.present(), entry.file_or_shared(), entry.exclusive(), entry.uffd_wp(), entry.guard());
        assert!(entry.swap().is_none_or(|swap| entry.swapped() && swap.kind < 32));
        assert!(entry.pfn().is_none_or(|pfn| entry.present() && pfn < 1 << 55));
    }
}

fn numa_maps(text: &[u8]) {
    let Ok(entries) = numa_maps::parse(text) else { return };
    for entry in entries {
        let _ = (entry.value(b"anon"), entry.has(b"huge"), entry.file());
        let _ = (entry.policy.nodes.contains(1), entry.policy.nodes.iter().take(1000).count());
    }
}

fn bits(text: &[u8]) {
    if let Some(mask) = Mask::parse(text) {
        assert!(mask.iter().all(|number| mask.contains(number)));
        assert_eq!(mask.to_le_bytes().len(), mask.words.len() * 4);
    }
    if let Some(ranges) = Ranges::parse(text) {
        assert!(ranges.iter().take(1000).all(|number| ranges.contains(number)));
    }
}
