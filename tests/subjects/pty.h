/* Pseudo-terminals, for the subjects that have some (pty(7)). */
#ifndef PTY_H
#define PTY_H

#include "subject.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

/* A pair whose slave is open and raw. Tells its index. */
UNUSED static unsigned open_pty(int *master, int *slave) {
    unsigned index = 0;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    NEEDS(*master >= 0, "pseudo-terminals");
    CHECK(unlockpt(*master) == 0 && ioctl(*master, TIOCGPTN, &index) == 0);
    char name[64];
    snprintf(name, sizeof name, "/dev/pts/%u", index);
    *slave = open(name, O_RDWR | O_NOCTTY);
    CHECK(*slave >= 0);
    return index;
}

UNUSED static void make_raw(int slave) {
    struct termios modes;
    CHECK(tcgetattr(slave, &modes) == 0);
    cfmakeraw(&modes);
    CHECK(tcsetattr(slave, TCSANOW, &modes) == 0);
}

/* What the slave is given takes a worker of the kernel to arrive: poll(2) waits for it. */
UNUSED static void await_input(int fd) {
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 5000), 1);
}

/* Waits until the line discipline has processed all that was written, which shows in what can be read raw. */
UNUSED static void await_unread(int fd, int count) {
    int there = 0;
    for (int tries = 0; tries < 5000 && there != count; tries++) {
        CHECK(ioctl(fd, FIONREAD, &there) == 0);
        if (there != count) usleep(1000);
    }
    CHECK_EQ(there, count);
}

UNUSED static void check_index(int master, unsigned index) {
    unsigned is = 0;
    CHECK(ioctl(master, TIOCGPTN, &is) == 0);
    CHECK_EQ(is, index);
}

/* Reads exactly this. */
UNUSED static void check_read(int fd, const char *expected, long length) {
    char bytes[32 * KIB];
    CHECK(length <= (long)sizeof bytes);
    for (long done = 0; done < length;) {
        await_input(fd);
        long count = read(fd, bytes + done, length - done);
        CHECK(count > 0);
        done += count;
    }
    for (long at = 0; at < length; at++)
        if (bytes[at] != expected[at])
            FAIL("byte %ld is %d, not %d\n", at, (unsigned char)bytes[at], (unsigned char)expected[at]);
}

UNUSED static void check_nothing(int fd) {
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 0), 0);
}

#endif
