/* A sealed mapping (mseal, Linux 6.10) has its contents, and still cannot be unmapped or changed. */
#include "subject.h"
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

int main(void) {
    char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(area, 4 * PAGE, 1);
    CHECK(mprotect(area, 4 * PAGE, PROT_READ) == 0);
    NEEDS(syscall(SYS_mseal, area, 4 * PAGE, 0) == 0, "a kernel with mseal (Linux 6.10)");

    save_point();

    check_filled(area, 4 * PAGE, 1);
    CHECK(mprotect(area, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EPERM);
    CHECK(munmap(area, 4 * PAGE) == -1 && errno == EPERM);
    return ok();
}
