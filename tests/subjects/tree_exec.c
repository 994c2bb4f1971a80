/* Children that have executed other programs: by fork and exec, by posix_spawn, by vfork; and one that was renamed. */
#include "tree.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc > 1) { /* what has been executed */
        ready_pipe[1] = atoi(argv[2]);
        go_pipes[0][0] = atoi(argv[3]);
        long heap = 0;
        for (int i = 0; i < 100; i++) heap += (long)malloc(1000) != 0;
        take_place();
        CHECK_EQ(heap, 100);
        CHECK_EQ(argc, 4);
        char *line = slurp("/proc/self/cmdline");
        CHECK(strcmp(line + strlen(line) + 1, argv[1]) == 0);
        return 0;
    }
    muster();
    char ready[16], go_number[16];
    snprintf(ready, sizeof ready, "%d", ready_pipe[1]);
    snprintf(go_number, sizeof go_number, "%d", go_pipes[0][0]);
    static const char *const ways[] = {"forked", "spawned", "vforked"};
    for (int way = 0; way < 3; way++) {
        char *arguments[] = {argv[0], (char *)ways[way], ready, go_number, NULL};
        pid_t pid = 0;
        if (way == 0) pid = fork();
        if (way == 1) CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0);
        if (way == 2) pid = vfork();
        CHECK(pid >= 0);
        if (pid == 0) {
            execv("/proc/self/exe", arguments);
            _exit(9);
        }
        enlisted[enlisted_count++] = pid;
    }
    await_ready(3);
    save_point();
    go(3);
    all_well();
    return ok();
}
