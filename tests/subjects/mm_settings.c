/* Settings that belong to the address space: the core dump filter, no huge pages (PR_SET_THP_DISABLE). */
#include "subject.h"

int main(void) {
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "0x51", 4) == 4);
    close(fd);
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);

    save_point();

    CHECK_EQ(strtoul(slurp("/proc/self/coredump_filter"), NULL, 16), 0x51);
    CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    return ok();
}
