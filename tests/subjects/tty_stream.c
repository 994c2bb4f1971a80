/*
 * The terminal that the program was started on, open in all kinds of ways: as standard streams, for writing only and not
 * blocking, as /dev/tty, and in a child that has it by yet another description.
 */
#include "pty.h"

int main(void) {
    NEEDS(isatty(0) && isatty(1) && isatty(2), "a terminal");
    char name[64];
    CHECK(ttyname_r(0, name, sizeof name) == 0);
    CHECK(dup2(open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY), 10) == 10);
    CHECK(dup2(open("/dev/tty", O_RDONLY | O_CLOEXEC), 11) == 11);
    CHECK(dup2(0, 12) == 12);
    struct termios modes;
    CHECK(tcgetattr(0, &modes) == 0);
    modes.c_lflag &= ~ECHO;
    modes.c_cc[VINTR] = 7;
    CHECK(tcsetattr(0, TCSANOW, &modes) == 0);
    int turn[2];
    CHECK(pipe(turn) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(dup2(open(name, O_WRONLY | O_NOCTTY), 13) == 13);
        char byte;
        CHECK(read(turn[0], &byte, 1) == 1);
        CHECK(isatty(13) && write(13, "from the child\n", 15) == 15);
        CHECK(open("/dev/tty", O_RDWR) >= 0);
        _exit(0);
    }

    save_point();

    struct stat is, other;
    CHECK(fstat(0, &is) == 0);
    for (int fd = 1; fd <= 12; fd++)
        if (fd <= 2 || fd == 10 || fd == 12) CHECK(isatty(fd) && fstat(fd, &other) == 0 && other.st_rdev == is.st_rdev);
    CHECK_EQ(fcntl(10, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
    CHECK_EQ(fcntl(0, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
    CHECK_EQ(fcntl(11, F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK(fcntl(12, F_SETFL, O_RDWR | O_NONBLOCK) == 0 && (fcntl(0, F_GETFL) & O_NONBLOCK));
    CHECK(fcntl(0, F_SETFL, O_RDWR) == 0);
    CHECK(isatty(11) && tcgetpgrp(11) == getpgrp() && tcgetsid(0) == getsid(0));
    CHECK(tcgetattr(0, &modes) == 0 && modes.c_cc[VINTR] == 7 && !(modes.c_lflag & ECHO));
    CHECK_EQ(write(10, "through the second\n", 19), 19);
    CHECK(write(turn[1], "t", 1) == 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return ok();
}
