/* Memory the program itself may not read at the moment, with contents: PROT_NONE, write-only, execute-only. */
#include "subject.h"

int main(void) {
    char *none = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(none, 16 * PAGE, 1);
    CHECK(mprotect(none, 16 * PAGE, PROT_NONE) == 0);

    char *write_only = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(write_only, 4 * PAGE, 2);
    CHECK(mprotect(write_only, 4 * PAGE, PROT_WRITE) == 0);

    char *execute_only = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(execute_only, 4 * PAGE, 3);
    CHECK(mprotect(execute_only, 4 * PAGE, PROT_EXEC) == 0);

    char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(shared, 4 * PAGE, 4);
    CHECK(mprotect(shared, 4 * PAGE, PROT_NONE) == 0);

    int fd = open("hidden.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0);
    char *file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(file != MAP_FAILED);
    fill(file, 4 * PAGE, 5);
    CHECK(mprotect(file, 4 * PAGE, PROT_NONE) == 0);
    CHECK(close(fd) == 0);

    save_point();

    catch_faults();
    CHECK_EQ(signal_of_read(none + 5 * PAGE), SIGSEGV);
    CHECK_EQ(signal_of_read(shared), SIGSEGV);
    CHECK(mprotect(none, 16 * PAGE, PROT_READ) == 0);
    check_filled(none, 16 * PAGE, 1);
    CHECK(mprotect(write_only, 4 * PAGE, PROT_READ) == 0);
    check_filled(write_only, 4 * PAGE, 2);
    CHECK(mprotect(execute_only, 4 * PAGE, PROT_READ) == 0);
    check_filled(execute_only, 4 * PAGE, 3);
    CHECK(mprotect(shared, 4 * PAGE, PROT_READ) == 0);
    check_filled(shared, 4 * PAGE, 4);
    CHECK(mprotect(file, 4 * PAGE, PROT_READ) == 0);
    check_filled(file, 4 * PAGE, 5);
    return ok();
}
