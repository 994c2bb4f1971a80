/*
 * Children that have ended, waited for only after the save point: each status is right, and no signal comes that did not
 * come before. With "pending", SIGCHLD is blocked and waits, for the first of them.
 */
#include "tree.h"

enum { DEAD = 6 };
static const int signals[DEAD] = {0, 0, SIGTERM, SIGKILL, SIGSEGV, 40};
static const int codes[DEAD] = {0, 3, 0, 0, 0, 0};
static volatile sig_atomic_t came, came_other;

static void count(int signal) {
    if (signal == SIGCHLD)
        came++;
    else
        came_other++;
}

static pid_t dead[DEAD + 2];

static pid_t clone_with(int exit_signal) {
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.exit_signal = exit_signal};
    return syscall(SYS_clone3, &args, sizeof args);
}

int main(int argc, char UNUSED **argv) {
    bool is_pending = argc > 1;
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0); /* the core flag in a status would need a core dump */
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_NOCLDSTOP};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigaction(SIGRTMIN + 5, &action, NULL) == 0);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (is_pending) CHECK(sigprocmask(SIG_BLOCK, &chld, NULL) == 0);

    for (int i = 0; i < DEAD + 2; i++) {
        dead[i] = i < DEAD ? fork() : clone_with(i == DEAD ? SIGUSR1 : SIGRTMIN + 5);
        CHECK(dead[i] >= 0);
        if (dead[i] == 0) {
            signal(SIGSEGV, SIG_DFL);
            prctl(PR_SET_NAME, i == 1 ? "(odd) name" : "dead");
            if (i == 2) CHECK(setresuid(0, 1234, 1234) == 0 || errno == EPERM);
            if (i == 3) CHECK(setpgid(0, 0) == 0);
            if (i == 4) CHECK(setsid() > 0);
            if (i < DEAD && signals[i] != 0) raise(signals[i]), pause();
            _exit(i < DEAD ? codes[i] : 40 + i);
        }
        siginfo_t info;
        CHECK(waitid(P_PID, dead[i], &info, WEXITED | WNOWAIT | __WALL) == 0);
    }
    int before = came, before_other = came_other;
    CHECK_EQ(before, is_pending ? 0 : DEAD);
    CHECK_EQ(before_other, 2);
    save_point();
    CHECK_EQ(came, before);
    CHECK_EQ(came_other, before_other);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0);
    CHECK_EQ(sigismember(&pending, SIGCHLD), is_pending);
    CHECK_EQ(sigismember(&pending, SIGUSR1), 0);
    struct timespec no_time = {0, 0};
    siginfo_t info;
    if (is_pending) {
        CHECK_EQ(sigtimedwait(&chld, &info, &no_time), SIGCHLD);
        CHECK_EQ(info.si_pid, dead[0]);
        CHECK_EQ(info.si_code, CLD_EXITED);
    }
    CHECK(sigtimedwait(&chld, &info, &no_time) == -1 && errno == EAGAIN);
    for (int i = 0; i < DEAD + 2; i++) {
        memset(&info, 0, sizeof info);
        CHECK(waitid(P_PID, dead[i], &info, WEXITED | WNOWAIT | __WALL) == 0);
        int signal = i < DEAD ? signals[i] : 0, code = i < DEAD ? codes[i] : 40 + i;
        CHECK_EQ(info.si_code, signal == 0 ? CLD_EXITED : CLD_KILLED);
        CHECK_EQ(info.si_status, signal == 0 ? code : signal);
        int status;
        CHECK_EQ(waitpid(dead[i], &status, __WALL), dead[i]);
        CHECK_EQ(status, signal == 0 ? code << 8 : signal);
    }
    CHECK(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
    CHECK_EQ(came, before);
    return ok();
}
