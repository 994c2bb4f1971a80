/* Operations that are in flight in a ring: a poll, a read, an accept and a timeout, each begun again. */
#include "uring.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

int main(void) {
    ring r = ring_of(16, 0);
    spin(&r, 100);
    int polled[2], empty = eventfd(0, 0), listening = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    CHECK(pipe(polled) == 0 && empty >= 0 && listening >= 0);
    int yes = 1; /* the kernel lets go of a killed program's socket when it has taken down its ring */
    CHECK(setsockopt(listening, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
    CHECK(bind(listening, (void *)&address, length) == 0 && listen(listening, 5) == 0);
    CHECK(getsockname(listening, (void *)&address, &length) == 0);
    static uint64_t value;
    static struct __kernel_timespec hour = {.tv_sec = 3600}, soon = {.tv_nsec = 300000000};

    struct io_uring_sqe *sqe = next(&r, IORING_OP_POLL_ADD, 1001);
    sqe->fd = polled[0], sqe->poll32_events = POLLIN;
    sqe = next(&r, IORING_OP_READ, 1002);
    sqe->fd = empty, sqe->addr = (uintptr_t)&value, sqe->len = 8;
    next(&r, IORING_OP_NOP, 1000);
    sqe = next(&r, IORING_OP_ACCEPT, 1003);
    sqe->fd = listening;
    sqe = next(&r, IORING_OP_TIMEOUT, 1004);
    sqe->addr = (uintptr_t)&hour, sqe->len = 1;
    sqe = next(&r, IORING_OP_TIMEOUT, 1005);
    sqe->addr = (uintptr_t)&soon, sqe->len = 1;
    submit(&r, 6);
    CHECK_EQ(take(&r).user_data, 1000);

    save_point();

    completion cqe = take(&r);
    CHECK(cqe.user_data == 1005 && cqe.res == -ETIME);
    CHECK_EQ(untaken(&r), 0);
    CHECK(write(polled[1], "x", 1) == 1);
    cqe = take(&r);
    CHECK(cqe.user_data == 1001 && cqe.res == POLLIN);
    uint64_t seven = 7;
    CHECK(write(empty, &seven, 8) == 8);
    cqe = take(&r);
    CHECK(cqe.user_data == 1002 && cqe.res == 8 && value == 7);
    int connecting = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(connecting, (void *)&address, sizeof address) == 0);
    cqe = take(&r);
    CHECK(cqe.user_data == 1003 && cqe.res >= 0);
    CHECK(write(connecting, "hi", 2) == 2 && read(cqe.res, &seven, 8) == 2);
    sqe = next(&r, IORING_OP_TIMEOUT_REMOVE, 1006);
    sqe->addr = 1004;
    submit(&r, 1);
    unsigned seen = 0;
    for (int n = 0; n < 2; n++) {
        cqe = take(&r);
        CHECK((cqe.user_data == 1006 && cqe.res == 0) || (cqe.user_data == 1004 && cqe.res == -ECANCELED));
        seen |= 1u << (cqe.user_data - 1000);
    }
    CHECK_EQ(seen, 1u << 6 | 1u << 4);
    spin(&r, 100);
    return ok();
}
