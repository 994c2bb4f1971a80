/* Private file mappings: changed pages keep the change, unchanged ones still show the file, the file never sees either. */
#include "subject.h"

int main(void) {
    int fd = open("private.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    static char content[16 * PAGE];
    fill(content, sizeof content, 1);
    CHECK(write(fd, content, sizeof content) == sizeof content);

    char *whole = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(whole != MAP_FAILED);
    fill(whole + 3 * PAGE, PAGE, 2);
    fill(whole + 9 * PAGE, 2 * PAGE, 3);
    memset(whole + 12 * PAGE, 0, PAGE); /* a change to zeros is a change */

    /* from the middle of the file, split by protections, with a hole */
    char *part = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 5 * PAGE);
    CHECK(part != MAP_FAILED);
    fill(part + PAGE, PAGE, 4);
    CHECK(mprotect(part + PAGE, PAGE, PROT_READ) == 0);
    CHECK(mprotect(part + 2 * PAGE, PAGE, PROT_NONE) == 0);
    CHECK(munmap(part + 4 * PAGE, 2 * PAGE) == 0);

    /* the file was opened for reading only, and is closed again: the mapping must not ask for more */
    int reader = open("private.data", O_RDONLY);
    char *closed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 14 * PAGE);
    CHECK(closed != MAP_FAILED);
    closed[7] = 77;
    CHECK(close(reader) == 0);

    save_point();

    check_filled(whole + 3 * PAGE, PAGE, 2);
    check_filled(whole + 9 * PAGE, 2 * PAGE, 3);
    check_zero(whole + 12 * PAGE, PAGE);
    CHECK(memcmp(whole, content, 3 * PAGE) == 0);
    CHECK(memcmp(whole + 13 * PAGE, content + 13 * PAGE, 3 * PAGE) == 0);
    CHECK(memcmp(part, content + 5 * PAGE, PAGE) == 0);
    check_filled(part + PAGE, PAGE, 4);
    CHECK(memcmp(part + 6 * PAGE, content + 11 * PAGE, 2 * PAGE) == 0);
    CHECK(closed[7] == 77 && closed[8] == content[14 * PAGE + 8]);

    static char now[16 * PAGE];
    CHECK(pread(fd, now, sizeof now, 0) == sizeof now);
    CHECK(memcmp(now, content, sizeof now) == 0);
    /* still backed by the file: an untouched page shows a later write */
    CHECK(pwrite(fd, "later", 5, 15 * PAGE) == 5);
    CHECK(memcmp(whole + 15 * PAGE, "later", 5) == 0);
    /* and a changed page given back shows the file again */
    CHECK(madvise(whole + 3 * PAGE, PAGE, MADV_DONTNEED) == 0);
    CHECK(memcmp(whole + 3 * PAGE, content + 3 * PAGE, PAGE) == 0);
    return ok();
}
