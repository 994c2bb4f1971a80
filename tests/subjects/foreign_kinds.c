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
    CHECK(mkfifo("fifo", 0600) == 0);
    at(open("fifo", O_RDWR), 10);
    at(timerfd_create(CLOCK_MONOTONIC, 0), 11);
    at(eventfd(5, 0), 12);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    at(ends[0], 13);
    at(ends[1], 14);
    at(epoll_create1(0), 15);
    CHECK(write(10, "in the fifo", 11) == 11);
    struct itimerspec left;

    save_point();

    char bytes[32] = {0};
    uint64_t count = 0;
    CHECK(read(10, bytes, sizeof bytes) == 11 && strcmp(bytes, "in the fifo") == 0);
    CHECK(timerfd_gettime(11, &left) == 0 && left.it_value.tv_sec == 0);
    CHECK(read(12, &count, 8) == 8 && count == 5);
    CHECK(write(13, "hello", 5) == 5 && read(14, bytes, sizeof bytes) == 5);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(15, EPOLL_CTL_ADD, 10, &event) == 0);
    return ok();
}
