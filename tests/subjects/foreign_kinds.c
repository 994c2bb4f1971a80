/* For the refusals: descriptors 12 and 15 are of kinds that are not saved in this version. Untouched, all of them work. */
#include "subject.h"
#include <linux/userfaultfd.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void at(int fd, int number) {
    CHECK(fd >= 0 && dup2(fd, number) == number);
    close(fd);
}

int main(void) {
    int ends[2];
    CHECK(mkfifo("fifo", 0600) == 0);
    at(open("fifo", O_RDWR), 10);
    int faults = syscall(SYS_userfaultfd, O_NONBLOCK | UFFD_USER_MODE_ONLY);
    NEEDS(faults >= 0, "userfaultfd");
    at(faults, 12);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    at(ends[0], 13);
    at(ends[1], 14);
    int watch = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, 0);
    NEEDS(watch >= 0, "fanotify");
    at(watch, 15);
    CHECK(write(10, "in the fifo", 11) == 11);

    save_point();

    char bytes[32] = {0};
    CHECK(read(10, bytes, sizeof bytes) == 11 && strcmp(bytes, "in the fifo") == 0);
    struct uffdio_api api = {.api = UFFD_API};
    CHECK(ioctl(12, UFFDIO_API, &api) == 0);
    CHECK(write(13, "hello", 5) == 5 && read(14, bytes, sizeof bytes) == 5);
    CHECK(read(15, bytes, sizeof bytes) == -1 && errno == EAGAIN);
    return ok();
}
