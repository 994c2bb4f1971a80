/* Open files: offset, access mode, append, flags, close-on-exec, high numbers, offsets beyond 4 GiB and beyond the end. */
#include "subject.h"

static int open_at(const char *name, int flags, int number, off_t offset) {
    int fd = open(name, flags, 0640);
    if (fd < 0 && errno == EINVAL) fd = open(name, flags & ~O_DIRECT, 0640); /* a file system without O_DIRECT */
    CHECK(fd >= 0);
    if (number >= 0) {
        CHECK(dup3(fd, number, flags & O_CLOEXEC) == number);
        close(fd);
        fd = number;
    }
    CHECK(lseek(fd, offset, SEEK_SET) == offset);
    return fd;
}

static const struct {
    int flags, number;
    off_t offset;
} table[] = {
    {O_RDWR, -1, 3},
    {O_RDONLY, -1, 7},
    {O_WRONLY, 100, 9},
    {O_RDWR | O_APPEND, 101, 5},
    {O_RDWR | O_CLOEXEC, 900, 10},
    {O_RDONLY | O_NONBLOCK | O_NOATIME, -1, 0},
    {O_RDWR | O_SYNC, 102, 8000000000},
    {O_RDWR | O_DSYNC | O_CLOEXEC, 103, 4096},
    {O_WRONLY | O_APPEND | O_NONBLOCK, -1, 0},
    {O_RDONLY | O_DIRECT, 104, 512},
};
enum { COUNT = sizeof table / sizeof table[0] };

int main(void) {
    int made = open("offsets.data", O_RDWR | O_CREAT | O_TRUNC, 0640);
    CHECK(made >= 0 && write(made, "the quick brown fox", 19) == 19);
    CHECK(close(made) == 0);
    int fds[COUNT], flags[COUNT], owned[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = open_at("offsets.data", table[i].flags, table[i].number, table[i].offset);
        flags[i] = fcntl(fds[i], F_GETFL);
        owned[i] = fcntl(fds[i], F_GETFD);
    }

    save_point();

    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(fcntl(fds[i], F_GETFL), flags[i]);
        CHECK_EQ(fcntl(fds[i], F_GETFD), owned[i]);
        CHECK_EQ(lseek(fds[i], 0, SEEK_CUR), table[i].offset);
    }
    char bytes[32] = {0};
    CHECK(read(fds[0], bytes, 6) == 6 && strcmp(bytes, " quick") == 0);
    CHECK(write(fds[2], " ", 1) == 1);
    CHECK(read(fds[2], bytes, 1) == -1 && errno == EBADF);
    CHECK(write(fds[1], "x", 1) == -1 && errno == EBADF);
    CHECK(write(fds[3], " jumps", 6) == 6);
    CHECK_EQ(lseek(fds[3], 0, SEEK_CUR), 25);
    CHECK(read(fds[6], bytes, 1) == 0);
    int next = open("/dev/null", O_RDONLY);
    CHECK(next < 20); /* the lowest free number, as ever */
    return ok();
}
