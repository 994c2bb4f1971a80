/* Character devices without state of their own: null, zero, full, urandom, random. */
#include "subject.h"

int main(void) {
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int full = open("/dev/full", O_WRONLY), random = open("/dev/urandom", O_RDONLY);
    CHECK(null >= 0 && zero >= 0 && full >= 0 && random >= 0);
    CHECK(dup2(null, 60) == 60);

    save_point();

    char bytes[64];
    CHECK(write(null, "x", 1) == 1 && read(null, bytes, 1) == 0 && write(60, "x", 1) == 1);
    memset(bytes, 1, sizeof bytes);
    CHECK(read(zero, bytes, sizeof bytes) == sizeof bytes);
    check_zero(bytes, sizeof bytes);
    CHECK(write(full, "x", 1) == -1 && errno == ENOSPC);
    CHECK(read(random, bytes, sizeof bytes) == sizeof bytes);
    CHECK(memcmp(bytes, bytes + 32, 32) != 0);
    CHECK_EQ(fcntl(zero, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(null, F_GETFL) & O_ACCMODE, O_RDWR);
    return ok();
}
