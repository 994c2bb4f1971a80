/*
 * What every subject shares: the save point, and the checks.
 *
 * A subject is a straight-line program that lives through its own checkpoint:
 *
 *     set up some state        ->  CHECK that it could be set up, NEEDS() what the machine may lack
 *     save_point()             ->  says "save point", then blocks reading a line from standard input
 *     assert the state is whole
 *     return ok()              ->  says "ok", exits 0
 *
 * While it is blocked in save_point() the harness does to it what the itinerary says, or nothing at all (the control), and
 * then writes a line. A failed check says what failed, on standard output, and exits 1. Nothing here buffers: each line is
 * one write(2), and the only file descriptors in use are 0 and 1.
 */
#ifndef SUBJECT_H
#define SUBJECT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define KIB 1024ul
#define MIB (1024ul * 1024ul)
#define GIB (1024ul * 1024ul * 1024ul)
#define PAGE 4096ul

/* One line on standard output, by one write(2). */
UNUSED static void say(const char *format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (length > (int)sizeof line - 1) length = sizeof line - 1;
    if (write(1, line, length) != length) _exit(1);
}

/* A check that failed ends the whole subject at once, from any thread. */
#define FAIL(...) (say("failed: " __VA_ARGS__), _exit(1))
#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        errno = 0;                                                                                            \
        if (!(condition)) FAIL("%s:%d: %s (errno %d)\n", __FILE_NAME__, __LINE__, #condition, errno);         \
    } while (0)
#define CHECK_EQ(left, right)                                                                                 \
    do {                                                                                                      \
        errno = 0;                                                                                            \
        long long left_value = (long long)(left);                                                             \
        int left_errno = errno;                                                                               \
        long long right_value = (long long)(right);                                                           \
        if (left_value != right_value)                                                                        \
            FAIL("%s:%d: %s is %lld (0x%llx), not %s = %lld (0x%llx) (errno %d)\n", __FILE_NAME__, __LINE__,  \
                 #left, left_value, left_value, #right, right_value, right_value, left_errno);                \
    } while (0)

/* What the machine lacks is said, and the harness counts the subject as skipped. Only before the save point. */
#define NEEDS(condition, what)                                                                                \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            say("skipped: needs %s\n", what);                                                                 \
            _exit(0);                                                                                         \
        }                                                                                                     \
    } while (0)

/*
 * Where the checkpoint happens. Returns how long, in ns, the program was certainly not running, as far as the harness
 * knows: the line it writes is "go on GAP". End of file is as good as a line (a restore whose image came through standard
 * input has nothing else to offer), and then the gap is not known: -1.
 */
UNUSED static long save_point(void) {
    char line[64] = {0};
    say("save point\n");
    long length = syscall(SYS_read, 0, line, sizeof line - 1);
    if (length < 0) FAIL("read() at the save point: %s\n", strerror(errno));
    long gap_ns = -1;
    if (length > 0) sscanf(line, "go on %ld", &gap_ns);
    return gap_ns;
}

UNUSED static int ok(void) {
    say("ok\n");
    return 0;
}

UNUSED static long now_ns(clockid_t clock) {
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return now.tv_sec * 1000000000l + now.tv_nsec;
}

/* Reads a whole small file of /proc. */
UNUSED static char *slurp(const char *path) {
    static __thread char text[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    long used = 0, length;
    while ((length = read(fd, text + used, sizeof text - 1 - used)) > 0) used += length;
    CHECK(length == 0);
    text[used] = 0;
    close(fd);
    return text;
}

/* A page-sized pattern that differs from page to page and from seed to seed. */
UNUSED static uint64_t pattern(uint64_t seed, size_t index) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u + index * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 29);
}
UNUSED static void fill(void *start, size_t bytes, uint64_t seed) {
    uint64_t *words = start;
    for (size_t i = 0; i < bytes / 8; i++) words[i] = pattern(seed, i);
}
UNUSED static void check_filled(const void *start, size_t bytes, uint64_t seed) {
    const uint64_t *words = start;
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != pattern(seed, i))
            FAIL("the word at %p is 0x%lx, not 0x%lx (seed %lu)\n", (void *)(words + i), words[i], pattern(seed, i), seed);
}
UNUSED static void check_zero(const void *start, size_t bytes) {
    const uint64_t *words = start;
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != 0) FAIL("the word at %p is 0x%lx, not zero\n", (void *)(words + i), words[i]);
}

