/* Syscall user dispatch: off at the save point by its selector, on again afterwards; in one thread only. */
#include "subject.h"
#include <linux/prctl.h>

static volatile char selector = 0; /* SYSCALL_DISPATCH_FILTER_ALLOW */
static volatile int diverted;

static void on_sigsys(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    selector = 0;
    diverted = info->si_syscall;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    NEEDS(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) == 0, "syscall user dispatch");

    save_point();

    selector = 1; /* SYSCALL_DISPATCH_FILTER_BLOCK */
    syscall(SYS_getppid);
    CHECK_EQ(diverted, SYS_getppid);
    return ok();
}
