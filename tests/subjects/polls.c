/* poll, ppoll, select, pselect with a time limit, on nothing at all and on standard input, in mid-wait. */
#include "waits.h"
#include <poll.h>
#include <sys/select.h>

static long by_poll(struct wait *wait) {
    (void)wait;
    return outcome(syscall(SYS_poll, NULL, 0, LENGTH_NS / 1000000));
}
static long by_poll_of_error_stream(struct wait *wait) {
    (void)wait;
    struct pollfd files[] = {{.fd = -1}, {.fd = 1, .events = POLLPRI}};
    return outcome(syscall(SYS_poll, files, 2, LENGTH_NS / 1000000));
}
static long by_ppoll(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_ppoll, NULL, 0, &length, NULL, 8));
}
static long by_ppoll_with_mask(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    uint64_t mask = 1ul << (SIGUSR1 - 1), before = 0, after = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &before, 8) == 0);
    long result = outcome(syscall(SYS_ppoll, NULL, 0, &length, &mask, 8));
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &after, 8) == 0);
    CHECK_EQ(before, after); /* the mask of the wait is not the mask after it */
    return result;
}
static long by_select(struct wait *wait) {
    (void)wait;
    struct timeval length = {.tv_sec = LENGTH_NS / 1000000000l};
    return outcome(syscall(SYS_select, 0, NULL, NULL, NULL, &length));
}
static long by_pselect(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    uint64_t mask = 1ul << (SIGUSR1 - 1), before = 0, after = 0;
    struct {
        uint64_t *mask;
        size_t bytes;
    } argument = {&mask, 8};
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &before, 8) == 0);
    long result = outcome(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &length, &argument));
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &after, 8) == 0);
    CHECK_EQ(before, after);
    return result;
}

int main(void) {
    static struct wait waits[] = {
        {.name = "poll", .number = SYS_poll, .enter = by_poll},
        {.name = "poll of descriptors", .number = SYS_poll, .enter = by_poll_of_error_stream},
        {.name = "ppoll", .number = SYS_ppoll, .enter = by_ppoll},
        {.name = "ppoll with a mask", .number = SYS_ppoll, .enter = by_ppoll_with_mask},
        {.name = "select", .number = SYS_select, .enter = by_select},
        {.name = "pselect with a mask", .number = SYS_pselect6, .enter = by_pselect},
    };
    enum { COUNT = sizeof waits / sizeof waits[0] };
    start_waits(waits, COUNT);

    long gap_ns = save_point();

    end_waits(waits, COUNT, gap_ns);
    return ok();
}
