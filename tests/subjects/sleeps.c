/* nanosleep and clock_nanosleep, relative and absolute, in mid-sleep. */
#include "waits.h"

static long relative(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    long result = outcome(syscall(SYS_nanosleep, &length, NULL));
    CHECK_EQ(length.tv_sec, LENGTH_NS / 1000000000l); /* the request is the program's: nobody wrote to it */
    CHECK_EQ(length.tv_nsec, LENGTH_NS % 1000000000l);
    return result;
}
/* What is left is written whenever the sleep is interrupted, also when the kernel itself takes it up again. */
static long with_remainder(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS), remainder;
    return outcome(syscall(SYS_nanosleep, &length, &remainder));
}
static long monotonic(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &length, NULL));
}
static long realtime(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &length, NULL));
}
static long boottime(struct wait *wait) {
    (void)wait;
    struct timespec length = timespec_of(LENGTH_NS);
    return outcome(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &length, NULL));
}
static long until(struct wait *wait) {
    struct timespec deadline = timespec_of(wait->start_ns + LENGTH_NS);
    return outcome(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL));
}

int main(void) {
    static struct wait waits[] = {
        {.name = "nanosleep", .number = SYS_nanosleep, .enter = relative},
        {.name = "nanosleep with a remainder", .number = SYS_nanosleep, .enter = with_remainder},
        {.name = "clock_nanosleep (monotonic)", .number = SYS_clock_nanosleep, .enter = monotonic},
        {.name = "clock_nanosleep (realtime)", .number = SYS_clock_nanosleep, .enter = realtime},
        {.name = "clock_nanosleep (boottime)", .number = SYS_clock_nanosleep, .enter = boottime},
        {.name = "clock_nanosleep (absolute)", .number = SYS_clock_nanosleep, .enter = until},
    };
    enum { COUNT = sizeof waits / sizeof waits[0] };
    start_waits(waits, COUNT);

    long gap_ns = save_point();

    end_waits(waits, COUNT, gap_ns);
    return ok();
}
