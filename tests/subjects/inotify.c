/* An inotify instance: directories, files, a symbolic link itself; numbers with gaps; a watch for one event only. */
#include "subject.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static char events[4096];

static int watch(int fd, const char *path, uint32_t mask) {
    int wd = inotify_add_watch(fd, path, mask);
    CHECK(wd > 0);
    return wd;
}
static void expect(int fd, int wd, uint32_t mask, const char *name) {
    static long at, length;
    if (at == length) {
        at = 0;
        length = read(fd, events, sizeof events);
        CHECK(length > 0);
    }
    struct inotify_event *event = (struct inotify_event *)(events + at);
    CHECK_EQ(event->wd, wd);
    CHECK_EQ(event->mask, mask);
    CHECK(strcmp(event->len == 0 ? "" : event->name, name) == 0);
    at += sizeof *event + event->len;
}
static void touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

int main(void) {
    CHECK(mkdir("a directory", 0700) == 0 && symlink("watched-file", "link") == 0);
    touch("watched-file");
    touch("once");
    touch("passing");
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    CHECK(fd >= 0);
    int passing = watch(fd, "passing", IN_MODIFY);
    int directory = watch(fd, "a directory", IN_CREATE | IN_DELETE | IN_EXCL_UNLINK);
    for (int i = 0; i < 300; i++) {
        CHECK(inotify_rm_watch(fd, passing) == 0);
        passing = watch(fd, "passing", IN_MODIFY);
    }
    int file = watch(fd, "watched-file", IN_MODIFY);
    CHECK(inotify_rm_watch(fd, passing) == 0);
    int once = watch(fd, "once", IN_MODIFY | IN_ONESHOT);
    int link = watch(fd, "link", IN_ATTRIB | IN_DONT_FOLLOW);
    CHECK(file > 300 && link > once && once > file);
    while (read(fd, events, sizeof events) > 0) continue;

    save_point();

    CHECK(read(fd, events, sizeof events) == -1 && errno == EAGAIN);
    touch("a directory/new");
    expect(fd, directory, IN_CREATE, "new");
    CHECK(unlink("a directory/new") == 0);
    expect(fd, directory, IN_DELETE, "new");
    touch("watched-file");
    expect(fd, file, IN_MODIFY, "");
    touch("once");
    expect(fd, once, IN_MODIFY, "");
    expect(fd, once, IN_IGNORED, "");
    touch("once");
    CHECK(lchown("link", getuid(), getgid()) == 0);
    expect(fd, link, IN_ATTRIB, "");
    CHECK(read(fd, events, sizeof events) == -1 && errno == EAGAIN);
    CHECK(watch(fd, "passing", IN_MODIFY) > link);
    CHECK(watch(fd, "watched-file", IN_MODIFY | IN_ATTRIB) == file);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return ok();
}
