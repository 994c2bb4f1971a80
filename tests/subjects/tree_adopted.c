/*
 * Processes that their parent has adopted, in sessions that it has never been in: one that is led further below, by a process
 * that lives; one whose leader has ended, with members at two depths. Each has children, and memory from whoever made it.
 */
#include "tree.h"

static char *memory;

/* Who has ended by now made this process for `parent`, in a session. */
static void stays(pid_t parent, pid_t session, const char *mark) {
    while (getppid() != parent) usleep(100);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(getppid(), parent);
        CHECK_EQ(getsid(0), session);
        CHECK(strcmp(memory, mark) == 0);
        check_filled(memory + PAGE, 4 * MIB, 7);
        if (round == 0) take_place();
    }
}

/* A process with a child of its own, made by one that ends. */
static void leave_behind(pid_t parent, pid_t session, const char *mark) {
    pid_t passing = fork();
    CHECK(passing >= 0);
    if (passing == 0) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pid_t self = getpid(), child = fork();
            CHECK(child >= 0);
            if (child == 0) {
                stays(self, session, mark);
                _exit(0);
            }
            stays(parent, session, mark);
            is_well(child);
            _exit(0);
        }
        _exit(0);
    }
    is_well(passing);
}

/* Of the root: leads a session two steps below, from which the root gets a child. */
static void led_from_below(int UNUSED none) {
    pid_t root = getppid(), self = getpid(), leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        CHECK(setsid() == getpid());
        strcpy(memory, "below");
        leave_behind(root, getpid(), "below");
        stays(self, getpid(), "below");
        _exit(0);
    }
    take_place();
    is_well(leader);
}

/* Adopts for a while: one member of a session whose leader has ended is its own child, and another the root's. */
static void at_two_depths(int UNUSED none) {
    pid_t root = getppid(), self = getpid();
    int made[2], adopts[2];
    char byte;
    CHECK(pipe(made) == 0 && pipe(adopts) == 0);
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        pid_t session = setsid();
        CHECK(session == getpid());
        strcpy(memory, "two");
        leave_behind(root, session, "two");
        CHECK(write(made[1], "m", 1) == 1 && read(adopts[0], &byte, 1) == 1);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) stays(self, session, "two");
        _exit(0);
    }
    CHECK(read(made[0], &byte, 1) == 1);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    CHECK(write(adopts[1], "a", 1) == 1);
    is_well(leader);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
    take_place();
    int status;
    CHECK(wait(&status) > 0 && status == 0);
}

int main(void) {
    memory = map(4 * MIB + PAGE, PROT_READ | PROT_WRITE, 0);
    fill(memory + PAGE, 4 * MIB, 7);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    muster();
    enlist(led_from_below, 0);
    await_ready(4);
    enlist(at_two_depths, 0);
    await_ready(4);
    save_point();
    go(8);
    all_well();
    int status;
    for (int i = 0; i < 2; i++) CHECK(wait(&status) > 0 && status == 0);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    int subreaper = 0;
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper == 1);
    return ok();
}
