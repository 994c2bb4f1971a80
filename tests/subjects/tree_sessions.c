/*
 * Sessions and process groups: of a child's own; from before a parent's setsid; of leaders that have ended; a daemon made by
 * the double fork, which comes to the root, a subreaper.
 */
#include "tree.h"

static pid_t root;

static void stays(pid_t parent, pid_t group, pid_t session) {
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(getppid(), parent);
        CHECK_EQ(getpgid(0), group);
        CHECK_EQ(getsid(0), session);
        if (round == 0) take_place();
    }
}

static void own_session(int UNUSED none) {
    CHECK(setsid() == getpid());
    pid_t self = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        stays(self, self, self);
        _exit(0);
    }
    stays(root, self, self);
    is_well(pid);
}

static void child_from_before(int UNUSED none) {
    int told[2];
    CHECK(pipe(told) == 0);
    pid_t self = getpid(), session = getsid(0), group = getpgid(0), early = fork();
    CHECK(early >= 0);
    if (early == 0) {
        char byte;
        close(told[1]);
        CHECK(read(told[0], &byte, 1) == 1); /* after the parent's setsid */
        close(told[0]);
        stays(self, group, session);
        _exit(0);
    }
    CHECK(setsid() == self);
    close(told[0]);
    CHECK(write(told[1], "x", 1) == 1);
    close(told[1]);
    pid_t late = fork();
    CHECK(late >= 0);
    if (late == 0) {
        CHECK(setpgid(0, 0) == 0); /* a group of its own in the new session */
        stays(self, getpid(), self);
        _exit(0);
    }
    stays(root, self, self);
    is_well(early);
    is_well(late);
}

/* Two members of a session whose leader has ended; the first has a child of its own. */
static pid_t daemons[2];
static void daemonize(void) {
    int told[2];
    CHECK(pipe(told) == 0);
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        CHECK(setsid() == getpid());
        pid_t self = getpid();
        for (int i = 0; i < 2; i++) {
            pid_t pid = fork();
            CHECK(pid >= 0);
            if (pid == 0) {
                close(told[0]);
                close(told[1]);
                while (getppid() != root) usleep(100);
                if (i == 1) {
                    stays(root, self, self);
                    _exit(0);
                }
                CHECK(setpgid(0, 0) == 0);
                pid_t daemon = getpid(), helper = fork();
                CHECK(helper >= 0);
                if (helper == 0) {
                    stays(daemon, daemon, self);
                    _exit(0);
                }
                stays(root, daemon, self);
                is_well(helper);
                _exit(0);
            }
            CHECK(write(told[1], &pid, sizeof pid) == sizeof pid);
        }
        _exit(0);
    }
    for (int i = 0; i < 2; i++) CHECK(read(told[0], &daemons[i], sizeof daemons[i]) == sizeof daemons[i]);
    close(told[0]);
    close(told[1]);
    is_well(leader);
}

/* One that made a child in the session of a leader that has ended, and leads a session of its own since. */
static pid_t emancipated, left_behind;
static void emancipate(void) {
    int told[2];
    CHECK(pipe(told) == 0);
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        CHECK(setsid() == getpid());
        pid_t session = getpid(), other = fork(), pid = other == 0 ? 1 : fork();
        CHECK(other >= 0 && pid >= 0);
        if (other == 0) {
            close(told[0]);
            close(told[1]);
            while (getppid() != root) usleep(100);
            stays(root, session, session);
            _exit(0);
        }
        CHECK(pid == 0 || write(told[1], &other, sizeof other) == sizeof other);
        if (pid == 0) {
            pid_t self = getpid(), early = fork();
            CHECK(early >= 0);
            if (early == 0) {
                close(told[0]);
                close(told[1]);
                stays(self, session, session);
                _exit(0);
            }
            CHECK(setsid() == self);
            while (getppid() != root) usleep(100);
            CHECK(write(told[1], &self, sizeof self) == sizeof self);
            close(told[0]);
            close(told[1]);
            stays(root, self, self);
            is_well(early);
            _exit(0);
        }
        _exit(0);
    }
    CHECK(read(told[0], &left_behind, sizeof left_behind) == sizeof left_behind);
    CHECK(read(told[0], &emancipated, sizeof emancipated) == sizeof emancipated);
    close(told[0]);
    close(told[1]);
    is_well(leader);
}

/* Two members of a group whose leader has ended, in the root's session. */
static pid_t members[2];
static void orphan_group(void) {
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        pause();
        _exit(1);
    }
    CHECK(setpgid(leader, leader) == 0);
    for (int i = 0; i < 2; i++) {
        members[i] = fork();
        CHECK(members[i] >= 0);
        if (members[i] == 0) {
            CHECK(setpgid(0, leader) == 0);
            stays(root, leader, getsid(0));
            _exit(0);
        }
        CHECK(setpgid(members[i], leader) == 0);
    }
    int status;
    CHECK(kill(leader, SIGKILL) == 0);
    CHECK_EQ(waitpid(leader, &status, 0), leader);
}

int main(void) {
    root = getpid();
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    muster();
    enlist(own_session, 0);
    enlist(child_from_before, 0);
    daemonize();
    emancipate();
    orphan_group();
    await_ready(2 + 3 + 3 + 3 + 2);
    save_point();
    go(2 + 3 + 3 + 3 + 2);
    all_well();
    is_well(emancipated);
    is_well(left_behind);
    for (int i = 0; i < 2; i++) is_well(daemons[i]), is_well(members[i]);
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    int subreaper = 0;
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper == 1);
    return ok();
}
