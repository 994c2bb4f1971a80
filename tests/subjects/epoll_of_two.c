/*
 * An epoll that a process and its child have in common, with entries that the child has added, under numbers that lead
 * nowhere or elsewhere in the parent; and what a number led to before the fork.
 */
#include "subject.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void add(int epoll, int fd, uint64_t data) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}
static void expect_one(int epoll, uint64_t data) {
    struct epoll_event told[4];
    CHECK_EQ(epoll_wait(epoll, told, 4, 1000), 1);
    CHECK_EQ(told[0].data.u64, data);
}
static void place(int fd, int number) { CHECK(fd >= 0 && dup2(fd, number) == number && close(fd) == 0); }
static void send_byte(int fd, char byte) { CHECK(write(fd, &byte, 1) == 1); }
static char receive_byte(int fd) {
    char byte = 0;
    CHECK(read(fd, &byte, 1) == 1);
    return byte;
}

int main(void) {
    int commands[2], answers[2], epoll = epoll_create1(0);
    CHECK(pipe(commands) == 0 && pipe(answers) == 0 && epoll >= 0);
    place(eventfd(0, EFD_NONBLOCK), 60);
    add(epoll, 60, 1);
    pid_t child = fork();
    CHECK(child >= 0);
    uint64_t count = 1;
    if (child == 0) {
        place(eventfd(0, EFD_NONBLOCK), 61);
        place(eventfd(0, EFD_NONBLOCK), 62);
        add(epoll, 61, 2);
        add(epoll, 62, 3);
        send_byte(answers[1], 'r');
        for (;;) {
            char number = receive_byte(commands[0]);
            if (number == 'q') _exit(0);
            /* signals one, or takes the signal back */
            if (number < 100 && number > 0) CHECK(write(number, &count, 8) == 8);
            else CHECK(read(-number, &count, 8) == 8 && count == 1);
            send_byte(answers[1], 'd');
        }
    }
    CHECK(receive_byte(answers[0]) == 'r');
    /* the parent's own 60 is another one by now, which nobody watches; its 62 is a file of its own */
    place(eventfd(0, EFD_NONBLOCK), 60);
    place(open("/dev/null", O_RDWR | O_CLOEXEC), 62);
    CHECK(fcntl(62, F_SETFD, FD_CLOEXEC) == 0);

    save_point();

    struct epoll_event told;
    CHECK_EQ(epoll_wait(epoll, &told, 1, 0), 0);
    CHECK(write(60, &count, 8) == 8 && epoll_wait(epoll, &told, 1, 0) == 0);
    for (int number = 60; number <= 62; number++) {
        send_byte(commands[1], (char)number);
        CHECK(receive_byte(answers[0]) == 'd');
        expect_one(epoll, number - 59);
        send_byte(commands[1], (char)-number);
        CHECK(receive_byte(answers[0]) == 'd');
        CHECK_EQ(epoll_wait(epoll, &told, 1, 0), 0);
    }
    CHECK(fcntl(61, F_GETFD) == -1 && errno == EBADF);
    CHECK(fcntl(62, F_GETFD) == FD_CLOEXEC && write(62, "x", 1) == 1);
    send_byte(commands[1], 'q');
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return ok();
}
