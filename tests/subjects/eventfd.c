/* Eventfds: counters small and as large as they get, semaphores, flags, one under two numbers. */
#include "subject.h"
#include <poll.h>
#include <sys/eventfd.h>

static uint64_t taken(int fd) {
    uint64_t value = 0;
    CHECK_EQ(read(fd, &value, 8), 8);
    return value;
}

int main(void) {
    int empty = eventfd(0, EFD_NONBLOCK), five = eventfd(5, EFD_CLOEXEC), large = eventfd(0, 0);
    int semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK), full = eventfd(0, EFD_NONBLOCK);
    CHECK(empty >= 0 && five >= 0 && large >= 0 && semaphore >= 0 && full >= 0);
    uint64_t beyond_32_bits = 0x123456789abcdef0, most = UINT64_MAX - 1, one = 1;
    CHECK(write(large, &beyond_32_bits, 8) == 8);
    CHECK(write(full, &most, 8) == 8);
    CHECK(dup2(semaphore, 70) == 70);

    save_point();

    uint64_t value;
    CHECK(read(empty, &value, 8) == -1 && errno == EAGAIN);
    CHECK(write(empty, &one, 8) == 8 && taken(empty) == 1);
    CHECK_EQ(taken(five), 5);
    CHECK_EQ(fcntl(five, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(five, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(taken(large), beyond_32_bits);
    CHECK(taken(semaphore) == 1 && taken(70) == 1 && taken(semaphore) == 1);
    CHECK(read(70, &value, 8) == -1 && errno == EAGAIN);
    CHECK(write(full, &one, 8) == -1 && errno == EAGAIN);
    struct pollfd waited = {.fd = full, .events = POLLIN | POLLOUT};
    CHECK(poll(&waited, 1, 0) == 1 && waited.revents == POLLIN);
    CHECK(taken(full) == most);
    return ok();
}
