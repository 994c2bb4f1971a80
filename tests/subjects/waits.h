/*
 * Subjects about system calls that wait for a while. Each wait runs in a thread of its own, is about halfway through when the
 * save point comes, and must then
 *   - return what it would have returned, never EINTR;
 *   - not end early: LENGTH_NS by the clock, at least;
 *   - not start over: what it took, less the time the program did not exist (the harness tells), is LENGTH_NS and some slack.
 */
#ifndef WAITS_H
#define WAITS_H
#include "subject.h"

#define LENGTH_NS 3000000000l
#define HALFWAY_NS 1500000000l
#define SLACK_NS 1200000000l /* a full restart would take 1.5 s more than allowed */

struct wait {
    const char *name;
    long number;                       /* of the system call, to see that the thread is in it */
    long expected;                     /* what it returns: 0, or -errno */
    long (*enter)(struct wait *wait);  /* returns 0 or more, or -errno */
    long start_ns, took_ns, returned;
    struct thread thread;
};

UNUSED static struct timespec timespec_of(long ns) {
    return (struct timespec){.tv_sec = ns / 1000000000l, .tv_nsec = ns % 1000000000l};
}
UNUSED static long outcome(long result) { return result < 0 ? -errno : result; }

static void run_wait(struct thread *thread) {
    struct wait *wait = thread->argument;
    wait->start_ns = now_ns(CLOCK_MONOTONIC);
    wait->returned = wait->enter(wait);
    wait->took_ns = now_ns(CLOCK_MONOTONIC) - wait->start_ns;
}

/* Time has to pass before the save point: there is nothing to see of a start-over otherwise. */
UNUSED static void start_waits(struct wait *waits, int count) {
    for (int i = 0; i < count; i++) start_thread(&waits[i].thread, run_wait, &waits[i]);
    for (int i = 0; i < count; i++) await_syscall(waits[i].thread.tid, waits[i].number);
    struct timespec half = timespec_of(HALFWAY_NS);
    CHECK(nanosleep(&half, NULL) == 0);
}

UNUSED static void end_waits(struct wait *waits, int count, long gap_ns) {
    for (int i = 0; i < count; i++) {
        join_thread(&waits[i].thread);
        if (waits[i].returned != waits[i].expected)
            FAIL("%s returned %ld, not %ld\n", waits[i].name, waits[i].returned, waits[i].expected);
        long took = waits[i].took_ns / 1000000, gap = gap_ns / 1000000;
        if (waits[i].took_ns < LENGTH_NS - 20000000) FAIL("%s took only %ld ms of 3000\n", waits[i].name, took);
        if (gap_ns >= 0 && waits[i].took_ns - gap_ns > LENGTH_NS + SLACK_NS)
            FAIL("%s took %ld ms, of which %ld frozen: it was to take 3000\n", waits[i].name, took, gap);
    }
}
#endif
