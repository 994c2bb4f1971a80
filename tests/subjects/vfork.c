/*
 * A child inside vfork(2), where it cannot be stopped: its own child takes a while to execute a program, or ("forever") does
 * so only when it is told to.
 */
#include "tree.h"

static char *numbers[2];
static bool forever;

static void in_vfork(int UNUSED none) {
    pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct timespec while_stopped = {.tv_nsec = 400000000};
        char byte;
        if (forever && syscall(SYS_read, go_pipes[1][0], &byte, 1) != 1) _exit(8);
        if (!forever) syscall(SYS_nanosleep, &while_stopped, NULL);
        execl("/proc/self/exe", "vfork", "executed", numbers[0], numbers[1], NULL);
        _exit(9);
    }
    is_well(pid);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        ready_pipe[1] = atoi(argv[2]);
        go_pipes[0][0] = atoi(argv[3]);
        take_place();
        return 0;
    }
    forever = argc > 1;
    muster();
    CHECK(asprintf(&numbers[0], "%d", ready_pipe[1]) > 0 && asprintf(&numbers[1], "%d", go_pipes[0][0]) > 0);
    enlist(in_vfork, 0);
    await_state(enlisted[0], 'D'); /* TASK_KILLABLE */
    say("in vfork\n");
    char byte;
    CHECK(read(0, &byte, 1) == 1);
    if (forever) CHECK(write(go_pipes[1][1], "x", 1) == 1);
    await_ready(1);
    go(1);
    all_well();
    return ok();
}
