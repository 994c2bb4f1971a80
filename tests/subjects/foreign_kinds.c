/* For the refusals: descriptors 10 to 15 are of kinds that are not saved in this version. Untouched, they all still work. */
#include "subject.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static void at(int fd, int number) {
    CHECK(fd >= 0 && dup2(fd, number) == number);
    close(fd);
}

int main(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    at(ends[0], 10);
    at(ends[1], 11);
    at(eventfd(5, 0), 12);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    at(ends[0], 13);
    at(ends[1], 14);
    at(epoll_create1(0), 15);
    CHECK(write(11, "in the pipe", 11) == 11);

    save_point();

    char bytes[32] = {0};
    uint64_t count = 0;
    CHECK(read(10, bytes, sizeof bytes) == 11 && strcmp(bytes, "in the pipe") == 0);
    CHECK(read(12, &count, 8) == 8 && count == 5);
    CHECK(write(13, "hello", 5) == 5 && read(14, bytes, sizeof bytes) == 5);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(15, EPOLL_CTL_ADD, 10, &event) == 0);
    return ok();
}
