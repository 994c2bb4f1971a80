/* Rings of io_uring that are idle: used before and never, with completions not taken and submissions not submitted, with files,
   buffers and an eventfd registered, and of the kinds named by the argument. */
#include "uring.h"

static unsigned flags_of(const char *kind) {
    if (!strcmp(kind, "plain")) return 0;
    if (!strcmp(kind, "sqpoll")) return IORING_SETUP_SQPOLL;
    if (!strcmp(kind, "single")) return 1u << 12;
    if (!strcmp(kind, "deferred")) return 1u << 12 | 1u << 13;
    if (!strcmp(kind, "unindexed")) return 1u << 16;
    FAIL("no kind of ring is called %s", kind);
}

int main(int count, char **arguments) {
    unsigned flags = flags_of(count > 1 ? arguments[1] : "plain");
    bool polled = flags & IORING_SETUP_SQPOLL;
    ring used = ring_of(8, flags), fresh = ring_of(4, flags & ~(unsigned)IORING_SETUP_SQPOLL);
    spin(&used, 1234);

    int event = eventfd(0, EFD_NONBLOCK), file = memfd_create("a registered file", 0);
    CHECK(event >= 0 && file >= 0);
    static char buffer[2 * PAGE] __attribute__((aligned(4096)));
    struct iovec buffers[2] = {{.iov_base = buffer, .iov_len = sizeof buffer}, {0}};
    int files[4] = {-1, event, -1, file};
    CHECK_EQ(io_uring_register(used.fd, IORING_REGISTER_BUFFERS, buffers, 1), 0);
    CHECK_EQ(io_uring_register(used.fd, IORING_REGISTER_FILES, files, 4), 0);
    CHECK_EQ(io_uring_register(used.fd, IORING_REGISTER_EVENTFD, &event, 1), 0);
    for (unsigned n = 0; n < 3; n++) next(&used, IORING_OP_NOP, 100 + n)->flags = n == 1 ? IOSQE_IO_HARDLINK : 0;
    submit(&used, 3);
    while (untaken(&used) < 3) CHECK(io_uring_enter(used.fd, 0, 3, IORING_ENTER_GETEVENTS) >= 0);
    uint64_t told = 0;
    CHECK(read(event, &told, 8) == 8 && told >= 1);
    if (!polled) { /* that thread would take it at once */
        next(&used, IORING_OP_NOP, 200);
        queue(&used);
    }

    save_point();

    for (unsigned n = 0; n < 3; n++) {
        completion cqe = take(&used);
        CHECK(cqe.user_data == 100 + n && cqe.res == 0 && cqe.flags == 0);
    }
    CHECK(read(event, &told, 8) == -1 && errno == EAGAIN);
    if (!polled) {
        CHECK_EQ(io_uring_enter(used.fd, 1, 0, 0), 1);
        CHECK_EQ(take(&used).user_data, 200);
        CHECK(read(event, &told, 8) == 8 && told == 1);
    }
    CHECK_EQ(untaken(&used), 0);
    strcpy(buffer, "through a registered file from a registered buffer");
    struct io_uring_sqe *sqe = next(&used, IORING_OP_WRITE_FIXED, 300);
    sqe->fd = 3, sqe->flags = IOSQE_FIXED_FILE, sqe->addr = (uintptr_t)buffer, sqe->len = strlen(buffer);
    submit(&used, 1);
    completion cqe = take(&used);
    CHECK(cqe.user_data == 300 && cqe.res == (int)strlen(buffer));
    char got[100] = {0};
    CHECK(pread(file, got, sizeof got, 0) == cqe.res && !strcmp(got, buffer));
    CHECK(io_uring_register(used.fd, IORING_REGISTER_FILES, files, 4) == -1 && errno == EBUSY);
    spin(&used, 50);
    spin(&fresh, 50);
    return ok();
}
