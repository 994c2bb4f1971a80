//! System-call numbers and constants that batches use, by their kernel names.

macro_rules! numbers {
    ($($name:ident = $value:expr, $source:literal;)*) => {
        $(#[doc = $source] pub const $name: u32 = $value as u32;)*
    };
}

numbers! {
    CLOSE = libc::SYS_close, "close(2)";
    LSEEK = libc::SYS_lseek, "lseek(2)";
    MMAP = libc::SYS_mmap, "mmap(2)";
    MPROTECT = libc::SYS_mprotect, "mprotect(2)";
    MUNMAP = libc::SYS_munmap, "munmap(2)";
    MREMAP = libc::SYS_mremap, "mremap(2)";
    MADVISE = libc::SYS_madvise, "madvise(2)";
    MLOCK2 = libc::SYS_mlock2, "mlock2(2)";
    MLOCKALL = libc::SYS_mlockall, "mlockall(2)";
    MBIND = libc::SYS_mbind, "mbind(2)";
    MSEAL = libc::SYS_mseal, "mseal(2), Linux 6.10";
    GET_MEMPOLICY = libc::SYS_get_mempolicy, "get_mempolicy(2)";
    SET_MEMPOLICY = libc::SYS_set_mempolicy, "set_mempolicy(2)";
    OPENAT = libc::SYS_openat, "openat(2)";
    DUP3 = libc::SYS_dup3, "dup3(2)";
    FCNTL = libc::SYS_fcntl, "fcntl(2)";
    FCHDIR = libc::SYS_fchdir, "fchdir(2)";
    CHDIR = libc::SYS_chdir, "chdir(2)";
    CHROOT = libc::SYS_chroot, "chroot(2)";
    UMASK = libc::SYS_umask, "umask(2)";
    PIDFD_OPEN = libc::SYS_pidfd_open, "pidfd_open(2), Linux 5.3";
    PIDFD_GETFD = libc::SYS_pidfd_getfd, "pidfd_getfd(2), Linux 5.6";
    MKNODAT = libc::SYS_mknodat, "mknodat(2)";
    UNLINKAT = libc::SYS_unlinkat, "unlinkat(2)";
    LINKAT = libc::SYS_linkat, "linkat(2)";
    RENAMEAT = libc::SYS_renameat, "renameat(2)";
    PIPE2 = libc::SYS_pipe2, "pipe2(2)";
    SOCKET = libc::SYS_socket, "socket(2)";
    BIND = libc::SYS_bind, "bind(2)";
    LISTEN = libc::SYS_listen, "listen(2)";
    CONNECT = libc::SYS_connect, "connect(2)";
    SHUTDOWN = libc::SYS_shutdown, "shutdown(2)";
    SETSOCKOPT = libc::SYS_setsockopt, "setsockopt(2)";
    SENDTO = libc::SYS_sendto, "sendto(2)";
    FCHOWN = libc::SYS_fchown, "fchown(2)";
    WRITE = libc::SYS_write, "write(2)";
    MEMBARRIER = libc::SYS_membarrier, "membarrier(2)";
    UNSHARE = libc::SYS_unshare, "unshare(2)";
    SETNS = libc::SYS_setns, "setns(2)";
    IOCTL = libc::SYS_ioctl, "ioctl(2)";
    IO_URING_SETUP = libc::SYS_io_uring_setup, "io_uring_setup(2), Linux 5.1";
    IO_URING_ENTER = libc::SYS_io_uring_enter, "io_uring_enter(2), Linux 5.1";
    IO_URING_REGISTER = libc::SYS_io_uring_register, "io_uring_register(2), Linux 5.1";
    EVENTFD2 = libc::SYS_eventfd2, "eventfd(2)";
    TIMERFD_CREATE = libc::SYS_timerfd_create, "timerfd_create(2)";
    TIMERFD_SETTIME = libc::SYS_timerfd_settime, "timerfd_settime(2)";
    EPOLL_CREATE1 = libc::SYS_epoll_create1, "epoll_create1(2)";
    EPOLL_CTL = libc::SYS_epoll_ctl, "epoll_ctl(2)";
    EPOLL_PWAIT = libc::SYS_epoll_pwait, "epoll_pwait(2)";
    INOTIFY_INIT1 = libc::SYS_inotify_init1, "inotify_init1(2)";
    INOTIFY_ADD_WATCH = libc::SYS_inotify_add_watch, "inotify_add_watch(2)";
    INOTIFY_RM_WATCH = libc::SYS_inotify_rm_watch, "inotify_rm_watch(2)";
    SIGNALFD4 = libc::SYS_signalfd4, "signalfd(2)";
    SOCKETPAIR = libc::SYS_socketpair, "socketpair(2)";
    ACCEPT4 = libc::SYS_accept4, "accept(2)";
    SENDMSG = libc::SYS_sendmsg, "sendmsg(2)";
    FSOPEN = libc::SYS_fsopen, "fsopen(2), Linux 5.2";
    FSCONFIG = libc::SYS_fsconfig, "fsconfig(2), Linux 5.2";
    FSMOUNT = libc::SYS_fsmount, "fsmount(2), Linux 5.2";
    MKDIRAT = libc::SYS_mkdirat, "mkdirat(2)";
    FCHMOD = libc::SYS_fchmod, "fchmod(2)";
    FCHMODAT = libc::SYS_fchmodat, "fchmodat(2)";
    FCHOWNAT = libc::SYS_fchownat, "fchownat(2)";
    CLOSE_RANGE = libc::SYS_close_range, "close_range(2)";
    READ = libc::SYS_read, "read(2)";
    PREAD64 = libc::SYS_pread64, "pread(2)";
    FUTEX = libc::SYS_futex, "futex(2)";
    MEMFD_CREATE = libc::SYS_memfd_create, "memfd_create(2)";
    PRCTL = libc::SYS_prctl, "prctl(2)";
    ARCH_PRCTL = libc::SYS_arch_prctl, "arch_prctl(2)";
    FLOCK = libc::SYS_flock, "flock(2)";
    MQ_OPEN = libc::SYS_mq_open, "mq_open(3)";
    MSGSND = libc::SYS_msgsnd, "msgsnd(2)";
    MSGRCV = libc::SYS_msgrcv, "msgrcv(2)";
    SHMAT = libc::SYS_shmat, "shmat(2)";
    MODIFY_LDT = libc::SYS_modify_ldt, "modify_ldt(2)";
    PERSONALITY = libc::SYS_personality, "personality(2)";
    PRLIMIT64 = libc::SYS_prlimit64, "prlimit(2)";
    RT_SIGACTION = libc::SYS_rt_sigaction, "rt_sigaction(2)";
    RT_SIGPROCMASK = libc::SYS_rt_sigprocmask, "rt_sigprocmask(2)";
    RT_SIGQUEUEINFO = libc::SYS_rt_sigqueueinfo, "rt_sigqueueinfo(2)";
    RT_TGSIGQUEUEINFO = libc::SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo(2)";
    SIGALTSTACK = libc::SYS_sigaltstack, "sigaltstack(2)";
    SET_TID_ADDRESS = libc::SYS_set_tid_address, "set_tid_address(2)";
    SET_ROBUST_LIST = libc::SYS_set_robust_list, "set_robust_list(2)";
    RSEQ = libc::SYS_rseq, "rseq(2)";
    CLONE3 = libc::SYS_clone3, "clone3(2)";
    SETSID = libc::SYS_setsid, "setsid(2)";
    SETPGID = libc::SYS_setpgid, "setpgid(2)";
    SETRESUID = libc::SYS_setresuid, "setresuid(2)";
    SETRESGID = libc::SYS_setresgid, "setresgid(2)";
    SETGROUPS = libc::SYS_setgroups, "setgroups(2)";
    SETFSUID = libc::SYS_setfsuid, "setfsuid(2)";
    SETFSGID = libc::SYS_setfsgid, "setfsgid(2)";
    SECCOMP = libc::SYS_seccomp, "seccomp(2)";
    CAPSET = libc::SYS_capset, "capset(2)";
    NANOSLEEP = libc::SYS_nanosleep, "nanosleep(2)";
    CLOCK_NANOSLEEP = libc::SYS_clock_nanosleep, "clock_nanosleep(2)";
    POLL = libc::SYS_poll, "poll(2)";
    RESTART_SYSCALL = libc::SYS_restart_syscall, "restart_syscall(2)";
    KILL = libc::SYS_kill, "kill(2)";
    IOPRIO_SET = libc::SYS_ioprio_set, "ioprio_set(2)";
    WAIT4 = libc::SYS_wait4, "wait4(2)";
    WAITID = libc::SYS_waitid, "waitid(2)";
    RT_SIGTIMEDWAIT = libc::SYS_rt_sigtimedwait, "rt_sigtimedwait(2)";
    EXIT_GROUP = libc::SYS_exit_group, "exit_group(2)";
    TIMER_CREATE = libc::SYS_timer_create, "timer_create(2)";
    TIMER_SETTIME = libc::SYS_timer_settime, "timer_settime(2)";
    TIMER_GETTIME = libc::SYS_timer_gettime, "timer_gettime(2)";
    TIMER_DELETE = libc::SYS_timer_delete, "timer_delete(2)";
    GETITIMER = libc::SYS_getitimer, "getitimer(2)";
    SCHED_YIELD = libc::SYS_sched_yield, "sched_yield(2)";
}

/// Groups of calls by how they behave when their task is stopped.
pub mod interruptible {
    /// Calls that return `EINTR` when their task is stopped without a signal (signal(7)): they are to be executed again.
    pub const EINTR_ON_STOP: [i64; 22] = [
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_io_getevents,
        333, // io_pgetevents
        libc::SYS_io_uring_enter,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_msgrcv,
    ];
}