/* A mapping of `bytes`, anonymous and private unless `flags` says more. */
UNUSED static void *map(size_t bytes, int protection, int flags) {
    if (!(flags & MAP_SHARED)) flags |= MAP_PRIVATE;
    void *start = mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    return start;
}

/* Whether the mapping that holds `address` shows the two-letter `flag` in its VmFlags (proc(5), smaps). */
UNUSED static bool has_vm_flag(const void *address, const char *flag) {
    FILE *smaps = fopen("/proc/self/smaps", "re");
    CHECK(smaps != NULL);
    char line[4096];
    bool here = false, found = false;
    while (fgets(line, sizeof line, smaps)) {
        unsigned long start, end;
        char space;
        if (sscanf(line, "%lx-%lx%c", &start, &end, &space) == 3 && space == ' ')
            here = (unsigned long)address >= start && (unsigned long)address < end;
        if (here && strncmp(line, "VmFlags:", 8) == 0) {
            char wanted[8];
            snprintf(wanted, sizeof wanted, " %s ", flag);
            found = strstr(line, wanted) != NULL;
            break;
        }
    }
    fclose(smaps);
    return found;
}

/* Waits until the thread is inside the given system call: proc(5), /proc/PID/task/TID/syscall. */
UNUSED static void await_syscall(pid_t tid, long number) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    for (int tries = 0; tries < 100000; tries++) {
        char *text = slurp(path);
        long found = text[0] >= '0' && text[0] <= '9' ? atol(text) : -1;
        if (found == number || found == SYS_restart_syscall) return; /* the latter: taken up again after a stop */
        sched_yield();
    }
    FAIL("thread %d never entered system call %ld: %s\n", tid, number, slurp(path));
}

/* A thread that has told its tid. */
struct thread {
    pthread_t handle;
    volatile pid_t tid;
    int index;
    void (*body)(struct thread *);
    void *argument;
    volatile long result;
};
UNUSED static void *thread_main(void *argument) {
    struct thread *thread = argument;
    thread->tid = gettid();
    thread->body(thread);
    return NULL;
}
UNUSED static void start_thread(struct thread *thread, void (*body)(struct thread *), void *argument) {
    thread->body = body;
    thread->argument = argument;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * KIB);
    CHECK_EQ(pthread_create(&thread->handle, &attributes, thread_main, thread), 0);
    while (thread->tid == 0) sched_yield();
}
UNUSED static void join_thread(struct thread *thread) { CHECK_EQ(pthread_join(thread->handle, NULL), 0); }

/* Catches the next SIGSEGV or SIGBUS of a touch: the fault's address, or NULL when there was none. */
#include <setjmp.h>
static sigjmp_buf fault_jump;
static void *volatile fault_address;
static volatile int fault_signal;
UNUSED static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)context;
    fault_signal = signal;
    fault_address = info->si_addr;
    siglongjmp(fault_jump, 1);
}
UNUSED static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
}
UNUSED static int signal_of_read(const volatile void *address) {
    fault_signal = 0;
    if (sigsetjmp(fault_jump, 1) == 0) (void)*(const volatile char *)address;
    else CHECK(fault_address == address);
    return fault_signal;
}
UNUSED static int signal_of_write(volatile void *address) {
    fault_signal = 0;
    if (sigsetjmp(fault_jump, 1) == 0) *(volatile char *)address = 1;
    else CHECK(fault_address == address);
    return fault_signal;
}

#endif
