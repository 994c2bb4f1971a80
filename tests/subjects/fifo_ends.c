/* FIFOs of which one end is left: that nobody has ever written to, or whose reader is gone; by name and deleted. */
#include "subject.h"
#include <poll.h>

static int reader(const char *name) {
    CHECK(mkfifo(name, 0600) == 0);
    int fd = open(name, O_RDONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    return fd;
}

static int writer(const char *name) {
    int of_it = reader(name), fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "lost", 4) == 4 && close(of_it) == 0);
    return fd;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int named = reader("named"), deleted = reader("deleted");
    int left = writer("left"), left_deleted = writer("left_deleted");
    CHECK(unlink("deleted") == 0 && unlink("left_deleted") == 0);

    save_point();

    char bytes[8];
    CHECK(read(named, bytes, 8) == 0 && read(deleted, bytes, 8) == 0);
    int late = open("named", O_WRONLY | O_NONBLOCK);
    CHECK(late >= 0 && write(late, "late", 4) == 4 && read(named, bytes, 8) == 4);
    CHECK(write(left, "x", 1) == -1 && errno == EPIPE);
    CHECK(write(left_deleted, "x", 1) == -1 && errno == EPIPE);
    CHECK_EQ(fcntl(left, F_GETFD), FD_CLOEXEC);
    struct stat stat;
    CHECK(fstat(deleted, &stat) == 0 && stat.st_nlink == 0);
    return ok();
}
