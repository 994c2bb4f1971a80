/* A reservation of 100 GiB, as language runtimes make, with a few pages in use: it costs nothing, and stays a reservation. */
#include "subject.h"

int main(void) {
    char *reserved = map(100 * GIB, PROT_NONE, MAP_NORESERVE);
    for (int i = 0; i < 10; i++) {
        char *used = reserved + (i * 10 + 5) * GIB;
        CHECK(mprotect(used, 16 * PAGE, PROT_READ | PROT_WRITE) == 0);
        fill(used, 8 * PAGE, i);
    }
    /* readable and writable in full, never touched but in its middle */
    char *lazy = map(64 * GIB, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    fill(lazy + 32 * GIB, PAGE, 77);

    save_point();

    for (int i = 0; i < 10; i++) {
        char *used = reserved + (i * 10 + 5) * GIB;
        check_filled(used, 8 * PAGE, i);
        check_zero(used + 8 * PAGE, 8 * PAGE);
    }
    check_filled(lazy + 32 * GIB, PAGE, 77);
    lazy[63 * GIB] = 1;
    catch_faults();
    CHECK_EQ(signal_of_write(reserved + 50 * GIB), SIGSEGV);
    CHECK(has_vm_flag(reserved + 50 * GIB, "nr") && has_vm_flag(lazy, "nr"));
    CHECK(mprotect(reserved + 50 * GIB, PAGE, PROT_READ | PROT_WRITE) == 0);
    CHECK_EQ(signal_of_write(reserved + 50 * GIB), 0);
    return ok();
}
