/* Files and directories of /proc about a process that has ended: there is nothing to be read from them. */
#include "subject.h"

static int open_about(pid_t pid, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d%s", pid, name);
    int fd = open(path, flags);
    CHECK(fd >= 0);
    return fd;
}

int main(void) {
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int status = open_about(child, "/status", O_RDONLY), stat = open_about(child, "/stat", O_RDONLY | O_CLOEXEC);
    int directory = open_about(child, "", O_RDONLY | O_DIRECTORY), list = open_about(child, "/fd", O_RDONLY | O_DIRECTORY);
    int own = open("/proc/self/status", O_RDONLY);
    char text[64];
    CHECK(own >= 0 && read(stat, text, 10) == 10);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(read(status, text, 1) == -1 && errno == ESRCH);

    save_point();

    CHECK(read(status, text, 1) == -1 && errno == ESRCH);
    CHECK(pread(stat, text, 1, 0) == -1 && errno == ESRCH);
    CHECK_EQ(fcntl(stat, F_GETFD), FD_CLOEXEC);
    CHECK(openat(directory, "status", O_RDONLY) == -1 && (errno == ENOENT || errno == ESRCH));
    CHECK(syscall(SYS_getdents64, list, text, sizeof text) <= 0);
    CHECK(read(own, text, 5) == 5 && memcmp(text, "Name:", 5) == 0);
    return ok();
}
