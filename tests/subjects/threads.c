/* Sixty-four threads, each with its own name, thread-local data, signal mask and alternate stack, in waits of all kinds. */
#include "subject.h"
#include <poll.h>
#include <linux/futex.h>
enum { COUNT = 64 };

static __thread uint64_t own[16];
static uint32_t gate; /* a futex word: 0 while closed */
static volatile sig_atomic_t wakes[COUNT];
static __thread int my_index;

static void on_wake(int signal) {
    (void)signal;
    wakes[my_index]++;
}

static void futex_wait(struct thread *thread) {
    (void)thread;
    while (__atomic_load_n(&gate, __ATOMIC_ACQUIRE) == 0) /* never EINTR */
        CHECK(syscall(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == 0 || errno == EAGAIN);
}
static void long_sleep(void) {
    struct timespec hours = {.tv_sec = 36000};
    CHECK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &hours, NULL) == -1 && errno == EINTR);
}
static void long_poll(void) { CHECK(poll(NULL, 0, -1) == -1 && errno == EINTR); }
static void long_pause(void) { CHECK(pause() == -1 && errno == EINTR); }
static void long_suspend(void) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, SIGUSR1);
    CHECK(sigsuspend(&mask) == -1 && errno == EINTR);
}

static void live(struct thread *thread) {
    int index = thread->index;
    my_index = index;
    for (int i = 0; i < 16; i++) own[i] = pattern(index, i);
    char name[16], found[16];
    snprintf(name, sizeof name, "thread-%d", index);
    CHECK(prctl(PR_SET_NAME, name) == 0);
    sigset_t mask, mask_now;
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN + index % 20);
    sigaddset(&mask, index % 2 ? SIGTERM : SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    stack_t stack = {.ss_sp = malloc(32 * KIB), .ss_size = 16 * KIB + index * 64}, stack_now;
    CHECK(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);

    static void (*const waits[])(void) = {long_sleep, long_poll, long_pause, long_suspend};
    if (index % 5 == 4) futex_wait(thread);
    else {
        waits[index % 5]();
        CHECK_EQ(wakes[index], 1);
    }

    for (int i = 0; i < 16; i++) CHECK_EQ(own[i], pattern(index, i));
    CHECK(prctl(PR_GET_NAME, found) == 0 && strcmp(name, found) == 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask_now), 0);
    for (int signal = 1; signal < 65; signal++) {
        if (signal == 32 || signal == 33) continue;
        CHECK_EQ(sigismember(&mask_now, signal), sigismember(&mask, signal));
    }
    CHECK(sigaltstack(NULL, &stack_now) == 0);
    CHECK(stack_now.ss_sp == stack.ss_sp && stack_now.ss_size == stack.ss_size && stack_now.ss_flags == 0);
    CHECK_EQ(gettid(), thread->tid);
}

int main(void) {
    static struct thread threads[COUNT];
    static const long calls[] = {SYS_clock_nanosleep, SYS_poll, SYS_pause, SYS_rt_sigsuspend, SYS_futex};
    struct sigaction action = {.sa_handler = on_wake};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < COUNT; i++) {
        threads[i].index = i;
        start_thread(&threads[i], live, NULL);
    }
    for (int i = 0; i < COUNT; i++) await_syscall(threads[i].tid, calls[i % 5]);

    save_point();

    /* A signal that comes before a thread is back in its call, after whatever stop, is handled without ending that call. */
    for (int i = 0; i < COUNT; i++) await_syscall(threads[i].tid, calls[i % 5]);
    __atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, COUNT, NULL, NULL, 0) >= 0);
    for (int i = 0; i < COUNT; i++)
        if (i % 5 != 4) CHECK_EQ(pthread_kill(threads[i].handle, SIGUSR1), 0);
    for (int i = 0; i < COUNT; i++) join_thread(&threads[i]);
    return ok();
}
