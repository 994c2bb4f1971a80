/*
 * Processes that share what otherwise threads do: memory, descriptors, directories, signal handlers, the I/O priority; alone and
 * together, with exit signals of all kinds, beside their maker and after a vfork. What one changes the other sees afterwards.
 */
#include "tree.h"

#define IOPRIO_BE(level) ((2 << 13) | (level))

static pid_t root;
static volatile int in_memory, usr1_seen, handled, sibling_memory;
static int new_descriptor;

/* The glibc wrapper has no CLONE_VM without a stack; each gets one here. */
static pid_t clone_with(int (*work)(void *), unsigned long flags, int exit_signal) {
    char *stack = map(256 * KIB, PROT_READ | PROT_WRITE, 0);
    return clone(work, stack + 256 * KIB, (int)flags | exit_signal, NULL);
}

static void on_usr1(int UNUSED signal) { usr1_seen++; }
static void on_usr2(int UNUSED signal) { handled = getpid(); }
static void on_usr2_anew(int UNUSED signal) { handled = -1; }

/* Not one's own thread-local storage where memory is shared: the words are counted by hand, each takes one. */
static void wait_for_word(int which) {
    char byte;
    CHECK(write(ready_pipe[1], "r", 1) == 1);
    CHECK(read(go_pipes[which][0], &byte, 1) == 1);
}

static int shares_memory(void UNUSED *none) {
    wait_for_word(0);
    CHECK_EQ(in_memory, 1);
    in_memory = 2;
    CHECK(fcntl(90, F_GETFD) == -1); /* has descriptors of its own */
    _exit(7);
}

static int shares_descriptors(void UNUSED *none) {
    wait_for_word(0);
    CHECK_EQ(in_memory, 0); /* a copy */
    new_descriptor = fcntl(1, F_DUPFD_CLOEXEC, 95);
    CHECK_EQ(new_descriptor, 95);
    _exit(0);
}

static int shares_directories(void UNUSED *none) {
    wait_for_word(0);
    CHECK(chdir("/usr") == 0);
    umask(0123);
    _exit(0);
}

static int shares_handlers(void UNUSED *none) {
    wait_for_word(0);
    CHECK(signal(SIGUSR2, on_usr2_anew) == on_usr2);
    _exit(0);
}

static int shares_priority(void UNUSED *none) {
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), IOPRIO_BE(6));
    wait_for_word(0);
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), IOPRIO_BE(6));
    CHECK(syscall(SYS_ioprio_set, 1, 0, IOPRIO_BE(3)) == 0);
    _exit(0);
}

/* A sibling of its maker, which shares memory with it: the root's child. */
static int is_a_sibling(void UNUSED *none) {
    CHECK_EQ(getppid(), root);
    wait_for_word(0);
    CHECK_EQ(getppid(), root);
    sibling_memory++;
    _exit(0);
}
static volatile pid_t sibling;
static int makes_a_sibling(void UNUSED *none) {
    sibling = clone_with(is_a_sibling, CLONE_VM | CLONE_PARENT, 0);
    CHECK(sibling > 0);
    wait_for_word(0);
    _exit(0);
}

/* All at once: a thread in all but name. */
static int shares_all(void UNUSED *none) {
    wait_for_word(1); /* after all others */
    CHECK_EQ(in_memory, 2);
    CHECK_EQ(fcntl(95, F_GETFD), FD_CLOEXEC);
    char name[64];
    CHECK(getcwd(name, sizeof name) != NULL && strcmp(name, "/usr") == 0);
    CHECK(signal(SIGUSR2, SIG_DFL) == on_usr2_anew);
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), IOPRIO_BE(3));
    CHECK(close(95) == 0);
    in_memory = 3;
    _exit(0);
}

/* Goes on without its parent's memory once it has executed another program. */
static int executes(void UNUSED *none) {
    execl("/proc/self/exe", "shared_processes", "executed", NULL);
    _exit(1);
}
static int executed(void) {
    char byte;
    CHECK(write(ready_pipe[1], "r", 1) == 1);
    CHECK(read(go_pipes[0][0], &byte, 1) == 1);
    CHECK_EQ(in_memory, 0);
    return 0;
}

static pid_t start(int (*work)(void *), unsigned long flags, int exit_signal) {
    pid_t pid = clone_with(work, flags, exit_signal);
    CHECK(pid > 0);
    await_ready(1);
    return pid;
}

static void ends_with(pid_t pid, int code) {
    int status;
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
    CHECK_EQ(status, code << 8);
}

int main(int argc, char UNUSED **argv) {
    if (argc > 1) {
        ready_pipe[1] = 101;
        go_pipes[0][0] = 110;
        return executed();
    }
    root = getpid();
    muster();
    CHECK_EQ(ready_pipe[1], 101);
    CHECK_EQ(go_pipes[0][0], 110);
    signal(SIGUSR1, on_usr1);
    signal(SIGUSR2, on_usr2);
    CHECK(syscall(SYS_ioprio_set, 1, 0, IOPRIO_BE(6)) == 0);
    pid_t memory = start(shares_memory, CLONE_VM, SIGUSR1);
    pid_t descriptors = start(shares_descriptors, CLONE_FILES, SIGCHLD);
    pid_t directories = start(shares_directories, CLONE_FS, 0);
    pid_t handlers = start(shares_handlers, CLONE_VM | CLONE_SIGHAND, SIGCHLD);
    pid_t priority = start(shares_priority, CLONE_IO, SIGRTMIN);
    pid_t maker = start(makes_a_sibling, CLONE_VM, SIGCHLD);
    await_ready(1);
    pid_t program = start(executes, CLONE_VM | CLONE_VFORK, SIGCHLD);
    pid_t thread_like =
        start(shares_all, CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_IO | CLONE_SYSVSEM, SIGCHLD);
    signal(SIGRTMIN, on_usr2);
    CHECK(fcntl(1, F_DUPFD, 90) == 90); /* after the birth of the one with a copy */
    in_memory = 1;

    save_point();

    go(8);
    ends_with(memory, 7);
    CHECK_EQ(in_memory, 2);
    CHECK_EQ(usr1_seen, 1);
    ends_with(descriptors, 0);
    CHECK_EQ(fcntl(95, F_GETFD), FD_CLOEXEC);
    ends_with(directories, 0);
    CHECK_EQ(umask(0), 0123);
    ends_with(handlers, 0);
    CHECK(raise(SIGUSR2) == 0);
    CHECK_EQ(handled, -1);
    ends_with(priority, 0);
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), IOPRIO_BE(3));
    ends_with(maker, 0);
    ends_with(sibling, 0);
    CHECK_EQ(sibling_memory, 1);
    ends_with(program, 0);

    go(1);
    ends_with(thread_like, 0);
    CHECK_EQ(in_memory, 3);
    CHECK(fcntl(95, F_GETFD) == -1);
    struct sigaction action;
    CHECK(sigaction(SIGUSR2, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    return ok();
}
