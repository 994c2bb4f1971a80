/*
 * Pseudo-terminals of the program: index, settings, size, owner, exclusive use, Ctrl-S, and what is unread in both
 * directions: raw, as lines with an end of file and a line that is not complete, and more than the line discipline holds.
 */
#include "pty.h"

static char many[9000];

int main(void) {
    for (unsigned at = 0; at < sizeof many; at++) many[at] = (char)(at * 7 + at / 251);

    /* raw, full of what is unread */
    int raw, raw_slave;
    unsigned raw_index = open_pty(&raw, &raw_slave);
    make_raw(raw_slave);
    CHECK_EQ(write(raw_slave, many, sizeof many), (long)sizeof many);
    CHECK_EQ(write(raw, many, 3000), 3000);
    await_unread(raw_slave, 3000);
    struct winsize size = {.ws_row = 31, .ws_col = 113, .ws_xpixel = 640, .ws_ypixel = 480};
    CHECK(ioctl(raw, TIOCSWINSZ, &size) == 0);

    /* lines: two of them, Ctrl-D on an empty line, text that Ctrl-D ends, a quoted newline, and half a line; with echo */
    int lines, lines_slave;
    unsigned lines_index = open_pty(&lines, &lines_slave);
    static const char typed[] = "first\nse\026\003cond\n\004ended\004quo\026\nted\nnot comple\177ete";
    CHECK_EQ(write(lines, typed, sizeof typed - 1), (long)sizeof typed - 1);
    static const char echoed[] = "first\r\nse^\b^Ccond\r\nendedquo^\b^Jted\r\nnot comple\b \bete";
    await_unread(lines, sizeof echoed - 1);

    /* settings of its own, in exclusive use, stopped */
    int odd, odd_slave;
    unsigned odd_index = open_pty(&odd, &odd_slave);
    struct termios modes;
    CHECK(tcgetattr(odd_slave, &modes) == 0);
    cfsetospeed(&modes, B1200);
    modes.c_cc[VINTR] = 7;
    modes.c_lflag &= ~ECHO;
    modes.c_iflag |= IUTF8;
    CHECK(tcsetattr(odd_slave, TCSANOW, &modes) == 0);
    CHECK(fchown(odd_slave, 12, 34) == 0 && fchmod(odd_slave, 0620) == 0);
    CHECK(ioctl(odd_slave, TIOCEXCL) == 0);
    CHECK_EQ(write(odd, "\023", 1), 1);
    struct pollfd writable = {.fd = odd_slave, .events = POLLOUT};
    for (int tries = 0; tries < 5000 && poll(&writable, 1, 0) == 1; tries++) usleep(1000);
    CHECK_EQ(poll(&writable, 1, 0), 0);
    CHECK(fcntl(odd, F_SETFL, O_NONBLOCK) == 0 && fcntl(odd_slave, F_SETFL, O_NONBLOCK) == 0);
    int second = dup(odd_slave);

    /* the slave has been closed */
    int closed, closed_slave;
    unsigned closed_index = open_pty(&closed, &closed_slave);
    CHECK_EQ(write(closed_slave, "last words", 10), 10);
    CHECK(close(closed_slave) == 0);

    /* the slave cannot be opened yet */
    int locked = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    unsigned locked_index = 0;
    CHECK(ioctl(locked, TIOCGPTN, &locked_index) == 0);

    save_point();

    check_index(raw, raw_index), check_index(lines, lines_index), check_index(odd, odd_index);
    check_index(closed, closed_index), check_index(locked, locked_index);

    struct winsize is = {0};
    CHECK(ioctl(raw_slave, TIOCGWINSZ, &is) == 0 && memcmp(&is, &size, sizeof is) == 0);
    check_read(raw, many, sizeof many);
    check_read(raw_slave, many, 3000);
    check_nothing(raw), check_nothing(raw_slave);
    CHECK(write(raw, "in", 2) == 2 && write(raw_slave, "out", 3) == 3);
    check_read(raw_slave, "in", 2), check_read(raw, "out", 3);

    check_read(lines, echoed, sizeof echoed - 1);
    char line[64];
    CHECK(read(lines_slave, line, sizeof line) == 6 && memcmp(line, "first\n", 6) == 0);
    CHECK(read(lines_slave, line, sizeof line) == 8 && memcmp(line, "se\003cond\n", 8) == 0);
    CHECK_EQ(read(lines_slave, line, sizeof line), 0);
    CHECK(read(lines_slave, line, sizeof line) == 5 && memcmp(line, "ended", 5) == 0);
    CHECK(read(lines_slave, line, sizeof line) == 8 && memcmp(line, "quo\nted\n", 8) == 0);
    check_nothing(lines_slave);
    CHECK_EQ(write(lines, "\177\177e!\n", 5), 5); /* the half line can still be edited */
    check_read(lines_slave, "not complee!\n", 13);

    struct termios after;
    CHECK(tcgetattr(odd_slave, &after) == 0);
    CHECK(after.c_iflag == modes.c_iflag && after.c_oflag == modes.c_oflag && after.c_lflag == modes.c_lflag);
    CHECK(after.c_cflag == modes.c_cflag && memcmp(after.c_cc, modes.c_cc, sizeof modes.c_cc) == 0);
    CHECK_EQ(cfgetospeed(&after), B1200);
    struct stat node;
    CHECK(fstat(odd_slave, &node) == 0 && node.st_uid == 12 && node.st_gid == 34 && (node.st_mode & 07777) == 0620);
    int exclusive = 0;
    CHECK(ioctl(second, TIOCGEXCL, &exclusive) == 0 && exclusive == 1);
    CHECK_EQ(poll(&writable, 1, 0), 0);
    CHECK(write(odd_slave, "x", 1) == -1 && errno == EAGAIN);
    CHECK(read(odd, line, 1) == -1 && errno == EAGAIN);
    CHECK_EQ(write(odd, "\021", 1), 1);
    CHECK_EQ(poll(&writable, 1, 5000), 1);

    check_read(closed, "last words", 10);
    CHECK(read(closed, line, 1) == -1 && errno == EIO);

    char name[64];
    snprintf(name, sizeof name, "/dev/pts/%u", locked_index);
    CHECK(open(name, O_RDWR | O_NOCTTY) == -1 && errno == EIO);
    CHECK(unlockpt(locked) == 0);
    int slave = open(name, O_RDWR | O_NOCTTY);
    CHECK(slave >= 0 && write(slave, "hello", 5) == 5);
    check_read(locked, "hello", 5);
    return ok();
}
