/* Descriptors of places alone (O_PATH): of a file, a directory, a symbolic link, a FIFO, a device, a deleted file. */
#include "subject.h"

int main(void) {
    CHECK(close(open("file", O_WRONLY | O_CREAT, 0600)) == 0 && mkdir("directory", 0700) == 0);
    CHECK(symlink("file", "link") == 0 && mkfifo("fifo", 0600) == 0);
    int file = open("file", O_PATH), directory = open("directory", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int link = open("link", O_PATH | O_NOFOLLOW), fifo = open("fifo", O_PATH), device = open("/dev/null", O_PATH);
    int root = open("/", O_PATH);
    CHECK(file >= 0 && directory >= 0 && link >= 0 && fifo >= 0 && device >= 0 && root >= 0);
    int keeper = open("deleted", O_RDWR | O_CREAT, 0600), deleted = open("deleted", O_PATH);
    CHECK(keeper >= 0 && deleted >= 0 && unlink("deleted") == 0 && write(keeper, "kept", 4) == 4);

    save_point();

    char text[16] = {0};
    CHECK(read(file, text, 1) == -1 && errno == EBADF);
    CHECK(readlinkat(link, "", text, sizeof text) == 4 && memcmp(text, "file", 4) == 0);
    struct stat stat;
    CHECK(fstat(fifo, &stat) == 0);
    CHECK_EQ(stat.st_mode & S_IFMT, S_IFIFO);
    CHECK(fstat(device, &stat) == 0);
    CHECK_EQ(stat.st_mode & S_IFMT, S_IFCHR);
    int inside = openat(directory, "inside", O_WRONLY | O_CREAT, 0600);
    CHECK(inside >= 0 && access("directory/inside", F_OK) == 0);
    CHECK_EQ(fcntl(directory, F_GETFD), FD_CLOEXEC);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", deleted);
    int opened = open(path, O_RDONLY);
    CHECK(opened >= 0 && read(opened, text, 4) == 4 && memcmp(text, "kept", 4) == 0);
    return ok();
}
