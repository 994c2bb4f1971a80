/* Anonymous private memory: dense, sparse, zero pages that were touched, read-only contents, and holes made by munmap. */
#include "subject.h"

int main(void) {
    char *dense = map(4 * MIB, PROT_READ | PROT_WRITE, 0);
    fill(dense, 4 * MIB, 1);

    /* one page in each MiB of 256 */
    char *sparse = map(256 * MIB, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    for (size_t i = 0; i < 256; i++) fill(sparse + i * MIB + (i % 256) * PAGE, PAGE, 100 + i);

    /* touched by writes of zero, and by reads only */
    char *zeros = map(MIB, PROT_READ | PROT_WRITE, 0);
    memset(zeros, 0, MIB / 2);
    check_zero(zeros, MIB);

    char *constant = map(64 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(constant, 64 * PAGE, 2);
    CHECK(mprotect(constant, 64 * PAGE, PROT_READ) == 0);

    char *holed = map(9 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(holed, 9 * PAGE, 3);
    for (int i = 1; i < 9; i += 2) CHECK(munmap(holed + i * PAGE, PAGE) == 0);

    save_point();

    check_filled(dense, 4 * MIB, 1);
    for (size_t i = 0; i < 256; i++) {
        size_t at = i * MIB + (i % 256) * PAGE;
        check_filled(sparse + at, PAGE, 100 + i);
        if (at + 2 * PAGE <= 256 * MIB && i % 255) check_zero(sparse + at + PAGE, PAGE);
    }
    check_zero(zeros, MIB);
    check_filled(constant, 64 * PAGE, 2);
    catch_faults();
    CHECK_EQ(signal_of_write(constant), SIGSEGV);
    for (int i = 0; i < 9; i++) {
        if (i % 2) CHECK_EQ(signal_of_read(holed + i * PAGE), SIGSEGV);
        else CHECK(*(uint64_t *)(holed + i * PAGE) == pattern(3, i * PAGE / 8));
    }
    /* memory given back reads as zero, not as what was saved */
    CHECK(madvise(dense, MIB, MADV_DONTNEED) == 0);
    check_zero(dense, MIB);
    fill(dense, 4 * MIB, 4);
    check_filled(dense, 4 * MIB, 4);
    return ok();
}
