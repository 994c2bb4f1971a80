/* A program that asked not to be dumped or traced by its own user (PR_SET_DUMPABLE 0, as ssh-agent does). */
#include "subject.h"

int main(void) {
    NEEDS(geteuid() == 0, "root: others may not look at such a program");
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    char *area = map(8 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(area, 8 * PAGE, 1);

    save_point();

    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
    check_filled(area, 8 * PAGE, 1);
    return ok();
}
