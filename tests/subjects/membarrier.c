/* Registrations for membarrier(2): what was registered for works, and what was not is still refused; so in a forked child. */
#include "subject.h"
#include <linux/membarrier.h>

static long barrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0 ? 0 : -errno; }

static void check(void) {
    CHECK_EQ(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
    CHECK_EQ(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), 0);
    CHECK_EQ(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ), -EPERM);
#ifdef MEMBARRIER_CMD_GET_REGISTRATIONS
    long registered = syscall(SYS_membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0);
    CHECK_EQ(registered, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
                             MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
#endif
}

int main(void) {
    NEEDS(syscall(SYS_membarrier, 1 << 9 /* MEMBARRIER_CMD_GET_REGISTRATIONS */, 0, 0) >= 0, "Linux 6.3");
    CHECK_EQ(barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED), 0);
    CHECK_EQ(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED), 0);
    CHECK_EQ(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE), 0);
    check();
    int told[2];
    CHECK(pipe(told) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        if (read(told[0], &byte, 1) != 1) _exit(2);
        check();
        _exit(0);
    }

    save_point();

    check();
    CHECK(write(told[1], "x", 1) == 1);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    return ok();
}
