/* A program in seccomp's strict mode: it may only read, write, return from signals, and exit. */
#include "subject.h"
#include <linux/seccomp.h>

static volatile int caught;
static void on_signal(int signal) {
    (void)signal;
    caught++;
}

int main(void) {
    NEEDS(geteuid() == 0, "root: system calls under seccomp are suspended for us by the superuser only");
    char *area = map(8 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(area, 8 * PAGE, 5);
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);

    char line[64] = {0};
    if (write(1, "save point\n", 11) != 11) syscall(SYS_exit, 2);
    if (read(0, line, sizeof line) < 0) syscall(SYS_exit, 3);

    check_filled(area, 8 * PAGE, 5);
    if (write(1, "ok\n", 3) != 3) syscall(SYS_exit, 4);
    syscall(SYS_exit, 0); /* exit_group is forbidden, too */
}
