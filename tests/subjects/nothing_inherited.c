/* A program that has set nothing has nothing after a restore either: nothing of what its restorer happens to have. */
#include "subject.h"
#include <sys/time.h>

struct state {
    uint64_t actions[65][4], mask;
    stack_t stack;
    long controls[16];
    int nice, io, policy, mode;
    mode_t umask;
    cpu_set_t affinity;
    struct rlimit limits[16];
};

static void read_state(struct state *state) {
    static const int asked[] = {PR_GET_KEEPCAPS, PR_GET_SECUREBITS, PR_GET_TIMERSLACK, PR_GET_NO_NEW_PRIVS, PR_GET_DUMPABLE,
                                PR_GET_THP_DISABLE, PR_MCE_KILL_GET, PR_GET_SECCOMP, PR_GET_TIMING};
    memset(state, 0, sizeof *state);
    for (int signal = 1; signal <= 64; signal++)
        CHECK(syscall(SYS_rt_sigaction, signal, NULL, state->actions[signal], 8) == 0);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &state->mask, 8) == 0);
    CHECK(sigaltstack(NULL, &state->stack) == 0);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) state->controls[i] = prctl(asked[i], 0, 0, 0, 0);
    int subreaper = 0, death_signal = 0, tsc = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    prctl(PR_GET_PDEATHSIG, &death_signal);
    prctl(PR_GET_TSC, &tsc);
    state->controls[10] = subreaper;
    state->controls[11] = death_signal;
    state->controls[12] = tsc;
    state->nice = getpriority(PRIO_PROCESS, 0);
    state->io = syscall(SYS_ioprio_get, 1, 0);
    state->policy = sched_getscheduler(0);
    syscall(SYS_get_mempolicy, &state->mode, NULL, 0, NULL, 0);
    state->umask = umask(0);
    umask(state->umask);
    CHECK(sched_getaffinity(0, sizeof state->affinity, &state->affinity) == 0);
    for (int i = 0; i < 16; i++) CHECK(getrlimit(i, &state->limits[i]) == 0);
}

static void on_signal(int signal) { CHECK_EQ(signal, SIGUSR1); }

int main(void) {
    static struct state before, after;
    read_state(&before);
    CHECK_EQ(before.stack.ss_flags, SS_DISABLE);

    save_point();

    read_state(&after);
    for (int signal = 1; signal <= 64; signal++)
        if (memcmp(before.actions[signal], after.actions[signal], 32) != 0) FAIL("signal %d has another action\n", signal);
    CHECK_EQ(after.mask, before.mask);
    CHECK_EQ(after.stack.ss_flags, SS_DISABLE);
    for (int i = 0; i < 16; i++)
        if (after.controls[i] != before.controls[i])
            FAIL("prctl %d says %ld, not %ld\n", i, after.controls[i], before.controls[i]);
    CHECK_EQ(after.nice, before.nice);
    CHECK_EQ(after.io, before.io);
    CHECK_EQ(after.policy, before.policy);
    CHECK_EQ(after.mode, before.mode);
    CHECK_EQ(after.umask, before.umask);
    CHECK(CPU_EQUAL(&after.affinity, &before.affinity));
    for (int i = 0; i < 16; i++) {
        if (memcmp(&before.limits[i], &after.limits[i], sizeof(struct rlimit)) != 0)
            FAIL("limit %d is %lu/%lu, not %lu/%lu\n", i, after.limits[i].rlim_cur, after.limits[i].rlim_max,
                 before.limits[i].rlim_cur, before.limits[i].rlim_max);
    }
    struct itimerval timer;
    for (int i = 0; i < 3; i++) CHECK(getitimer(i, &timer) == 0 && timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK(fcntl(3, F_GETFD) == -1 && errno == EBADF);
    /* a handler that asks for an alternate stack, when there is none, runs on the normal one */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0);
    return ok();
}
