/*
 * What subjects of several processes share: children that take their place, wait there for the word of the root, check
 * what is theirs to check, and tell by exiting with 0 that all was well.
 *
 *     root:   muster(); enlist(work); ...; await_ready();  save_point();  go();  all_well(); ...
 *     child:                       take_place()  ...................  checks, exit
 */
#ifndef TREE_H
#define TREE_H
#include "subject.h"

static int ready_pipe[2], go_pipes[3][2];
static __thread int word; /* how often this thread has heard, or given, the word */
static pid_t enlisted[64];
static int enlisted_count;

static void open_high(int *ends, int lowest) {
    int low[2];
    CHECK(pipe(low) == 0);
    for (int i = 0; i < 2; i++) CHECK((ends[i] = fcntl(low[i], F_DUPFD, lowest)) >= lowest && close(low[i]) == 0);
}
/* Before the first fork. Numbers that subjects do not use for anything else. */
UNUSED static void muster(void) {
    open_high(ready_pipe, 100);
    for (int i = 0; i < 3; i++) open_high(go_pipes[i], 110);
}

UNUSED static void say_ready(void) { CHECK(write(ready_pipe[1], "r", 1) == 1); }
UNUSED static void await_ready(int count) {
    char byte;
    for (int i = 0; i < count; i++) CHECK(read(ready_pipe[0], &byte, 1) == 1);
}
UNUSED static void await_go(void) {
    char byte;
    CHECK(read(go_pipes[word++][0], &byte, 1) == 1);
}
UNUSED static void go(int count) {
    for (int i = 0; i < count; i++) CHECK(write(go_pipes[word][1], "g", 1) == 1);
    word++;
}
/* A child's save point: the root goes on when all are here, and sends them on after its own. */
UNUSED static void take_place(void) {
    say_ready();
    await_go();
}

UNUSED static pid_t enlist(void (*work)(int), int argument) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        work(argument);
        _exit(0);
    }
    return enlisted[enlisted_count++] = pid;
}

UNUSED static void is_well(pid_t pid) {
    int status;
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
    CHECK_EQ(status, 0);
}
UNUSED static void all_well(void) {
    for (int i = 0; i < enlisted_count; i++) is_well(enlisted[i]);
}

/* Waits until a process is in this state (proc(5), stat), which nobody would otherwise tell. */
UNUSED static void await_state(pid_t pid, char state) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (;;) {
        char *end = strrchr(slurp(path), ')');
        CHECK(end != NULL);
        if (end[2] == state) return;
        usleep(500);
    }
}
#endif
