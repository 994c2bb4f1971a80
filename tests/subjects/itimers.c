/* The three interval timers, and alarm(2): what was left of them, their periods, and the signals that they send. */
#include "subject.h"
#include <sys/time.h>

static volatile sig_atomic_t calls[65];
static void on_signal(int signal) { calls[signal]++; }

static void set(int which, long first_us, long period_us) {
    struct itimerval value = {{period_us / 1000000, period_us % 1000000}, {first_us / 1000000, first_us % 1000000}};
    CHECK(setitimer(which, &value, NULL) == 0);
}
static struct itimerval get(int which) {
    struct itimerval value;
    CHECK(getitimer(which, &value) == 0);
    return value;
}
static long left_us(int which) { return get(which).it_value.tv_sec * 1000000 + get(which).it_value.tv_usec; }

int main(void) {
    signal(SIGALRM, on_signal);
    signal(SIGVTALRM, on_signal);
    signal(SIGPROF, on_signal);
    set(ITIMER_REAL, 3000000, 0); /* as alarm(3) does */
    set(ITIMER_VIRTUAL, 300000000, 7000000);
    set(ITIMER_PROF, 400000000, 5000001);
    long began = now_ns(CLOCK_MONOTONIC);

    long gap = save_point();

    long real = left_us(ITIMER_REAL), virtual = left_us(ITIMER_VIRTUAL), profiling = left_us(ITIMER_PROF);
    if (calls[SIGALRM] == 0) CHECK(real > 0 && real <= 3000000);
    CHECK(virtual > 290000000 && virtual <= 300100000);
    CHECK(profiling > 390000000 && profiling <= 400100000);
    CHECK_EQ(get(ITIMER_VIRTUAL).it_interval.tv_sec, 7);
    CHECK_EQ(get(ITIMER_PROF).it_interval.tv_sec, 5);
    CHECK_EQ(calls[SIGVTALRM] + calls[SIGPROF], 0);
    while (calls[SIGALRM] == 0) usleep(1000);
    long took = now_ns(CLOCK_MONOTONIC) - began;
    CHECK(took >= 2990000000);
    if (gap >= 0 && took - gap > 4500000000) FAIL("the alarm came after %ld ms, of which %ld frozen\n", took / 1000000, gap / 1000000);
    CHECK_EQ(left_us(ITIMER_REAL), 0);
    /* both count on, and still tell */
    set(ITIMER_VIRTUAL, 20000, 0);
    set(ITIMER_PROF, 20000, 0);
    while (calls[SIGVTALRM] == 0 || calls[SIGPROF] == 0);
    return ok();
}
