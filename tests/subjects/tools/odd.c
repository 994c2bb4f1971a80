/*
 * Runs a command with settings that it would hardly have by itself, all of them of the kind that children inherit: what is
 * not restored explicitly shows.
 *
 *     odd PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 2) return 2;
    umask(0707);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGRTMIN + 3);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    prctl(PR_SET_TIMERSLACK, 123456);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
    setpriority(PRIO_PROCESS, 0, 4);
    syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6);
    struct sched_param none = {0};
    sched_setscheduler(0, SCHED_BATCH, &none);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    struct rlimit files, stack;
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_STACK, &stack);
    files.rlim_cur = files.rlim_cur > 64 ? 64 : files.rlim_cur;
    stack.rlim_cur = stack.rlim_cur > 4 << 20 ? 4 << 20 : stack.rlim_cur;
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_STACK, &stack);
    unsigned long node0 = 1;
    syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &node0, 64);
    personality(ADDR_NO_RANDOMIZE);
    FILE *filter = fopen("/proc/self/coredump_filter", "we");
    if (filter != NULL) {
        fprintf(filter, "0x7\n");
        fclose(filter);
    }
    if (chdir("/") != 0) return 2;
    execv(arguments[1], arguments + 1);
    return 2;
}
