/* An open directory: reading goes on where it was, and openat() works from it. */
#include "subject.h"
#include <dirent.h>

int main(void) {
    CHECK(mkdir("directory", 0700) == 0 || errno == EEXIST);
    char name[64];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "directory/file-%03d", i);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    static bool seen[300];
    int count = 0;
    int fd = open("directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    /* by the system call with a small buffer: what opendir() reads ahead is memory, not the kernel's state */
    char buffer[512];
    for (int round = 0;; round++) {
        if (round == 4) {
            CHECK(count > 10 && count < 300);
            save_point();
        }
        long bytes = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
        CHECK(bytes >= 0);
        if (bytes == 0) break;
        for (long at = 0; at < bytes;) {
            struct dirent64 *entry = (struct dirent64 *)(buffer + at);
            int index;
            if (sscanf(entry->d_name, "file-%d", &index) == 1) {
                CHECK(!seen[index]);
                seen[index] = true;
                count++;
            }
            at += entry->d_reclen;
        }
    }
    CHECK_EQ(count, 300);
    CHECK(faccessat(fd, "file-007", F_OK, 0) == 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return ok();
}
