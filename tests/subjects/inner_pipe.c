/* A pipe from the program to itself, at the moment empty, as xz and many event loops have one to wake themselves. */
#include "subject.h"
#include <poll.h>

int main(void) {
    int ends[2];
    CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);

    save_point();

    char c = 0;
    CHECK(read(ends[0], &c, 1) == -1 && errno == EAGAIN);
    CHECK(write(ends[1], "x", 1) == 1);
    struct pollfd waited = {.fd = ends[0], .events = POLLIN};
    CHECK(poll(&waited, 1, 1000) == 1 && waited.revents == POLLIN);
    CHECK(read(ends[0], &c, 1) == 1 && c == 'x');
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(ends[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
    CHECK(close(ends[1]) == 0);
    CHECK(read(ends[0], &c, 1) == 0);
    return ok();
}
