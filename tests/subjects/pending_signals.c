/* Pending signals, of the process and of single threads, with their siginfo and in their order; the blocked mask with them. */
#include "subject.h"

static pthread_barrier_t barrier;
static sigset_t blocked;

/* The kernel's own call: the library's sigtimedwait() turns SI_TKILL into SI_USER. */
static long take(siginfo_t *info) {
    struct timespec none = {0};
    return syscall(SYS_rt_sigtimedwait, &blocked, info, &none, 8);
}

static void expect(int signal, int code, int value) {
    siginfo_t info;
    CHECK_EQ(take(&info), signal);
    CHECK_EQ(info.si_code, code);
    CHECK_EQ(info.si_pid, getpid());
    CHECK_EQ(info.si_uid, getuid());
    if (code == SI_QUEUE) CHECK_EQ(info.si_value.sival_int, value);
}
static void expect_none(void) {
    CHECK(take(NULL) == -1 && errno == EAGAIN);
}

static void with_own_signals(struct thread *thread) {
    (void)thread;
    CHECK_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    union sigval value = {.sival_int = 9001};
    CHECK_EQ(pthread_sigqueue(pthread_self(), SIGRTMIN + 5, value), 0);
    value.sival_int = 9002;
    CHECK_EQ(pthread_sigqueue(pthread_self(), SIGRTMIN + 5, value), 0);
    pthread_barrier_wait(&barrier);
    expect(SIGUSR2, SI_TKILL, 0);
    expect(SIGRTMIN + 5, SI_QUEUE, 9001);
    expect(SIGRTMIN + 5, SI_QUEUE, 9002);
    pthread_barrier_wait(&barrier);
}

int main(void) {
    sigfillset(&blocked);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &blocked, NULL), 0);
    pthread_barrier_init(&barrier, NULL, 2);
    static struct thread thread;
    start_thread(&thread, with_own_signals, NULL);
    await_syscall(thread.tid, SYS_futex);

    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0);
    for (int i = 0; i < 50; i++) {
        union sigval value = {.sival_int = 1000 + i};
        CHECK(sigqueue(getpid(), SIGRTMIN + 1 + i % 3, value) == 0);
    }
    /* a siginfo that only the process itself may forge: the code and value of a timer, to itself: rt_sigqueueinfo(2) */
    siginfo_t forged = {.si_signo = SIGRTMIN + 9, .si_code = SI_MESGQ};
    forged.si_pid = getpid();
    forged.si_uid = getuid();
    forged.si_value.sival_ptr = (void *)0x123456789abc;
    CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 9, &forged) == 0);
    CHECK_EQ(raise(SIGQUIT), 0); /* to this thread alone */

    save_point();

    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    join_thread(&thread);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2) && sigismember(&pending, SIGTERM));
    expect(SIGQUIT, SI_TKILL, 0);
    expect(SIGUSR1, SI_USER, 0);
    expect(SIGTERM, SI_USER, 0);
    for (int signal = 0; signal < 3; signal++)
        for (int i = signal; i < 50; i += 3) expect(SIGRTMIN + 1 + signal, SI_QUEUE, 1000 + i);
    siginfo_t info;
    CHECK_EQ(take(&info), SIGRTMIN + 9);
    CHECK_EQ(info.si_code, SI_MESGQ);
    CHECK(info.si_value.sival_ptr == (void *)0x123456789abc);
    expect_none();
    sigset_t mask;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    for (int signal = 1; signal < 65; signal++)
        if (signal != SIGKILL && signal != SIGSTOP && signal != 32 && signal != 33) CHECK(sigismember(&mask, signal));
    return ok();
}
