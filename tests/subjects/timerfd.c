/* Timerfds on every clock: relative, absolute, periodic, not armed; expired and not yet read; to be told of a set clock. */
#include "subject.h"
#include <poll.h>
#include <sys/timerfd.h>

#define SECOND 1000000000l
#define SLACK (SECOND / 2)

static struct timespec time_of(long ns) { return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND}; }
static long ns_of(struct timespec time) { return time.tv_sec * SECOND + time.tv_nsec; }

static int timer(int clock, int flags, int setting, long first_ns, long interval_ns) {
    int fd = timerfd_create(clock, flags);
    if (fd < 0 && errno == EPERM) return -1; /* clocks that wake the machine need CAP_WAKE_ALARM */
    CHECK(fd >= 0);
    struct itimerspec spec = {.it_value = time_of(first_ns), .it_interval = time_of(interval_ns)};
    CHECK(timerfd_settime(fd, setting, &spec, NULL) == 0);
    return fd;
}
static struct itimerspec state(int fd) {
    struct itimerspec spec;
    CHECK(timerfd_gettime(fd, &spec) == 0);
    return spec;
}
static long left(int fd) { return ns_of(state(fd).it_value); }
static long ticks(int fd) {
    uint64_t count = 0;
    CHECK_EQ(read(fd, &count, 8), 8);
    return (long)count;
}
static bool is_readable(int fd) {
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    return poll(&waited, 1, 0) == 1;
}

/* The clocks that wake the machine show the same as those that do not, and need a real-time clock to be read. */
static long clock_ns(int clock) {
    if (clock == CLOCK_REALTIME_ALARM) return now_ns(CLOCK_REALTIME);
    return now_ns(clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock);
}

int main(void) {
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM};
    enum { CLOCKS = sizeof clocks / sizeof clocks[0] };
    int relative[CLOCKS], absolute[CLOCKS];
    long left_before[CLOCKS], deadline[CLOCKS];
    for (int i = 0; i < CLOCKS; i++) {
        relative[i] = timer(clocks[i], 0, 0, 1000 * SECOND + i, 7 * SECOND + i);
        deadline[i] = clock_ns(clocks[i]) + 2000 * SECOND;
        absolute[i] = timer(clocks[i], TFD_CLOEXEC, TFD_TIMER_ABSTIME, deadline[i], 0);
    }
    int idle = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int once = timer(CLOCK_MONOTONIC, TFD_NONBLOCK, 0, 1, 0);
    int often = timer(CLOCK_MONOTONIC, TFD_NONBLOCK, 0, SECOND / 1000, SECOND / 1000);
    int told = timer(CLOCK_REALTIME, 0, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, INT64_MAX, 0);
    int passed = timer(CLOCK_REALTIME, 0, TFD_TIMER_ABSTIME, now_ns(CLOCK_REALTIME) - 10 * SECOND, SECOND);
    long often_from = now_ns(CLOCK_MONOTONIC);
    while (now_ns(CLOCK_MONOTONIC) < often_from + 600 * SECOND / 1000) usleep(1000);
    CHECK(is_readable(once) && is_readable(often) && !is_readable(told));
    for (int i = 0; i < CLOCKS; i++) left_before[i] = relative[i] < 0 ? 0 : left(relative[i]);
    long before = now_ns(CLOCK_MONOTONIC);

    long gap = save_point();

    long ran = now_ns(CLOCK_MONOTONIC) - before - (gap > 0 ? gap : 0);
    for (int i = 0; i < CLOCKS; i++) {
        if (relative[i] < 0) continue;
        long now_left = left(relative[i]);
        CHECK(now_left <= left_before[i]);
        if (gap >= 0) CHECK(now_left >= left_before[i] - ran - SLACK);
        CHECK_EQ(ns_of(state(relative[i]).it_interval), 7 * SECOND + i);
        CHECK(labs(left(absolute[i]) - (deadline[i] - clock_ns(clocks[i]))) < SECOND / 10);
        CHECK_EQ(fcntl(absolute[i], F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(absolute[i], F_GETFL) & O_NONBLOCK, 0);
    }
    uint64_t count;
    CHECK(left(idle) == 0 && read(idle, &count, 8) == -1 && errno == EAGAIN);
    CHECK(left(once) == 0 && ticks(once) == 1 && read(once, &count, 8) == -1 && errno == EAGAIN);
    /* what has run up before the checkpoint is not lost, and no more than the clock allows */
    long counted = ticks(often), most = (now_ns(CLOCK_MONOTONIC) - often_from) * 1000 / SECOND + 1;
    if (counted < 600 || counted > most) FAIL("%ld ticks, at most %ld are possible\n", counted, most);
    struct pollfd waited = {.fd = often, .events = POLLIN};
    CHECK(poll(&waited, 1, 1000) == 1 && ticks(often) >= 1);
    CHECK(!is_readable(told) && left(told) > 1000000000l * SECOND);
    CHECK(is_readable(passed) && ticks(passed) >= 11);
    CHECK(left(passed) <= SECOND && ns_of(state(passed).it_interval) == SECOND);
    return ok();
}
