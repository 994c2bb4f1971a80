/* A chain of processes, children and a grandchild, with pipes between them that hold what nobody has read yet. */
#include "tree.h"

enum { LINKS = 4 };
static int pipes[LINKS + 1][2];

static void hold_only(int link) {
    for (int i = 0; i < LINKS + 1; i++) {
        if (i != link) close(pipes[i][0]);
        if (i != link + 1) close(pipes[i][1]);
    }
}

static void pass_on(int link) {
    pid_t next = 0;
    if (link == 2) { /* the rest of the chain is this one's child */
        CHECK((next = fork()) >= 0);
        if (next == 0) {
            hold_only(3);
            link = 3;
        }
    }
    hold_only(link);
    take_place();
    char text[64];
    long length = 12 + link; /* no more: what the one before passes on comes behind it */
    CHECK_EQ(read(pipes[link][0], text, length), length);
    CHECK(memcmp(text, "left behind ", 12) == 0);
    CHECK(write(pipes[link + 1][1], text, length) == length);
    if (next > 0) is_well(next);
}

int main(void) {
    muster();
    for (int i = 0; i < LINKS + 1; i++) {
        CHECK(pipe(pipes[i]) == 0);
        char text[32] = "left behind xxxxxxxx";
        if (i < LINKS) CHECK(write(pipes[i][1], text, 12 + i) == 12 + i);
    }
    for (int link = 0; link < 3; link++) enlist(pass_on, link);
    for (int i = 0; i < LINKS; i++) close(pipes[i][1]);
    await_ready(LINKS);
    save_point();
    go(LINKS);
    char text[4096];
    long total = 0, length;
    close(pipes[LINKS][1]);
    while ((length = read(pipes[LINKS][0], text, sizeof text)) > 0) total += length;
    CHECK_EQ(length, 0); /* every other writer is gone, none is left open in a process that should not have it */
    CHECK_EQ(total, 12 + 3);
    all_well();
    return ok();
}
