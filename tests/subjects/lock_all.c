/* mlockall: what is mapped later is still locked by itself, in the way that was asked for. */
#include "subject.h"

int main(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    NEEDS(geteuid() == 0 || limit.rlim_cur > 64 * MIB, "the right to lock memory");
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0);
    char *before = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(has_vm_flag(before, "lf"));
    fill(before, 4 * PAGE, 1);

    save_point();

    check_filled(before, 4 * PAGE, 1);
    CHECK(has_vm_flag(before, "lf") && has_vm_flag(before, "lo"));
    char *after = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(has_vm_flag(after, "lo") && has_vm_flag(after, "lf"));
    CHECK(munlockall() == 0);
    char *last = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(!has_vm_flag(last, "lo"));
    return ok();
}
