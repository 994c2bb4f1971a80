//! The subjects: which program, built and started how. What each is about stands at the top of its source.

use std::path::PathBuf;

use crate::compile::compile;
use crate::trial::Verdict;

/// The library of [`WITH_LIBRARY`], compiled if need be.
pub fn library() -> Verdict<PathBuf> {
    compile("library.c", "library.so", &["-shared", "-fPIC"])
}

/// One program and how it is built and started.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Name in the list of tests, and of the executable.
    pub name: &'static str,
    /// File in `tests/subjects`.
    pub source: &'static str,
    /// Compiler flags besides the usual ones.
    pub flags: &'static [&'static str],
    /// Arguments it is started with.
    pub arguments: &'static [&'static str],
    /// Whether it waits with a limit of which the kernel tells what is left only once, unless /proc/timer_list may be read: a
    /// second restore starts it over
    /// (ARCHITECTURE.md, "Not there yet").
    pub starts_over: bool,
    /// Whether it has pseudo-terminals, whose names must be free when they come back: one at a time.
    pub has_terminals: bool,
    /// Whether it has ports, which must be free when they come back: in a network of its own.
    pub has_ports: bool,
}

impl Subject {
    /// Its executable, compiled if need be.
    pub fn executable(&self) -> Verdict<PathBuf> {
        compile(self.source, self.name, self.flags)
    }

