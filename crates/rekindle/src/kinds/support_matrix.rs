//! docs/support-matrix.md: every kind in the tables, what is kept of it, what is refused, and the subjects that show it. Made of
//! the tables, of what stands at the top of each kind's file, and of the refusals in it; this test fails when the document is
//! another. `REKINDLE_WRITE_MATRIX=1 cargo test -p rekindle --lib support_matrix` writes it.

use super::fd::{self, foreign};
use super::process::Process;
use super::task::Task;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The subjects (tests/subjects) that show a kind: table and name, and theirs.
#[rustfmt::skip]
const SHOWN_BY: &[(&str, &str, &[&str])] = &[
    ("fd", "path", &["o_path", "directories"]),
    ("fd", "kernel-file", &["kernel_files", "files_of_dead"]),
    ("fd", "terminal", &["pty_pair", "pty_packet_mode", "pty_controlling", "hung_up_pty", "tty_stream"]),
    ("fd", "stream", &["doubled_stream", "tty_stream"]),
    ("fd", "pipe", &["pipes", "inner_pipe", "fifo_ends", "tree_pipes"]),
    ("fd", "unix", &["unix_pairs", "unix_listening", "unix_names", "unix_datagrams", "unix_shut", "unix_rights", "unix_credentials", "unix_options", "unix_waits", "unix_family", "unix_outside", "unix_refused"]),
    ("fd", "inet", &["tcp_idle", "tcp_listening", "tcp_shared_port", "tcp_streams", "tcp_closing", "tcp_half_closed", "tcp_server", "udp", "udp_queued", "socket_options"]),
    ("fd", "object", &["deleted_file", "tmpfile", "tmpfile_shared", "memfd", "memfd_huge", "memfd_program", "objects_of_two"]),
    ("fd", "regular", &["file_offsets", "shared_offset", "another_name", "mounted", "many_files", "high_numbers", "locks", "lease", "owner_signal"]),
    ("fd", "directory", &["directories", "deleted_directory", "mounted"]),
    ("fd", "device", &["devices", "block_device"]),
    ("fd", "eventfd", &["eventfd"]),
    ("fd", "timerfd", &["timerfd"]),
    ("fd", "signalfd", &["signalfd"]),
    ("fd", "epoll", &["epoll", "epoll_of_two", "many_watched"]),
    ("fd", "pidfd", &["pidfd", "pidfd_of_family"]),
    ("fd", "inotify", &["inotify", "inotify_unread"]),
    ("fd", "mqueue", &["mqueue", "mqueue_of_two"]),
    ("fd", "netlink", &["netlink_routes", "netlink_unbound", "netlink_own_number", "netlink_hears_of_links", "netlink_high_group", "netlink_options", "netlink_devices", "netlink_generic", "netlink_blocked_in_recv"]),
    ("fd", "io_uring", &["uring", "uring_deferred", "uring_pending", "uring_single", "uring_sqpoll", "uring_unindexed"]),
    ("process", "identity", &["tree_sessions", "tree_stopped", "tree_parents", "arguments"]),
    ("process", "settings", &["process_settings", "personality_bits", "dumpable", "nothing_inherited"]),
    ("process", "filesystem", &["working_directory", "changed_root", "changed_root_inside", "deleted_directory"]),
    ("process", "signal_actions", &["signal_actions"]),
    ("process", "ldt", &["ldt"]),
    ("process", "itimers", &["itimers", "nothing_inherited"]),
    ("process", "limits", &["limits"]),
    ("process", "pending", &["pending_signals"]),
    ("process", "posix_timers", &["posix_timers", "own_time_timer"]),
    ("process", "membarrier", &["membarrier"]),
    ("process", "controlling_terminal", &["pty_controlling"]),
    ("process", "zombie", &["tree_zombies", "tree_zombies_pending"]),
    ("task", "registers", &["general_registers", "vector_registers", "x87", "segment_bases", "pkeys"]),
    ("task", "name", &["threads", "thread_settings"]),
    ("task", "exit_notice", &["thread_ends", "robust_mutex"]),
    ("task", "rseq", &["rseq"]),
    ("task", "alternate_stack", &["alternate_stack", "alternate_stack_disarmed", "signal_frames"]),
    ("task", "segments", &["tls_gdt"]),
    ("task", "scheduling", &["thread_settings"]),
    ("task", "credentials", &["thread_settings"]),
    ("task", "personal", &["thread_settings"]),
    ("task", "pending", &["pending_signals"]),
    ("task", "memory_policy", &["numa_policy"]),
    ("task", "sleep", &["sleeps", "polls", "futex_waits", "signal_waits"]),
    ("task", "seccomp", &["seccomp_strict", "seccomp_filters", "seccomp_filters_of_root", "seccomp_filters_together", "seccomp_filters_dropped"]),
    ("task", "dispatch", &["user_dispatch"]),
    ("mem", "mapping", &["anon_memory", "private_file", "shared_file", "many_mappings", "grows_down", "guard_pages", "guard_regions", "reservation", "beyond_eof", "jit"]),
    ("mem", "advice", &["madvise", "locked_memory", "sealed", "huge_pages"]),
    ("mem", "bounds", &["heap", "arguments", "lock_all", "image_pie"]),
    ("mem", "vdso", &["vdso"]),
    ("mem", "file", &["private_file", "another_name", "with_library"]),
    ("mem", "deleted", &["deleted_file", "deleted_mapping", "tmpfile", "tmpfile_shared"]),
    ("mem", "memfd", &["memfd", "memfd_huge", "memfd_program"]),
    ("mem", "segment", &["sysv_shm", "foreign_segment"]),
    ("mem", "shared", &["shared_anon", "tree_shared_memory", "objects_of_two"]),
    ("mem", "inherit", &["tree_cow"]),
    ("mem", "policy", &["numa_policy"]),
    (".", "semaphores", &["sysv_semaphores", "semaphore_undo"]),
    (".", "message_queues", &["sysv_queues", "queue_left"]),
    (".", "clocks", &["clocks", "posix_timers"]),
];

