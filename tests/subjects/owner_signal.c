/* Signals about descriptions (F_SETOWN, F_SETSIG, O_ASYNC): of a pipe and a socket, to the process and to its group. */
#include "subject.h"
#include <sys/socket.h>

static volatile sig_atomic_t told_fd, told_signal;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    told_fd = info->si_fd;
    told_signal = signal;
}

static void await_signal(int signal) {
    for (int tries = 0; told_signal == 0 && tries < 1000000; tries++) sched_yield();
    CHECK_EQ(told_signal, signal);
    told_signal = 0;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGRTMIN + 2, &action, NULL) == 0 && sigaction(SIGIO, &action, NULL) == 0);
    int ends[2], others[2];
    CHECK(pipe(ends) == 0 && pipe(others) == 0);
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETSIG, SIGRTMIN + 2) == 0);
    CHECK(fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    CHECK(fcntl(others[0], F_SETOWN, -getpgrp()) == 0);

    save_point();

    CHECK_EQ(told_signal, 0);
    CHECK_EQ(fcntl(ends[0], F_GETOWN), getpid());
    CHECK_EQ(fcntl(ends[0], F_GETSIG), SIGRTMIN + 2);
    CHECK_EQ(fcntl(ends[0], F_GETFL), O_ASYNC | O_NONBLOCK);
    struct f_owner_ex owner;
    CHECK(fcntl(others[0], F_GETOWN_EX, &owner) == 0);
    CHECK_EQ(owner.type, F_OWNER_PGRP);
    CHECK_EQ(owner.pid, getpgrp());
    CHECK(fcntl(others[1], F_GETOWN_EX, &owner) == 0);
    CHECK_EQ(owner.pid, 0);
    CHECK(write(ends[1], "x", 1) == 1);
    await_signal(SIGRTMIN + 2);
    CHECK_EQ(told_fd, ends[0]);
    return ok();
}
