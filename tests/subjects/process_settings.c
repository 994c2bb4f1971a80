/* What a process has once: umask, name, subreaper, parent-death signal, no-new-privileges, dumpable, personality bits. */
#include "subject.h"
#include <sys/personality.h>

static volatile int deaths;
static void on_parent_death(int signal) {
    (void)signal;
    deaths++;
}

int main(void) {
    umask(0135);
    CHECK(prctl(PR_SET_NAME, "na\xff me)1 2") == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    struct sigaction action = {.sa_handler = on_parent_death};
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);

    save_point();

    CHECK_EQ(umask(022), 0135);
    char name[16];
    int subreaper = 0, death_signal = 0;
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "na\xff me)1 2") == 0);
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0);
    CHECK_EQ(subreaper, 1);
    CHECK(prctl(PR_GET_PDEATHSIG, &death_signal) == 0);
    CHECK_EQ(death_signal, SIGUSR2);
    CHECK_EQ(deaths, 0);
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);

    /* an orphaned grandchild comes to us */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) _exit(fork() < 0);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(waitpid(-1, NULL, 0) > 0);
    return ok();
}
