/* A file without a name (O_TMPFILE) is given one after the checkpoint; another must never get one (O_EXCL). */
#include "subject.h"

int main(void) {
    int fd = open(".", O_TMPFILE | O_RDWR, 0644);
    NEEDS(fd >= 0 || errno != EOPNOTSUPP, "a file system with O_TMPFILE");
    CHECK(fd >= 0 && write(fd, "contents", 8) == 8);
    int flags = fcntl(fd, F_GETFL);
    FILE *library = tmpfile();
    CHECK(library != NULL && fputs("a line\n", library) > 0 && fflush(library) == 0);

    save_point();

    CHECK_EQ(fcntl(fd, F_GETFL), flags);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 8);
    CHECK(write(fd, ", more", 6) == 6);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    CHECK(strcmp(slurp("named"), "contents, more") == 0);
    rewind(library);
    char line[16];
    CHECK(fgets(line, sizeof line, library) != NULL && strcmp(line, "a line\n") == 0);
    return ok();
}
