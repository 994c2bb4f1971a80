/* Descriptors with the highest numbers that the limit allows, and with all numbers below a limit taken. */
#include "subject.h"

int main(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    int most = limit.rlim_max > 1000000 ? 1000000 : (int)limit.rlim_max;
    limit.rlim_cur = most;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int file = open("file", O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0 && write(file, "contents", 8) == 8);
    for (int i = 1; i < 8; i++) CHECK(dup3(file, most - i, i % 2 ? O_CLOEXEC : 0) == most - i);
    limit.rlim_cur = 64; /* what is open above it stays */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (dup(file) >= 0) {}
    CHECK(dup(file) == -1 && errno == EMFILE);

    save_point();

    CHECK(dup(file) == -1 && errno == EMFILE);
    for (int fd = file; fd < 64; fd++) CHECK_EQ(lseek(fd, 0, SEEK_CUR), 8);
    for (int i = 1; i < 8; i++) {
        CHECK_EQ(lseek(most - i, 0, SEEK_CUR), 8);
        CHECK_EQ(fcntl(most - i, F_GETFD), i % 2);
    }
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 64);
    return ok();
}