    /// The same, started with other arguments.
    #[must_use]
    pub const fn with_arguments(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    const fn built(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    const fn starting_over(self) -> Self {
        Self { starts_over: true, ..self }
    }

    const fn with_terminals(self) -> Self {
        Self { has_terminals: true, ..self }
    }

    const fn with_ports(self) -> Self {
        Self { has_ports: true, ..self }
    }

    const fn started(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }
}

const fn subject(name: &'static str, source: &'static str) -> Subject {
    Subject {
        name,
        source,
        flags: &[],
        arguments: &[],
        starts_over: false,
        has_terminals: false,
        has_ports: false,
    }
}

/// Those that must live through every itinerary.
#[rustfmt::skip]
pub const SUBJECTS: &[Subject] = &[
    // memory
    subject("anon_memory", "anon_memory.c"),
    subject("striped", "striped.c"),
    subject("private_file", "private_file.c"),
    subject("shared_file", "shared_file.c"),
    subject("shared_anon", "shared_anon.c"),
    subject("heap", "heap.c"),
    subject("stack", "stack.c"),
    subject("grows_down", "grows_down.c"),
    subject("guard_pages", "guard_pages.c"),
    subject("guard_regions", "guard_regions.c"),
    subject("hidden_memory", "hidden_memory.c"),
    subject("reservation", "reservation.c"),
    subject("madvise", "madvise.c"),
    subject("anon_names", "anon_names.c"),
    subject("locked_memory", "locked_memory.c"),
    subject("lock_all", "lock_all.c"),
    subject("hugetlb", "hugetlb.c"),
    subject("huge_pages", "huge_pages.c"),
    subject("numa_policy", "numa_policy.c"),
    subject("jit", "jit.c"),
    subject("many_mappings", "many_mappings.c"),
    subject("beyond_eof", "beyond_eof.c"),
    subject("swapped", "swapped.c"),
    subject("sealed", "sealed.c"),
    // files and memory that no path leads to
    subject("deleted_file", "deleted_file.c"),
    subject("deleted_directory", "deleted_directory.c"),
    subject("deleted_mapping", "deleted_mapping.c"),
    subject("tmpfile", "tmpfile.c"),
    subject("tmpfile_shared", "tmpfile_shared.c"),
    subject("memfd", "memfd.c"),
    subject("memfd_program", "memfd_program.c"),
    subject("memfd_huge", "memfd_huge.c"),
    subject("sysv_shm", "sysv_shm.c"),
    subject("sysv_semaphores", "sysv_semaphores.c"),
    subject("sysv_queues", "sysv_queues.c"),
    subject("mqueue", "mqueue.c"),
    subject("mqueue_of_two", "mqueue_of_two.c"),
    subject("objects_of_two", "objects_of_two.c"),
    // the program's image, and what belongs to the address space
    subject("image_pie", "image_of_itself.c"),
    subject("image_at_fixed_address", "image_of_itself.c").built(&["-no-pie", "-fno-pie"]),
    subject("image_static", "image_of_itself.c").built(&["-static"]),
    subject("image_static_pie", "image_of_itself.c").built(&["-static-pie"]),
    subject("image_stripped", "image_of_itself.c").built(&["-s", "-Wl,-z,now"]),
    subject("nolibc", "nolibc.S").built(&["-nostdlib", "-static"]),
    subject("vdso", "vdso.c"),
    subject("mdwe", "mdwe.c"),
    subject("arguments", "arguments.c").started(&["with", "a few words", ""]),
    subject("mm_settings", "mm_settings.c"),
    subject("dumpable", "dumpable.c"),
    // registers and segments
    subject("general_registers", "general_registers.c"),
    subject("vector_registers", "vector_registers.c"),
    subject("x87", "x87.c"),
    subject("segment_bases", "segment_bases.c"),
    subject("ldt", "ldt.c"),
    subject("tls_gdt", "tls_gdt.c"),
    subject("pkeys", "pkeys.c"),
    // threads
    subject("threads", "threads.c"),
    subject("mutex_condvar", "mutex_condvar.c"),
    subject("robust_mutex", "robust_mutex.c"),
    subject("thread_ends", "thread_ends.c"),
    subject("thread_settings", "thread_settings.c"),
    subject("rseq", "rseq.c"),
    // signals
    subject("signal_actions", "signal_actions.c"),
    subject("pending_signals", "pending_signals.c"),
    subject("signal_frames", "signal_frames.c"),
    subject("alternate_stack", "alternate_stack.c"),
    subject("alternate_stack_disarmed", "alternate_stack.c").started(&["autodisarm"]),
    // system calls that wait
    subject("sleeps", "sleeps.c").starting_over(),
    subject("polls", "polls.c").starting_over(),
    subject("futex_waits", "futex_waits.c").starting_over(),
    subject("signal_waits", "signal_waits.c"),
    // the process
    subject("membarrier", "membarrier.c"),
    subject("itimers", "itimers.c"),
    subject("clocks", "clocks.c"),
    subject("posix_timers", "posix_timers.c"),
    subject("own_time_timer", "own_time_timer.c"),
    subject("process_settings", "process_settings.c"),
    subject("nothing_inherited", "nothing_inherited.c"),
    subject("personality_bits", "personality_bits.c"),
    subject("limits", "limits.c"),
    // what may be done
    subject("seccomp_strict", "seccomp_strict.c"),
    subject("seccomp_filters", "seccomp_filters.c"),
    subject("seccomp_filters_of_root", "seccomp_filters.c").started(&["root"]),
    subject("seccomp_filters_together", "seccomp_filters.c").started(&["together"]),
    subject("seccomp_filters_dropped", "seccomp_filters.c").started(&["dropped"]),
    subject("user_dispatch", "user_dispatch.c"),
    subject("processor_settings", "processor_settings.c"),
    subject("credentials", "credentials.c"),
    subject("working_directory", "working_directory.c"),
    subject("changed_root", "changed_root.c"),
    subject("changed_root_inside", "changed_root.c").started(&["inside"]),
    // trees of processes
    subject("tree_pipes", "tree_pipes.c"),
    subject("tree_sessions", "tree_sessions.c"),
    subject("tree_adopted", "tree_adopted.c"),
    subject("shared_processes", "shared_processes.c"),
    subject("tree_zombies", "tree_zombies.c"),
    subject("tree_zombies_pending", "tree_zombies.c").started(&["pending"]),
    subject("tree_stopped", "tree_stopped.c"),
    subject("tree_waits", "tree_waits.c"),
    subject("tree_cow", "tree_cow.c"),
    subject("tree_shared_memory", "tree_shared_memory.c"),
    subject("tree_descriptions", "tree_descriptions.c"),
    subject("tree_exec", "tree_exec.c"),
    subject("tree_threads", "tree_threads.c"),
    subject("tree_parents", "tree_parents.c"),
    // open files
    subject("file_offsets", "file_offsets.c"),
    subject("shared_offset", "shared_offset.c"),
    subject("doubled_stream", "doubled_stream.c"),
    subject("directories", "directories.c"),
    subject("devices", "devices.c"),
    subject("locks", "locks.c"),
    subject("lease", "lease.c"),
    subject("owner_signal", "owner_signal.c"),
    subject("o_path", "o_path.c"),
    subject("kernel_files", "kernel_files.c"),
    subject("block_device", "block_device.c"),
    subject("many_files", "many_files.c").started(&["1000"]),
    subject("high_numbers", "high_numbers.c"),
    subject("fifo_ends", "fifo_ends.c"),
    subject("inner_pipe", "inner_pipe.c"),
    subject("pipes", "pipes.c"),
    // events
    subject("eventfd", "eventfd.c"),
    subject("uring", "uring.c"),
    subject("uring_sqpoll", "uring.c").started(&["sqpoll"]),
    subject("uring_single", "uring.c").started(&["single"]),
    subject("uring_deferred", "uring.c").started(&["deferred"]),
    subject("uring_unindexed", "uring.c").started(&["unindexed"]),
    subject("uring_pending", "uring_pending.c"),
    subject("timerfd", "timerfd.c"),
    subject("signalfd", "signalfd.c"),
    subject("epoll", "epoll.c"),
    subject("epoll_of_two", "epoll_of_two.c"),
    subject("many_watched", "many_watched.c"),
    subject("pidfd", "pidfd.c"),
    subject("pidfd_of_family", "pidfd_of_family.c"),
    subject("inotify", "inotify.c"),
    subject("inotify_unread", "inotify_unread.c"),
    // internet sockets
    subject("tcp_idle", "tcp_idle.c").with_ports(),
    subject("tcp_listening", "tcp_listening.c").with_ports(),
    subject("tcp_shared_port", "tcp_shared_port.c").with_ports(),
    subject("tcp_streams", "tcp_streams.c").started(&["127.0.0.1"]).with_ports(),
    subject("tcp_streams_ipv6", "tcp_streams.c").started(&["::1"]).with_ports(),
    subject("tcp_streams_mapped", "tcp_streams.c").started(&["::ffff:127.0.0.1"]).with_ports(),
    subject("tcp_closing", "tcp_closing.c").with_ports(),
    subject("udp", "udp.c").with_ports(),
    subject("udp_queued", "udp_queued.c").with_ports(),
    subject("socket_options", "socket_options.c").with_ports(),
    subject("tcp_urgent_inline", "tcp_case.c").started(&["urgent_inline"]).with_ports(),
    subject("tcp_corked", "tcp_case.c").started(&["corked"]).with_ports(),
    subject("tcp_peer_closed", "tcp_case.c").started(&["peer_closed"]).with_ports(),
    subject("tcp_reset", "tcp_case.c").started(&["reset"]).with_ports(),
    subject("tcp_connection_refused", "tcp_case.c").started(&["connection_refused"]).with_ports(),
    subject("tcp_shut_for_reading", "tcp_case.c").started(&["shut_for_reading"]).with_ports(),
    subject("tcp_unread_in_pieces", "tcp_case.c").started(&["unread_in_pieces"]).with_ports(),
    subject("tcp_low_water_mark", "tcp_case.c").started(&["low_water_mark"]).with_ports(),
    subject("tcp_two_descriptors", "tcp_case.c").started(&["two_descriptors"]).with_ports(),
    subject("tcp_two_processes", "tcp_case.c").started(&["two_processes"]).with_ports(),
    subject("tcp_watched_by_epoll", "tcp_case.c").started(&["watched_by_epoll"]).with_ports(),
    subject("tcp_blocked_in_recv", "tcp_case.c").started(&["blocked_in_recv"]).with_ports(),
    subject("tcp_blocked_in_accept", "tcp_case.c").started(&["blocked_in_accept"]).with_ports(),
    subject("tcp_unanswered", "tcp_case.c").started(&["unanswered"]).with_ports(),
    subject("tcp_blocked_in_connect", "tcp_case.c").started(&["blocked_in_connect"]).with_ports(),
    subject("tcp_large_unread", "tcp_case.c").started(&["large_unread"]).with_ports(),
    subject("tcp_no_timestamps", "tcp_case.c").started(&["no_timestamps"]).with_ports(),
    subject("tcp_no_scaling", "tcp_case.c").started(&["no_scaling"]).with_ports(),
    subject("tcp_small_segments", "tcp_case.c").started(&["small_segments"]).with_ports(),
    subject("tcp_of_another_user", "tcp_case.c").started(&["of_another_user"]).with_ports(),
    subject("listen_nonblocking", "listen_case.c").started(&["nonblocking"]).with_ports(),
    subject("listen_any_address", "listen_case.c").started(&["any_address"]).with_ports(),
    subject("listen_both_families", "listen_case.c").started(&["both_families"]).with_ports(),
    subject("listen_six_only", "listen_case.c").started(&["six_only"]).with_ports(),
    subject("listen_deferred", "listen_case.c").started(&["deferred"]).with_ports(),
    subject("listen_fast_open", "listen_case.c").started(&["fast_open"]).with_ports(),
    subject("listen_multipath", "listen_case.c").started(&["multipath"]).with_ports(),
    subject("listen_fallen_back", "listen_case.c").started(&["fallen_back"]).with_ports(),
    subject("listen_shared_by_a_group", "listen_case.c").started(&["shared_by_a_group"]).with_ports(),
    subject("listen_on_a_device", "listen_case.c").started(&["on_a_device"]).with_ports(),
    subject("listen_free_bind", "listen_case.c").started(&["free_bind"]).with_ports(),
    subject("listen_transparent", "listen_case.c").started(&["transparent"]).with_ports(),
    subject("listen_filtered", "listen_case.c").started(&["filtered"]).with_ports(),
    subject("listen_inherited_options", "listen_case.c").started(&["inherited_options"]).with_ports(),
    subject("listen_stopped_listening", "listen_case.c").started(&["stopped_listening"]).with_ports(),
    subject("udp_connected_six", "udp_case.c").started(&["connected_six"]).with_ports(),
    subject("udp_disconnected", "udp_case.c").started(&["disconnected"]).with_ports(),
    subject("udp_broadcast", "udp_case.c").started(&["broadcast"]).with_ports(),
    subject("udp_destination_told", "udp_case.c").started(&["destination_told"]).with_ports(),
    subject("udp_multicast_four", "udp_case.c").started(&["multicast_four"]).with_ports(),
    subject("udp_multicast_six", "udp_case.c").started(&["multicast_six"]).with_ports(),
    subject("udp_filtered", "udp_case.c").started(&["filtered"]).with_ports(),
    subject("udp_shared_by_a_group", "udp_case.c").started(&["shared_by_a_group"]).with_ports(),
    subject("udp_blocked_in_recv", "udp_case.c").started(&["blocked_in_recv"]).with_ports(),
    subject("udp_full", "udp_case.c").started(&["full"]).with_ports(),
    subject("udp_after_an_error", "udp_case.c").started(&["after_an_error"]).with_ports(),
    subject("udp_segmented", "udp_case.c").started(&["segmented"]).with_ports(),
    subject("udp_times_told", "udp_case.c").started(&["times_told"]).with_ports(),
    subject("udp_lite_coverage", "udp_case.c").started(&["lite_coverage"]).with_ports(),
    subject("raw_icmp", "udp_case.c").started(&["raw_icmp"]).with_ports(),
    subject("raw_own_header", "udp_case.c").started(&["raw_own_header"]).with_ports(),
    subject("raw_six", "udp_case.c").started(&["raw_six"]).with_ports(),
    subject("udp_echoes", "udp_case.c").started(&["echoes"]).with_ports(),
    subject("netlink_routes", "netlink_case.c").started(&["routes"]).with_ports(),
    subject("netlink_unbound", "netlink_case.c").started(&["unbound"]).with_ports(),
    subject("netlink_own_number", "netlink_case.c").started(&["own_number"]).with_ports(),
    subject("netlink_hears_of_links", "netlink_case.c").started(&["hears_of_links"]).with_ports(),
    subject("netlink_high_group", "netlink_case.c").started(&["high_group"]).with_ports(),
    subject("netlink_options", "netlink_case.c").started(&["options"]).with_ports(),
    subject("netlink_devices", "netlink_case.c").started(&["devices"]).with_ports(),
    subject("netlink_generic", "netlink_case.c").started(&["generic"]).with_ports(),
    subject("netlink_blocked_in_recv", "netlink_case.c").started(&["blocked_in_recv"]).with_ports(),
    // sockets to itself
    subject("unix_pairs", "unix_pairs.c"),
    subject("unix_listening", "unix_listening.c"),
    subject("unix_names", "unix_names.c"),
    subject("unix_datagrams", "unix_datagrams.c"),
    subject("unix_shut", "unix_shut.c"),
    subject("unix_rights", "unix_rights.c"),
    subject("unix_credentials", "unix_credentials.c"),
    subject("unix_options", "unix_options.c"),
    subject("unix_waits", "unix_waits.c"),
    // terminals
    subject("pty_pair", "pty_pair.c").with_terminals(),
    subject("pty_packet_mode", "pty_packet_mode.c").with_terminals(),
    subject("pty_controlling", "pty_controlling.c").with_terminals(),
    subject("hung_up_pty", "hung_up_pty.c").with_terminals(),
    subject("unix_family", "unix_family.c"),
    // a bit of everything, standing still
    subject("worker", "worker.c").started(&["8", "quiet"]),
];

/// The same at work, which keeps account of what it does: for what must do no harm at any moment.
pub const WORKER: Subject = subject("worker", "worker.c").started(&["8"]);

/// Asks the vDSO for the time, in every way.
pub const VDSO: Subject = subject("vdso", "vdso.c");

/// Is in critical sections of restartable sequences nearly always.
pub const RSEQ_SECTION: Subject = subject("rseq_section", "rseq_section.c");

/// Sees to it that clocks go on.
pub const CLOCKS: Subject = subject("clocks", "clocks.c");

/// The same as a tree of ten processes.
pub const WORKER_TREE: Subject = subject("worker_tree", "worker_tree.c").started(&["8"]);

/// Streams numbered bytes to clients, and checks theirs.
pub const TCP_SERVER: Subject = subject("tcp_server", "tcp_server.c");

/// Has clients that have closed their side.
pub const TCP_HALF_CLOSED: Subject = subject("tcp_half_closed", "tcp_half_closed.c");

/// Does not accept a client before its save point.
pub const TCP_UNACCEPTED: Subject = subject("tcp_unaccepted", "tcp_unaccepted.c");

/// Holds descriptors of kinds that are refused.
pub const FOREIGN_KINDS: Subject = subject("foreign_kinds", "foreign_kinds.c");

/// Holds a semaphore that its end would give back, which is refused.
pub const SEMAPHORE_UNDO: Subject = subject("semaphore_undo", "semaphore_undo.c");

/// Leaves a System V queue behind, with messages in it.
pub const QUEUE_LEFT: Subject = subject("queue_left", "queue_left.c");

/// Has one thing that is refused each: what, and what the refusal says.
pub const REFUSED_KINDS: [(Subject, &[&str]); 9] = [
    (refused_kind(&["perf"]), &["fd 20", "performance counters"]),
    (refused_kind(&["kvm"]), &["fd 20", "/dev/kvm", "virtual machines"]),
    (refused_kind(&["fuse"]), &["fd 20", "/dev/fuse", "FUSE"]),
    (refused_kind(&["loop"]), &["fd 20", "/dev/loop-control", "loop devices"]),
    (refused_kind(&["userfaultfd"]), &["fd 20", "userfaultfd"]),
    (refused_kind(&["dnotify"]), &["fd 20", "F_NOTIFY"]),
    (refused_kind(&["aio"]), &["[aio]", "asynchronous I/O"]),
    (refused_kind(&["mq_notify"]), &["fd 20", "mq_notify"]),
    (refused_kind(&["outside"]), &["fd 20", "processes outside of the tree have it open"]),
];

const fn refused_kind(what: &'static [&'static str]) -> Subject {
    subject("refused_kind", "refused_kind.c").started(what)
}

/// Shares a System V segment with a process that is none of its descendants.
pub const FOREIGN_SEGMENT: Subject = subject("foreign_segment", "foreign_segment.c");

/// Holds deleted files.
pub const DELETED_FILE: Subject = subject("deleted_file", "deleted_file.c");

/// Holds a file that was deleted under one name and has another, which /proc tells afterwards.
pub const ANOTHER_NAME: Subject = subject("another_name", "another_name.c");

/// Has files of /proc open about a process that has ended: links name another such process afterwards.
pub const FILES_OF_DEAD: Subject = subject("files_of_dead", "files_of_dead.c");

/// Has as many files open as some servers.
pub const MANY_FILES: Subject = subject("many_files", "many_files.c").started(&["20000"]);

/// Has files of mounts open that its test makes.
pub const MOUNTED: Subject = subject("mounted", "mounted.c");

/// Has its terminal open in all kinds of ways; run on one by its own test.
pub const TTY_STREAM: Subject = subject("tty_stream", "tty_stream.c").with_terminals();

/// Depends on a library, a file, and a directory of its own.
pub const WITH_LIBRARY: Subject = subject("with_library", "with_library.c");

/// Listens at names of several kinds.
pub const UNIX_LISTENING: Subject = subject("unix_listening", "unix_listening.c");

/// Has sockets whose other ends are outside.
pub const UNIX_OUTSIDE: Subject = subject("unix_outside", "unix_outside.c");

/// Has sockets in states that are refused.
pub const UNIX_REFUSED: Subject = subject("unix_refused", "unix_refused.c");

/// The smallest one, with the smallest image.
pub const NOLIBC: Subject = subject("nolibc", "nolibc.S").built(&["-nostdlib", "-static"]);

/// Processes or threads that come and go without pause.
pub const STORMS: &[Subject] = &[
    subject("storm_fork", "storm.c").started(&["fork"]),
    subject("storm_threads", "storm.c").started(&["threads"]),
    subject("storm_exec", "storm.c").started(&["exec"]),
];

/// Its first thread, or that of its child, has ended while others go on.
pub const LEADER_ENDS: [Subject; 2] = [
    subject("leader_ends", "leader_ends.c"),
    subject("leader_of_child_ends", "leader_ends.c").started(&["child"]),
];

/// Its child is inside vfork(2), for a while and for ever.
pub const IN_VFORK: [Subject; 2] =
    [subject("vfork", "vfork.c"), subject("vfork_forever", "vfork.c").started(&["forever"])];
