/* Waits for children, in progress: wait4, waitid, for any child and for one of a group, in a process and in a thread. */
#include "tree.h"

enum { WAYS = 4 };

static void wait_in(int way) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_place();
        _exit(50 + way);
    }
    say_ready(); /* and now it will wait: the root looks for that */
    int status = 0;
    siginfo_t info = {0};
    switch (way) {
    case 0: CHECK_EQ(wait4(pid, &status, 0, NULL), pid); break;
    case 1: CHECK_EQ(wait4(-1, &status, 0, NULL), pid); break;
    case 2: CHECK_EQ(wait4(-getpgid(0), &status, WUNTRACED, NULL), pid); break;
    case 3:
        CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED), 0);
        CHECK_EQ(info.si_pid, pid);
        status = info.si_status << 8;
        break;
    }
    CHECK_EQ(status, (50 + way) << 8);
}

static void *wait_in_thread(void UNUSED *none) {
    wait_in(0);
    return NULL;
}

static void threaded(int UNUSED none) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_in_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

int main(void) {
    muster();
    for (int way = 0; way < WAYS; way++) enlist(wait_in, way);
    enlist(threaded, 0);
    await_ready(2 * (WAYS + 1));
    for (int i = 0; i < WAYS; i++) await_state(enlisted[i], 'S');
    save_point();
    go(WAYS + 1);
    all_well();
    return ok();
}
