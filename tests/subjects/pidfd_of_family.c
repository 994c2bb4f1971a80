/* Pidfds of a child that lives, of one that has ended and nobody has waited for, and, in the child, of the parent. */
#include "subject.h"
#include <poll.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int open_pid(pid_t pid) { return syscall(SYS_pidfd_open, pid, 0); }
static int send_signal(int pidfd, int signal) { return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }

int main(void) {
    int commands[2];
    CHECK(pipe(commands) == 0);
    pid_t self = getpid(), child = fork();
    CHECK(child >= 0);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
    if (child == 0) {
        int parent = open_pid(self);
        CHECK(parent >= 0 && write(commands[1], "r", 1) == 1);
        siginfo_t info;
        CHECK(sigwaitinfo(&usr1, &info) == SIGUSR1); /* by a pidfd of ours */
        CHECK(send_signal(parent, SIGUSR1) == 0);
        for (;;) pause();
    }
    pid_t zombie = fork();
    if (zombie == 0) _exit(7);
    siginfo_t info;
    CHECK(waitid(P_PID, zombie, &info, WEXITED | WNOWAIT) == 0);
    int lives = open_pid(child), ended = open_pid(zombie);
    char byte;
    CHECK(lives >= 0 && ended >= 0 && read(commands[0], &byte, 1) == 1);

    save_point();

    struct pollfd waited[2] = {{.fd = lives, .events = POLLIN}, {.fd = ended, .events = POLLIN}};
    CHECK(poll(waited, 2, 0) == 1 && waited[1].revents & POLLIN);
    CHECK(waitid(P_PIDFD, ended, &info, WEXITED) == 0);
    CHECK(info.si_pid == zombie && info.si_code == CLD_EXITED && info.si_status == 7);
    CHECK(send_signal(lives, SIGUSR1) == 0);
    CHECK(sigwaitinfo(&usr1, &info) == SIGUSR1 && info.si_pid == child);
    CHECK(send_signal(lives, SIGKILL) == 0);
    CHECK(poll(waited, 1, 10000) == 1);
    CHECK(waitid(P_PIDFD, lives, &info, WEXITED) == 0 && info.si_pid == child && info.si_status == SIGKILL);
    return ok();
}
