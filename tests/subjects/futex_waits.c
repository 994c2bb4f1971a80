/* futex waits with a time limit: relative (FUTEX_WAIT), absolute (FUTEX_WAIT_BITSET, LOCK_PI), shared and private. */
#include "waits.h"
#include <linux/futex.h>

static uint32_t words[8];

static long relative(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_futex, &words[0], FUTEX_WAIT_PRIVATE, 0, &length, NULL, 0));
}
static long relative_shared(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_futex, &words[1], FUTEX_WAIT, 0, &length, NULL, 0));
}
static long absolute(struct wait *wait) {
    struct timespec deadline = timespec_of(wait->start_ns + LENGTH_NS);
    return outcome(syscall(SYS_futex, &words[2], FUTEX_WAIT_BITSET_PRIVATE, 0, &deadline, NULL, -1));
}
static long absolute_realtime(struct wait *wait) {
    (void)wait;
    struct timespec deadline = timespec_of(now_ns(CLOCK_REALTIME) + LENGTH_NS);
    return outcome(syscall(SYS_futex, &words[3], FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &deadline, NULL, -1));
}
static long lock_pi(struct wait *wait) {
    (void)wait;
    struct timespec deadline = timespec_of(now_ns(CLOCK_REALTIME) + LENGTH_NS);
    return outcome(syscall(SYS_futex, &words[4], FUTEX_LOCK_PI_PRIVATE, 0, &deadline, NULL, 0));
}

int main(void) {
    words[4] = gettid(); /* owned by the main thread, which will not let go */
    static struct wait waits[] = {
        {.name = "FUTEX_WAIT", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = relative},
        {.name = "FUTEX_WAIT (shared)", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = relative_shared},
        {.name = "FUTEX_WAIT_BITSET", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = absolute},
        {.name = "FUTEX_WAIT_BITSET (realtime)", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = absolute_realtime},
        {.name = "FUTEX_LOCK_PI", .number = SYS_futex, .expected = -ETIMEDOUT, .enter = lock_pi},
    };
    enum { COUNT = sizeof waits / sizeof waits[0] };
    start_waits(waits, COUNT);

    long gap_ns = save_point();

    end_waits(waits, COUNT, gap_ns);
    return ok();
}
