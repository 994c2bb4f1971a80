//! What holds for any bytes: no parser panics, and what the kernel escapes comes back as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use rekindle_procfs::{maps, mountinfo, stat, status};

use crate::parsers::{PARSERS, maps_line};

/// Bytes that are likely to mean something to a parser.
fn telling_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => prop::sample::select(b"0123456789abcdefxr-p: \t\n\\[]()/,.=|kBVmFlags".to_vec()),
        1 => any::<u8>(),
    ]
}

/// Any bytes but NUL, which no name holds.
fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![1 => telling_byte(), 1 => 1..=u8::MAX], 0..40)
        .prop_map(|name| name.into_iter().filter(|byte| *byte != 0).collect())
}

/// As mangle_path in the kernel: the bytes of `set` in octal.
fn escape(name: &[u8], set: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match set.contains(byte) {
        true => format!("\\{byte:03o}").into_bytes(),
        false => vec![*byte],
    };
    name.iter().flat_map(escaped).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic(text in vec(any::<u8>(), 0..300)) {
        PARSERS.iter().for_each(|(_, parse)| parse(&text));
    }

    #[test]
    fn no_near_miss_makes_a_parser_panic(text in vec(telling_byte(), 0..300)) {
        PARSERS.iter().for_each(|(_, parse)| parse(&text));
    }

    #[test]
    fn real_files_with_damage_make_no_parser_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        patch in vec((any::<prop::sample::Index>(), telling_byte()), 0..8),
    ) {
        let files = ["maps", "smaps", "status", "stat", "limits", "fdinfo/0", "mountinfo", "cgroup", "sched", "numa_maps"];
        let mut text = std::fs::read(format!("/proc/self/{}", which.get(&files))).unwrap_or_default();
        text.truncate(4096);
        for (at, byte) in patch.iter().filter(|_| !text.is_empty()).collect::<Vec<_>>() {
            let at = at.index(text.len());
            text[at] = *byte;
        }
        text.truncate(cut.index(text.len() + 1));
        PARSERS.iter().for_each(|(_, parse)| parse(&text));
    }

    #[test]
    fn names_in_maps_come_back(name in name(), start in any::<u32>(), len in any::<u32>(), inode in any::<u64>()) {
        let name = [b"/", name.as_slice()].concat();
        prop_assume!(!name.windows(4).any(|four| four == b"\\012")); // reads like a newline, as documented
        let mapping = maps::Mapping {
            start: start.into(),
            end: u64::from(start) + u64::from(len),
            perms: maps::Perms::from_bits_truncate(len as u8),
            offset: inode / 3,
            dev: rekindle_procfs::Dev { major: start >> 20, minor: start & 0xf_ffff },
            inode,
            name,
        };
        prop_assert_eq!(maps::parse(&maps_line(&mapping)), Ok(vec![mapping]));
    }

    #[test]
    fn names_in_mountinfo_come_back(root in name(), point in name(), source in name(), option in name()) {
        let (path, word) = (b" \t\n\\", b" \t\n\\#");
        let line = [
            b"1 2 3:4 /", &*escape(&root, path), b" /", &*escape(&point, path), b" rw shared:1 - ",
            &*escape(&source, word), b" ", &*escape(&source, word), b" ro,x=", &*escape(&option, b", \t\n\\"), b",y",
        ].concat();
        let mount = mountinfo::parse(&line).unwrap().remove(0);
        prop_assert_eq!(&mount.root[1..], root);
        prop_assert_eq!(&mount.mount_point[1..], point);
        prop_assert_eq!((&mount.fs_type, &mount.source), (&source, &source));
        prop_assert_eq!(mount.super_option(b"x"), Some(option.as_slice()));
        prop_assert_eq!(mount.super_options.len(), 3);
    }

    #[test]
    fn names_of_threads_come_back(name in name()) {
        let own = std::fs::read("/proc/self/stat").unwrap();
        let after = own.iter().rposition(|byte| *byte == b')').unwrap();
        let text = [b"1 (", name.as_slice(), &own[after..]].concat();
        prop_assert_eq!(&stat::parse(&text).unwrap().comm, &name);

        let own = std::fs::read("/proc/self/status").unwrap();
        let after = own.iter().position(|byte| *byte == b'\n').unwrap();
        let escaped: Vec<u8> = name.iter().flat_map(|byte| match byte {
            b'\n' => b"\\n".to_vec(),
            b'\\' => b"\\\\".to_vec(),
            byte => vec![*byte],
        }).collect();
        let text = [b"Name:\t", escaped.as_slice(), &own[after..]].concat();
        prop_assert_eq!(&status::parse(&text).unwrap().name, &name);
    }
}