/// What is said of a kind.
struct Row {
    name: String,
    kept: String,
    refused: Vec<(String, String)>,
    subjects: &'static [&'static str],
}

#[test]
fn the_document_is_up_to_date() {
    let path = root().join("docs/support-matrix.md");
    let wanted = document();
    if std::env::var_os("REKINDLE_WRITE_MATRIX").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let is_up_to_date = fs::read_to_string(&path).is_ok_and(|found| found == wanted);
    assert!(
        is_up_to_date,
        "docs/support-matrix.md is not up to date; `REKINDLE_WRITE_MATRIX=1 cargo test -p rekindle --lib support_matrix` writes it"
    );
}

#[test]
fn every_kind_is_shown_by_subjects_that_there_are() {
    let known = fs::read_to_string(root().join("tests/src/subjects.rs")).unwrap();
    for (table, name, subjects) in SHOWN_BY {
        assert!(names(table).iter().any(|found| found == name), "{table} has no kind {name}");
        for subject in *subjects {
            assert!(
                known.contains(&format!("subject(\"{subject}\"")),
                "{name}: there is no subject {subject}"
            );
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The kinds of a table.
fn names(table: &str) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match table {
        "fd" => fd::KINDS.iter().map(|kind| kind.name().to_owned()).collect(),
        "process" => owned(&[Process::KINDS, &["zombie"]].concat()),
        "task" => owned(Task::KINDS),
        "." => owned(&["semaphores", "message_queues", "clocks"]),
        _ => {
            let files = fs::read_dir(root().join("crates/rekindle/src/kinds").join(table)).unwrap();
            let mut names: Vec<String> = files
                .map(|file| file.unwrap().file_name().into_string().unwrap().replace(".rs", ""))
                .collect();
            names.retain(|name| name != "mod");
            names.sort();
            names
        }
    }
}

fn document() -> String {
    let mut text = String::from(
        "# What is supported\n\n\
        Every kind of resource, what is kept of it, what of it is refused (by name, before anything is touched), and the subjects \
        (`tests/subjects`) that show it: real programs that live through every itinerary. What no kind claims is refused, too. \
        Made of the tables of kinds and of what stands in their files; `crates/rekindle/src/kinds/support_matrix.rs` writes it.\n",
    );
    let parts = [
        ("fd", "Open files"),
        ("process", "What a process has one of"),
        ("task", "What each thread has one of"),
        ("mem", "Memory"),
        (".", "Of the system"),
    ];
    for (table, title) in parts {
        write!(
            text,
            "\n## {title}\n\n| kind | what is kept | what is refused | shown by |\n|---|---|---|---|\n"
        )
        .unwrap();
        for name in names(table) {
            row(table, &name).write(&mut text);
        }
    }
    let beside = "Refusals of descriptors beside their kinds, of locks and leases among them:";
    write!(text, "\n{beside}\n\n").unwrap();
    for (code, why) in ["fd/capture.rs", "fd/locks.rs"].iter().flat_map(|file| refusals(&source(file))) {
        writeln!(text, "- {}", refusal(&code, &why)).unwrap();
    }
    text.push_str("\n## Open files that no kind claims\n\n| what | why | what to do |\n|---|---|---|\n");
    for (name, why, remedy) in foreign::KNOWN {
        writeln!(text, "| {name} | {why} | {} |", folded(remedy)).unwrap();
    }
    for ((major, minor), why, remedy) in foreign::DEVICES {
        writeln!(text, "| character device {major}:{minor} | {why} | {} |", folded(remedy)).unwrap();
    }
    text
}

fn row(table: &str, name: &str) -> Row {
    let file = format!("{table}/{}", name.replace('-', "_").replace("io_uring", "uring"));
    let text = source(&file);
    let shown = SHOWN_BY.iter().find(|(of, kind, _)| (*of, *kind) == (table, name));
    let subjects = shown.map_or(&[][..], |(.., subjects)| subjects);
    Row { name: name.to_owned(), kept: story(&text), refused: refusals(&text), subjects }
}

impl Row {
    fn write(&self, text: &mut String) {
        assert!(!self.subjects.is_empty(), "no subject is known to show {}: SHOWN_BY", self.name);
        let refused: Vec<String> = self.refused.iter().map(|(code, why)| refusal(code, why)).collect();
        let subjects = self.subjects.join(", ");
        writeln!(text, "| {} | {} | {} | {subjects} |", self.name, self.kept, refused.join("; ")).unwrap();
    }
}

fn refusal(code: &str, why: &str) -> String {
    let why = why.replace("{}", "...").replace("{:?}", "...");
    if why.is_empty() { format!("`{code}`") } else { format!("`{code}`: {why}") }
}

/// The source of a kind: of a folder, all files.
fn source(file: &str) -> String {
    let kinds = root().join("crates/rekindle/src/kinds");
    let path = kinds.join(file);
    if path.is_dir() {
        let mut files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
        // Its story stands in the first.
        files.sort_by_key(|file| (!file.ends_with("mod.rs"), file.clone()));
        return files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    }
    let file = if file.ends_with(".rs") { path } else { kinds.join(format!("{file}.rs")) };
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The first paragraph of a file's story.
fn story(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let first: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    first.join(" ").replace('|', "\\|")
}

/// Code and reason of each refusal in a source.
fn refusals(source: &str) -> Vec<(String, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found: Vec<(String, String)> = Vec::new();
    for start in ["Refused(", "refusals.add(", "const CODE: &str = ", "            code: "] {
        for (at, _) in source.match_indices(start) {
            let rest = &source[at + start.len()..];
            let Some((code, rest)) = literal(rest.trim_start()) else { continue };
            let before = &source[..at];
            let named = || before.get(before.rfind("let why = ").filter(|named| at - named < 250)?..);
            let why = match start {
                "Refused(" => rest.trim_start_matches(',').trim_start(),
                "refusals.add(" => named()
                    .unwrap_or_default()
                    .trim_start_matches("let why = ")
                    .trim_start_matches("format!("),
                _ => rest.split("WHY: &str = ").nth(1).unwrap_or_default(),
            };
            let why = literal(why).map_or(String::new(), |(why, _)| why);
            if !found.iter().any(|(known, reason)| (known, reason) == (&code, &why)) {
                found.push((code, why));
            }
        }
    }
    found
}

/// The string that stands at the beginning, and what follows.
fn literal(source: &str) -> Option<(String, &str)> {
    let rest = source.strip_prefix('"')?;
    let end = rest.find('"')?;
    Some((folded(&rest[..end].replace("\\\n", " ")), &rest[end + 1..]))
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
