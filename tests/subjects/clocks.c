/*
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME go on, neither back nor far ahead, by system call and by the vDSO, in the program and in a
 * child; what waits for a moment of them waits for the same moment: timerfds, POSIX timers, sleeps and futexes.
 */
#include "waits.h"
#include <linux/futex.h>
#include <sys/timerfd.h>

#define FAR_NS 60000000000l
#define LATER_NS 1000000000000l

static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
enum { CLOCKS = sizeof clocks / sizeof clocks[0] };
static long seen[CLOCKS], deadline;
static struct timespec moment(long ns) { return timespec_of(ns); }

static long by_call(int clock) {
    struct timespec now;
    CHECK_EQ(syscall(SYS_clock_gettime, clock, &now), 0);
    return now.tv_sec * 1000000000l + now.tv_nsec;
}

static void look(bool first) {
    for (int i = 0; i < CLOCKS; i++) {
        long now = now_ns(clocks[i]), called = by_call(clocks[i]);
        CHECK(labs(called - now) < 1000000000l);
        if (!first && now < seen[i]) FAIL("clock %d has gone back by %ld ns\n", clocks[i], seen[i] - now);
        if (!first && now > seen[i] + FAR_NS) FAIL("clock %d has jumped ahead by %ld ns\n", clocks[i], now - seen[i]);
        seen[i] = now;
    }
}

static long sleep_until(struct wait *wait) {
    (void)wait;
    struct timespec until = moment(deadline);
    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}
static long futex_until(struct wait *wait) {
    (void)wait;
    static uint32_t word;
    struct timespec until = moment(deadline);
    return outcome(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL, FUTEX_BITSET_MATCH_ANY));
}
static long ends_late(long now) { return now - deadline; }

int main(void) {
    look(true);
    deadline = now_ns(CLOCK_MONOTONIC) + LENGTH_NS;
    static struct wait waits[] = {
        {.name = "clock_nanosleep", .number = SYS_clock_nanosleep, .enter = sleep_until},
        {.name = "futex", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = futex_until},
    };
    int timers[2], posix[2];
    long when[2];
    for (int i = 0; i < 2; i++) {
        when[i] = seen[i] + LATER_NS;
        timers[i] = timerfd_create(clocks[i], 0);
        struct itimerspec setting = {.it_value = moment(when[i])};
        CHECK(timers[i] >= 0 && timerfd_settime(timers[i], TFD_TIMER_ABSTIME, &setting, NULL) == 0);
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        CHECK_EQ(syscall(SYS_timer_create, clocks[i], &event, &posix[i]), 0);
        CHECK_EQ(syscall(SYS_timer_settime, posix[i], TIMER_ABSTIME, &setting, NULL), 0);
    }
    for (int i = 0; i < 2; i++) start_thread(&waits[i].thread, run_wait, &waits[i]);
    for (int i = 0; i < 2; i++) await_syscall(waits[i].thread.tid, waits[i].number);
    int told[2];
    CHECK(pipe(told) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        if (read(told[0], &byte, 1) != 1) _exit(2);
        look(false);
        _exit(0);
    }
    look(false);

    save_point();

    look(false);
    CHECK(write(told[1], "x", 1) == 1);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    for (int i = 0; i < 2; i++) {
        long left = when[i] - now_ns(clocks[i]);
        struct itimerspec setting;
        CHECK(timerfd_gettime(timers[i], &setting) == 0);
        CHECK(labs(setting.it_value.tv_sec * 1000000000l + setting.it_value.tv_nsec - left) < 1000000000l);
        CHECK_EQ(syscall(SYS_timer_gettime, posix[i], &setting), 0);
        long posix_left = setting.it_value.tv_sec * 1000000000l + setting.it_value.tv_nsec;
        CHECK(posix_left > left - 1000000000l && posix_left < left + FAR_NS);
    }
    for (int i = 0; i < 2; i++) {
        join_thread(&waits[i].thread);
        CHECK_EQ(waits[i].returned, waits[i].expected);
        CHECK(ends_late(waits[i].start_ns + waits[i].took_ns) >= 0);
    }
    CHECK(now_ns(CLOCK_MONOTONIC) < deadline + FAR_NS);
    return ok();
}
