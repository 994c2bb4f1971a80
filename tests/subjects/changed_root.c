/* A changed root (chroot), and a working directory inside or outside of it, and files opened inside. */
#include "subject.h"

int main(int count, char **arguments) {
    NEEDS(geteuid() == 0, "root, for chroot");
    bool inside = count > 1 && strcmp(arguments[1], "inside") == 0;
    CHECK(mkdir("jail", 0700) == 0 || errno == EEXIST);
    CHECK(mkdir("jail/home", 0700) == 0 || errno == EEXIST);
    int fd = open("jail/home/file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4);
    CHECK(chroot("jail") == 0);
    if (inside) CHECK(chdir("/home") == 0);

    save_point();

    struct stat here, root, opened;
    CHECK(stat("/home/file", &here) == 0 && fstat(fd, &opened) == 0);
    CHECK_EQ(here.st_ino, opened.st_ino);
    char bytes[4] = {0};
    CHECK(read(fd, bytes, 3) == 3 && strcmp(bytes, "456") == 0);
    CHECK(stat("/home", &root) == 0 && stat(inside ? "." : "jail/home", &here) == 0);
    CHECK_EQ(here.st_ino, root.st_ino);
    CHECK(access("/usr", F_OK) == -1 && errno == ENOENT);
    return ok();
}
