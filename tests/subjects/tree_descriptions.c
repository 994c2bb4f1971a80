/* Open file descriptions that three processes share: one offset, one set of flags, each with numbers of its own. */
#include "tree.h"

static int shared, separate;

static void child(int UNUSED none) {
    int own = fcntl(shared, F_DUPFD, 40);
    CHECK(own >= 40 && close(shared) == 0);
    CHECK(fcntl(own, F_SETFD, FD_CLOEXEC) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(dup2(own, 60) == 60 && close(own) == 0);
        take_place();
        CHECK_EQ(lseek(60, 0, SEEK_CUR), 1000);
        CHECK(lseek(60, 500, SEEK_CUR) == 1500);
        CHECK_EQ(fcntl(60, F_GETFD), 0);
        CHECK(fcntl(60, F_SETFL, O_APPEND) == 0);
        CHECK_EQ(lseek(separate, 0, SEEK_CUR), 77);
        _exit(0);
    }
    say_ready();
    is_well(pid);
    CHECK_EQ(fcntl(own, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(lseek(own, 0, SEEK_CUR), 1500);
    CHECK_EQ(lseek(own, 1, SEEK_CUR), 1501);
    CHECK(fcntl(own, F_GETFL) & O_APPEND);
}

int main(void) {
    muster();
    shared = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    separate = open("file", O_RDWR);
    CHECK(shared >= 0 && separate >= 0 && ftruncate(shared, 4000) == 0);
    CHECK(lseek(shared, 1000, SEEK_SET) == 1000 && lseek(separate, 77, SEEK_SET) == 77);
    enlist(child, 0);
    await_ready(2);
    save_point();
    go(1);
    all_well();
    CHECK_EQ(lseek(shared, 0, SEEK_CUR), 1501);
    CHECK_EQ(lseek(separate, 0, SEEK_CUR), 77);
    CHECK(fcntl(shared, F_GETFL) & O_APPEND);
    CHECK(!(fcntl(separate, F_GETFL) & O_APPEND));
    return ok();
}
