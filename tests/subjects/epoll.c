/*
 * Epolls: ready and not, level and edge, one-shot armed and disarmed, exclusive, nested, with numbers that were closed, doubled
 * and given to others since; one that a thread waits in.
 */
#include "subject.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int new_epoll(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}
static int new_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK);
    CHECK(fd >= 0);
    return fd;
}
static void add(int epoll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}
/* Waits no longer than until `count` have been told; each must be the only one with its data. */
static void expect(int epoll, int count, const uint64_t *data, const uint32_t *events) {
    struct epoll_event told[16];
    CHECK_EQ(epoll_wait(epoll, told, 16, 0), count);
    for (int i = 0; i < count; i++) {
        int found = 0;
        for (int j = 0; j < count; j++)
            if (told[j].data.u64 == data[i]) {
                CHECK_EQ(told[j].events, events[i]);
                found++;
            }
        CHECK_EQ(found, 1);
    }
}
static void expect_one(int epoll, uint64_t data, uint32_t events) { expect(epoll, 1, &data, &events); }
static void expect_none(int epoll) { expect(epoll, 0, NULL, NULL); }
static void signal_eventfd(int fd) {
    uint64_t one = 1;
    CHECK(write(fd, &one, 8) == 8);
}
static void drain(int fd) {
    uint64_t count;
    CHECK(read(fd, &count, 8) == 8);
}

static int waited_epoll, waited_event;
static void wait_forever(struct thread *thread) {
    struct epoll_event told;
    thread->result = epoll_wait(waited_epoll, &told, 1, -1) == 1 ? (long)told.data.u64 : -errno;
}

int main(void) {
    /* level: one ready, one not, with data of 64 bits */
    int level = new_epoll(), ready = new_eventfd(), idle = new_eventfd();
    signal_eventfd(ready);
    add(level, ready, EPOLLIN, 0xfedcba9876543210);
    add(level, idle, EPOLLIN, 2);
    /* edge: one not yet told; one-shot: armed, and disarmed by having told (an eventfd can be written, a pipe's end not be read) */
    int edge = new_epoll(), edged = new_eventfd(), oneshot = new_epoll(), armed = new_eventfd(), disarmed = new_eventfd();
    int ends[2], timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    CHECK(pipe2(ends, O_NONBLOCK) == 0 && timer >= 0);
    add(edge, edged, EPOLLIN | EPOLLET, 3);
    add(oneshot, armed, EPOLLIN | EPOLLONESHOT, 4);
    add(oneshot, disarmed, EPOLLIN | EPOLLONESHOT | EPOLLET, 5);
    add(oneshot, ends[0], EPOLLIN | EPOLLONESHOT, 6);
    signal_eventfd(disarmed);
    CHECK(write(ends[1], "x", 1) == 1);
    expect(oneshot, 2, (uint64_t[]){5, 6}, (uint32_t[]){EPOLLIN, EPOLLIN});
    char c;
    CHECK(read(ends[0], &c, 1) == 1);
    /* exclusive, in two epolls; nested */
    int exclusive = new_epoll(), exclusive_too = new_epoll(), shared = new_eventfd(), outer = new_epoll();
    add(exclusive, shared, EPOLLIN | EPOLLEXCLUSIVE, 7);
    add(exclusive_too, shared, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 8);
    add(outer, level, EPOLLIN, 9);
    add(outer, exclusive, EPOLLIN, 10);
    /* numbers: 900 was closed and its file lives on at 901; 902 leads elsewhere now, and both are watched; 903 and 904 are one */
    int numbers = new_epoll(), lives_on = new_eventfd(), older = new_eventfd(), newer = new_eventfd();
    CHECK(dup2(lives_on, 900) == 900);
    add(numbers, 900, EPOLLIN, 11);
    CHECK(dup2(900, 901) == 901 && close(900) == 0 && close(lives_on) == 0);
    CHECK(dup2(older, 902) == 902);
    add(numbers, 902, EPOLLIN, 12);
    CHECK(dup3(newer, 902, O_CLOEXEC) == 902);
    add(numbers, 902, EPOLLIN, 13);
    CHECK(dup2(newer, 903) == 903 && dup2(newer, 904) == 904);
    add(numbers, 903, EPOLLIN, 14);
    add(numbers, 904, EPOLLIN, 15);
    /* many */
    enum { MANY = 300 };
    int many = new_epoll(), of_many[MANY];
    for (int i = 0; i < MANY; i++) add(many, of_many[i] = new_eventfd(), EPOLLIN, 9000 + i);
    /* waited in */
    waited_epoll = new_epoll(), waited_event = new_eventfd();
    add(waited_epoll, waited_event, EPOLLIN, 16);
    add(waited_epoll, timer, EPOLLIN, 17);
    struct thread waiting = {0};
    start_thread(&waiting, wait_forever, NULL);
    await_syscall(waiting.tid, SYS_epoll_wait);

    save_point();

    expect_one(outer, 9, EPOLLIN);
    expect_one(level, 0xfedcba9876543210, EPOLLIN);
    expect_one(level, 0xfedcba9876543210, EPOLLIN);
    drain(ready);
    expect_none(level);
    expect_none(outer);
    signal_eventfd(idle);
    expect_one(level, 2, EPOLLIN);

    expect_none(edge);
    signal_eventfd(edged);
    expect_one(edge, 3, EPOLLIN);
    expect_none(edge);
    signal_eventfd(edged);
    expect_one(edge, 3, EPOLLIN);

    CHECK(write(ends[1], "y", 1) == 1);
    signal_eventfd(disarmed);
    expect_none(oneshot);
    signal_eventfd(armed);
    expect_one(oneshot, 4, EPOLLIN);
    expect_none(oneshot);
    struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 18};
    CHECK(epoll_ctl(oneshot, EPOLL_CTL_MOD, disarmed, &again) == 0);
    expect_one(oneshot, 18, EPOLLIN);

    signal_eventfd(shared);
    expect_one(exclusive, 7, EPOLLIN);
    expect_one(exclusive_too, 8, EPOLLIN);
    expect_none(exclusive_too);
    struct epoll_event changed = {.events = EPOLLIN};
    CHECK(epoll_ctl(exclusive, EPOLL_CTL_MOD, shared, &changed) == -1 && errno == EINVAL); /* as exclusive ones cannot be */

    expect_none(numbers);
    signal_eventfd(901);
    expect_one(numbers, 11, EPOLLIN);
    drain(901);
    signal_eventfd(older);
    expect_one(numbers, 12, EPOLLIN);
    drain(older);
    signal_eventfd(newer);
    expect(numbers, 3, (uint64_t[]){13, 14, 15}, (uint32_t[]){EPOLLIN, EPOLLIN, EPOLLIN});
    CHECK(epoll_ctl(numbers, EPOLL_CTL_DEL, 904, NULL) == 0 && epoll_ctl(numbers, EPOLL_CTL_DEL, 902, NULL) == 0);
    expect_one(numbers, 14, EPOLLIN);
    CHECK_EQ(fcntl(902, F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(900, F_GETFD) == -1 && errno == EBADF);

    for (int i = 0; i < MANY; i += 7) {
        signal_eventfd(of_many[i]);
        expect_one(many, 9000 + i, EPOLLIN);
        drain(of_many[i]);
    }
    CHECK_EQ(fcntl(many, F_GETFD), FD_CLOEXEC);
    signal_eventfd(waited_event);
    join_thread(&waiting);
    CHECK_EQ(waiting.result, 16);
    return ok();
}
