/* Pidfds of the process itself, of its first thread, and of children that have ended. */
#include "subject.h"
#include <poll.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define PIDFD_THREAD O_EXCL

static int open_pid(pid_t pid, unsigned flags) { return syscall(SYS_pidfd_open, pid, flags); }
static int send_signal(int pidfd, int signal) { return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }
static long pid_of(int pidfd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    return strtol(strstr(slurp(path), "Pid:") + 4, NULL, 10);
}
static bool has_ended(int pidfd) {
    struct pollfd waited = {.fd = pidfd, .events = POLLIN};
    return poll(&waited, 1, 0) == 1 && (waited.revents & POLLIN);
}

int main(void) {
    int own = open_pid(getpid(), O_NONBLOCK), thread = open_pid(getpid(), PIDFD_THREAD);
    CHECK(own >= 0);
    pid_t child = fork();
    if (child == 0) _exit(7);
    int ended = open_pid(child, 0), blocking = open_pid(child, 0), doubled = dup(ended);
    CHECK(child > 0 && ended >= 0 && blocking >= 0 && doubled >= 0);
    CHECK(fcntl(blocking, F_SETFL, O_NONBLOCK) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(has_ended(ended) && pid_of(ended) == -1);
    signal(SIGUSR1, SIG_IGN);

    save_point();

    CHECK_EQ(pid_of(own), getpid());
    CHECK(!has_ended(own) && send_signal(own, SIGUSR1) == 0);
    CHECK_EQ(fcntl(own, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    if (thread >= 0) CHECK(pid_of(thread) == getpid() && (fcntl(thread, F_GETFL) & PIDFD_THREAD) && !has_ended(thread));
    CHECK_EQ(pid_of(ended), -1);
    CHECK(has_ended(ended) && has_ended(doubled) && has_ended(blocking));
    CHECK(send_signal(ended, 0) == -1 && errno == ESRCH);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, ended, &info, WEXITED) == -1 && errno == ECHILD);
    CHECK_EQ(fcntl(ended, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(ended, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(blocking, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, ended, doubled), 0);
    CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, ended, blocking) != 0);
    return ok();
}
