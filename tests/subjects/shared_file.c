/* Shared file mappings: what was written is in the file, what is written afterwards reaches it too. */
#include "subject.h"

int main(void) {
    int fd = open("shared.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(ftruncate(fd, 16 * PAGE) == 0);
    char *one = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *other = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * PAGE);
    CHECK(one != MAP_FAILED && other != MAP_FAILED);
    fill(one, 8 * PAGE, 1);
    fill(other, 4 * PAGE, 2);
    CHECK(mprotect(one, PAGE, PROT_READ) == 0);

    /* read-only and shared, from a descriptor that could not write */
    int reader = open("shared.data", O_RDONLY);
    char *view = mmap(NULL, 16 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
    CHECK(view != MAP_FAILED);
    CHECK(close(reader) == 0);

    save_point();

    check_filled(one, 8 * PAGE, 1);
    check_filled(one + 8 * PAGE, 4 * PAGE, 2);
    check_filled(view, 8 * PAGE, 1);
    strcpy(other, "through the second mapping");
    CHECK(strcmp(one + 8 * PAGE, "through the second mapping") == 0);
    CHECK(strcmp(view + 8 * PAGE, "through the second mapping") == 0);
    char text[64];
    CHECK(pread(fd, text, sizeof text, 8 * PAGE) == sizeof text);
    CHECK(strcmp(text, "through the second mapping") == 0);
    CHECK(pwrite(fd, "through the file", 17, 15 * PAGE) == 17);
    CHECK(strcmp(one + 15 * PAGE, "through the file") == 0);
    catch_faults();
    CHECK_EQ(signal_of_write(one), SIGSEGV);
    CHECK(mprotect(one, PAGE, PROT_READ | PROT_WRITE) == 0);
    /* a view made from a read-only descriptor can never become writable */
    CHECK(mprotect(view, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    return ok();
}
