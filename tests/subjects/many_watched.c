/*
 * An epoll that watches hundreds of eventfds. Of every four numbers, one leads to what was added under it; one was closed, and
 * the eventfd lives on under another number; one leads to another eventfd by now; one is edge-triggered and was told of.
 */
#include "subject.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { COUNT = 400, AWAY = 3000 };

static void make_room(void) {
    struct rlimit most;
    CHECK(getrlimit(RLIMIT_NOFILE, &most) == 0);
    most.rlim_cur = most.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &most) == 0);
    NEEDS(most.rlim_cur > AWAY + COUNT, "more open files");
}

int main(void) {
    make_room();
    int epoll = epoll_create1(0), at[COUNT];
    struct epoll_event told[8];
    for (int i = 0; i < COUNT; i++) {
        at[i] = eventfd(0, EFD_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN | (i % 4 == 3 ? EPOLLET : 0), .data.u64 = i};
        CHECK(at[i] >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, at[i], &event) == 0);
    }
    uint64_t one = 1;
    for (int i = 0; i < COUNT; i += 4) {
        CHECK(dup2(at[i + 1], AWAY + i + 1) >= 0 && close(at[i + 1]) == 0);
        CHECK(dup2(at[i + 2], AWAY + i + 2) >= 0);
        int other = eventfd(7, EFD_NONBLOCK);
        CHECK(other >= 0 && dup2(other, at[i + 2]) == at[i + 2] && (other == at[i + 1] || close(other) == 0));
        if (other == at[i + 1]) CHECK(close(other) == 0);
        CHECK(write(at[i + 3], &one, 8) == 8 && epoll_wait(epoll, told, 8, 0) == 1 && told[0].data.u64 == (uint64_t)i + 3);
        CHECK(read(at[i + 3], &one, 8) == 8);
    }
    CHECK_EQ(epoll_wait(epoll, told, 8, 0), 0);

    save_point();

    for (int i = 0; i < COUNT; i++) {
        bool is_away = i % 4 == 1 || i % 4 == 2;
        int fd = is_away ? AWAY + i : at[i];
        CHECK(write(fd, &one, 8) == 8);
        CHECK_EQ(epoll_wait(epoll, told, 8, 0), 1);
        CHECK_EQ(told[0].data.u64, i);
        CHECK(read(fd, &one, 8) == 8 && one == 1);
        if (i % 4 == 2) CHECK(read(at[i], &one, 8) == 8 && one == 7);
        one = 1;
    }
    CHECK_EQ(epoll_wait(epoll, told, 8, 0), 0);
    return ok();
}
