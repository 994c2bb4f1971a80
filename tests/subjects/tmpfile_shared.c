/* A file without a name (O_TMPFILE) under several descriptors, of two descriptions, and mapped twice: it stays one file. */
#include "subject.h"

int main(void) {
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    NEEDS(fd >= 0 || errno != EOPNOTSUPP, "a file system with O_TMPFILE");
    CHECK(fd >= 0 && ftruncate(fd, 3 * PAGE) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reading = open(path, O_RDONLY | O_CLOEXEC), twin = dup(fd);
    CHECK(reading >= 0 && twin >= 0);
    char *shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reading, PAGE);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    fill(shared, 3 * PAGE, 1);
    private[5] = 'p';
    CHECK(lseek(fd, 100, SEEK_SET) == 100 && lseek(reading, 7, SEEK_SET) == 7);

    save_point();

    check_filled(shared, 3 * PAGE, 1);
    CHECK_EQ(private[5], 'p');
    CHECK_EQ(lseek(twin, 0, SEEK_CUR), 100);
    CHECK_EQ(lseek(reading, 0, SEEK_CUR), 7);
    CHECK(pwrite(twin, "one file", 8, 2 * PAGE) == 8 && memcmp(shared + 2 * PAGE, "one file", 8) == 0);
    char bytes[8];
    CHECK(pread(reading, bytes, 8, 2 * PAGE) == 8 && memcmp(bytes, "one file", 8) == 0);
    CHECK(write(reading, "x", 1) == -1 && errno == EBADF);
    struct stat one, two;
    CHECK(fstat(fd, &one) == 0 && fstat(reading, &two) == 0 && one.st_ino == two.st_ino && one.st_nlink == 0);
    return ok();
}
