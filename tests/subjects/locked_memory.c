/* Memory locked by mlock and mlock2, in part and as it is touched. */
#include "subject.h"

static long locked_kib(void) { return atol(strstr(slurp("/proc/self/status"), "VmLck:") + 6); }

int main(void) {
    char *locked = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    NEEDS(mlock(locked, 16 * PAGE) == 0, "a limit of locked memory (RLIMIT_MEMLOCK)");
    fill(locked, 16 * PAGE, 1);
    CHECK(munlock(locked + 4 * PAGE, 4 * PAGE) == 0);
    char *on_fault = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(on_fault, 2 * PAGE, 2);
    CHECK(mlock2(on_fault, 16 * PAGE, MLOCK_ONFAULT) == 0);
    char *constant = map(4 * PAGE, PROT_READ, 0);
    CHECK(mlock(constant, 4 * PAGE) == 0);
    long before = locked_kib();
    CHECK_EQ(before, (12 + 16 + 4) * 4);

    save_point();

    CHECK_EQ(locked_kib(), before);
    CHECK(has_vm_flag(locked, "lo") && !has_vm_flag(locked + 4 * PAGE, "lo") && has_vm_flag(locked + 8 * PAGE, "lo"));
    CHECK(has_vm_flag(on_fault, "lf") && has_vm_flag(constant, "lo") && !has_vm_flag(constant, "lf"));
    check_filled(locked, 16 * PAGE, 1);
    check_filled(on_fault, 2 * PAGE, 2);
    /* locked pages are present: mincore(2) sees each, and none beyond the two that were touched of the other kind */
    unsigned char present[16];
    CHECK(mincore(constant, 4 * PAGE, present) == 0);
    for (int i = 0; i < 4; i++) CHECK(present[i] & 1);
    CHECK(munlock(locked, 16 * PAGE) == 0 && munlock(on_fault, 16 * PAGE) == 0 && munlock(constant, 4 * PAGE) == 0);
    CHECK_EQ(locked_kib(), 0);
    return ok();
}
