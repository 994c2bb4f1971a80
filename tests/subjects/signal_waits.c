/* Waiting for signals: sigtimedwait with its limit, and sigwaitinfo, pause, sigsuspend that end by a signal and not before. */
#include "waits.h"

static long timed(struct wait *wait) {
    (void)wait;
    uint64_t set = 1ul << (SIGUSR2 - 1);
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_rt_sigtimedwait, &set, NULL, &length, 8));
}

static volatile int calls;
static void on_signal(int signal) {
    (void)signal;
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
}
static void by_pause(struct thread *thread) { thread->result = pause() == -1 && errno == EINTR && calls > 0; }
static void by_suspend(struct thread *thread) {
    sigset_t mask, now;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    thread->result = sigsuspend(&mask) == -1 && errno == EINTR && calls > 0;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CHECK(!sigismember(&now, SIGHUP) && sigismember(&now, SIGUSR2));
}
static void by_sigwait(struct thread *thread) {
    uint64_t set = 1ul << SIGRTMIN; /* the bit of SIGRTMIN + 1 */
    siginfo_t info;
    thread->result = syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8) == SIGRTMIN + 1 && info.si_code == SI_TKILL;
}

int main(void) {
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGRTMIN + 1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &blocked, NULL), 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    static struct thread threads[3];
    start_thread(&threads[0], by_pause, NULL);
    start_thread(&threads[1], by_suspend, NULL);
    start_thread(&threads[2], by_sigwait, NULL);
    await_syscall(threads[0].tid, SYS_pause);
    await_syscall(threads[1].tid, SYS_rt_sigsuspend);
    await_syscall(threads[2].tid, SYS_rt_sigtimedwait);
    static struct wait waits[] = {
        {.name = "sigtimedwait", .number = SYS_rt_sigtimedwait, .expected = -EAGAIN, .enter = timed},
    };
    start_waits(waits, 1);

    save_point();

    CHECK_EQ(calls, 0);
    /* A signal that comes before a thread is back in its call, after whatever stop, is handled without ending that call. */
    await_syscall(threads[0].tid, SYS_pause);
    await_syscall(threads[1].tid, SYS_rt_sigsuspend);
    await_syscall(threads[2].tid, SYS_rt_sigtimedwait);
    CHECK_EQ(pthread_kill(threads[0].handle, SIGUSR1), 0);
    CHECK_EQ(pthread_kill(threads[1].handle, SIGUSR1), 0);
    CHECK_EQ(pthread_kill(threads[2].handle, SIGRTMIN + 1), 0);
    for (int i = 0; i < 3; i++) {
        join_thread(&threads[i]);
        CHECK(threads[i].result);
    }
    CHECK_EQ(calls, 2);
    /* when it is stopped, the kernel does not tell what was left: it starts over (ARCHITECTURE.md) */
    end_waits(waits, 1, -1);
    return ok();
}
