/* A block device, opened by a device file of the program's own: the offset is kept. */
#include "subject.h"
#include <dirent.h>
#include <sys/sysmacros.h>

static int open_some(void) {
    DIR *list = opendir("/sys/block");
    char path[300], name[32];
    int made = 0;
    for (struct dirent *entry; list && (entry = readdir(list));) {
        snprintf(path, sizeof path, "/sys/block/%s/dev", entry->d_name);
        unsigned major, minor;
        if (entry->d_name[0] == '.' || sscanf(slurp(path), "%u:%u", &major, &minor) != 2) continue;
        snprintf(name, sizeof name, "disk-%d", made++);
        if (mknod(name, S_IFBLK | 0600, makedev(major, minor)) != 0) continue;
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) return closedir(list), fd;
    }
    if (list) closedir(list);
    return -1;
}

int main(void) {
    int fd = open_some();
    NEEDS(fd >= 0, "a block device, and the right to open it");
    struct stat before, stat;
    CHECK(fstat(fd, &before) == 0);
    bool has_contents = lseek(fd, 4096, SEEK_SET) == 4096; /* a loop device that leads nowhere has none */

    save_point();

    CHECK(fstat(fd, &stat) == 0 && S_ISBLK(stat.st_mode) && stat.st_rdev == before.st_rdev);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), has_contents ? 4096 : 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    return ok();
}
