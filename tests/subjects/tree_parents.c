/*
 * Who is whose parent, and what that brings: a child made with CLONE_PARENT, a signal at the parent's death, exit signals
 * other than SIGCHLD, orphans that come to a subreaper which is not the root.
 */
#include "tree.h"

static pid_t root;
static volatile sig_atomic_t usr1, usr2;
static void count_usr1(int UNUSED signal) { usr1++; }
static void count_usr2(int UNUSED signal) { usr2++; }

static pid_t clone_with(uint64_t flags, int exit_signal) {
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = flags, .exit_signal = exit_signal};
    return syscall(SYS_clone3, &args, sizeof args);
}

static void makes_a_sibling(int tell) {
    pid_t pid = clone_with(CLONE_PARENT, 0);
    CHECK(pid >= 0);
    if (pid == 0) {
        take_place();
        CHECK_EQ(getppid(), root);
        _exit(0);
    }
    CHECK(write(tell, &pid, sizeof pid) == sizeof pid);
    take_place();
    CHECK(waitpid(pid, NULL, __WALL) == -1 && errno == ECHILD);
}

static void mourns(int UNUSED none) {
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
        take_place();
        CHECK_EQ(getppid(), parent);
        CHECK_EQ(usr1, 0);
        take_place(); /* until the parent has gone */
        while (getppid() == parent) usleep(200);
        while (usr1 == 0) usleep(200);
        CHECK_EQ(usr1, 1);
        _exit(0);
    }
    take_place();
    take_place();
    _exit(0);
}

/* A subreaper of its own, with an orphan. */
static void adopts(int UNUSED none) {
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t self = getpid(), middle = fork();
    CHECK(middle >= 0);
    if (middle == 0) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            while (getppid() != self) usleep(100);
            take_place();
            CHECK_EQ(getppid(), self);
            _exit(0);
        }
        _exit(0);
    }
    is_well(middle);
    take_place();
    int status;
    CHECK(wait(&status) > 0 && status == 0);
}

int main(void) {
    root = getpid();
    muster();
    signal(SIGUSR1, count_usr1);
    signal(SIGUSR2, count_usr2);
    int tell[2];
    CHECK(pipe(tell) == 0);
    enlist(makes_a_sibling, tell[1]);
    CHECK(read(tell[0], &enlisted[enlisted_count], sizeof(pid_t)) == sizeof(pid_t));
    enlisted_count++;
    enlist(mourns, 0);
    enlist(adopts, 0);
    pid_t other = clone_with(0, SIGUSR2), silent = other == 0 ? 0 : clone_with(0, 0);
    if (silent == 0) {
        take_place();
        _exit(0);
    }
    CHECK(other > 0 && silent > 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); /* the one that mourns comes here */
    int all = 2 + 2 + 2 + 2;
    await_ready(all);
    save_point();
    CHECK_EQ(usr2, 0);
    CHECK(waitpid(other, NULL, WNOHANG) == -1 && errno == ECHILD); /* not without __WCLONE */
    go(all);
    await_ready(2);
    go(2);
    all_well();
    is_well(other);
    is_well(silent);
    CHECK_EQ(usr2, 1);
    int status;
    CHECK(wait(&status) > 0 && status == 0);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    return ok();
}
