/*
 * Deleted files: descriptors and mappings of one file stay one file, with its contents, holes, offsets, flags, mode and owner;
 * with a file of the same name in its place, with a directory that is gone, on a memory file system.
 */
#include "subject.h"
#include <sys/xattr.h>

int main(void) {
    int fd = open("deleted.data", O_RDWR | O_CREAT | O_TRUNC, 0640);
    CHECK(fd >= 0 && ftruncate(fd, 4 * PAGE + 100) == 0);
    char *mapped = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED);
    fill(mapped, 4 * PAGE, 1);
    char *copy = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(copy != MAP_FAILED);
    fill(copy + PAGE, PAGE, 2);
    int reading = open("deleted.data", O_RDONLY | O_CLOEXEC), adding = open("deleted.data", O_WRONLY | O_APPEND);
    CHECK(reading >= 0 && adding >= 0);
    CHECK(lseek(reading, 17, SEEK_SET) == 17);
    CHECK(unlink("deleted.data") == 0);
    struct timespec times[2] = {{.tv_sec = 1000000007, .tv_nsec = 5}, {.tv_sec = 1000000009, .tv_nsec = 7}};
    CHECK(futimens(fd, times) == 0);

    bool has_attributes = fsetxattr(fd, "user.note", "kept", 4, 0) == 0;

    /* another file has its name now */
    int other = open("deleted.data", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(other >= 0 && write(other, "other", 5) == 5);

    /* large and almost empty */
    int sparse = open("sparse", O_RDWR | O_CREAT, 0600);
    CHECK(sparse >= 0 && pwrite(sparse, "far", 3, 3ul << 30) == 3 && unlink("sparse") == 0);

    /* its directory is gone, too */
    CHECK(mkdir("gone", 0700) == 0);
    int inside = open("gone/file", O_RDWR | O_CREAT, 0600);
    CHECK(inside >= 0 && write(inside, "inside", 6) == 6);
    CHECK(unlink("gone/file") == 0 && rmdir("gone") == 0);

    /* POSIX shared memory, but for a flag of shm_open's that has no effect once a file is open (O_NOFOLLOW) */
    char name[64];
    snprintf(name, sizeof name, "/dev/shm/subject-%d", getpid());
    int posix = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(posix >= 0 && unlink(name) == 0 && ftruncate(posix, 2 * PAGE) == 0);
    char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, posix, 0);
    CHECK(shared != MAP_FAILED);
    fill(shared, 2 * PAGE, 3);

    save_point();

    check_filled(mapped, 4 * PAGE, 1);
    CHECK(memcmp(copy, mapped, PAGE) == 0);
    check_filled(copy + PAGE, PAGE, 2);
    CHECK(memcmp(copy + 2 * PAGE, mapped + 2 * PAGE, 2 * PAGE) == 0);
    catch_faults();
    CHECK_EQ(signal_of_read(mapped + 6 * PAGE), SIGBUS);
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0);
    CHECK_EQ(stat.st_nlink, 0);
    CHECK_EQ(stat.st_size, 4 * PAGE + 100);
    CHECK_EQ(stat.st_mode, S_IFREG | 0640);
    CHECK_EQ(stat.st_mtim.tv_sec, 1000000009);
    CHECK_EQ(stat.st_mtim.tv_nsec, 7);
    char note[8];
    if (has_attributes) CHECK(fgetxattr(fd, "user.note", note, sizeof note) == 4 && memcmp(note, "kept", 4) == 0);
    struct stat here;
    CHECK(fstat(other, &here) == 0);
    CHECK_EQ(stat.st_dev, here.st_dev);
    CHECK(pwrite(fd, "alive", 5, 0) == 5 && memcmp(mapped, "alive", 5) == 0);
    CHECK_EQ(lseek(reading, 0, SEEK_CUR), 17);
    CHECK_EQ(fcntl(reading, F_GETFD), FD_CLOEXEC);
    char text[16] = {0};
    CHECK(pread(reading, text, 5, 0) == 5 && strcmp(text, "alive") == 0);
    CHECK(write(reading, "x", 1) == -1 && errno == EBADF);
    CHECK(write(adding, "end", 3) == 3);
    CHECK(pread(fd, text, 3, 4 * PAGE + 100) == 3 && memcmp(text, "end", 3) == 0);
    CHECK(pread(other, text, 6, 0) == 5 && memcmp(text, "other", 5) == 0);

    CHECK(fstat(sparse, &stat) == 0);
    CHECK_EQ(stat.st_size, (3ul << 30) + 3);
    CHECK(stat.st_blocks < 1000);
    CHECK(pread(sparse, text, 3, 3ul << 30) == 3 && memcmp(text, "far", 3) == 0);
    CHECK_EQ(lseek(sparse, 0, SEEK_CUR), 0);

    CHECK_EQ(lseek(inside, 0, SEEK_CUR), 6);
    CHECK(pread(inside, text, 6, 0) == 6 && memcmp(text, "inside", 6) == 0);

    check_filled(shared, 2 * PAGE, 3);
    CHECK(pwrite(posix, "posix", 5, PAGE) == 5 && memcmp(shared + PAGE, "posix", 5) == 0);
    return ok();
}
