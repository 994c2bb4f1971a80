/* The working directory has been deleted, and so has one that is open: nothing is in them, and nothing can be made in them. */
#include "subject.h"
#include <dirent.h>

int main(void) {
    CHECK(mkdir("working", 0750) == 0 && mkdir("working/open", 0700) == 0);
    int fd = open("working/open", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && chdir("working") == 0);
    CHECK(rmdir("open") == 0 && rmdir("../working") == 0);

    save_point();

    char path[PAGE];
    CHECK(getcwd(path, sizeof path) == NULL && errno == ENOENT);
    struct stat stat;
    CHECK(fstatat(AT_FDCWD, ".", &stat, 0) == 0);
    CHECK_EQ(stat.st_nlink, 0);
    CHECK_EQ(stat.st_mode, S_IFDIR | 0750);
    CHECK(open("new", O_WRONLY | O_CREAT, 0600) == -1 && errno == ENOENT);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK(openat(fd, "new", O_WRONLY | O_CREAT, 0600) == -1 && errno == ENOENT);
    DIR *listing = fdopendir(fd);
    CHECK(listing != NULL && readdir(listing) == NULL);
    return ok();
}
