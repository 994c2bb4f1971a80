/* A master in packet mode, with output that is unread (TIOCPKT, ioctl_tty(2)). */
#include "pty.h"

int main(void) {
    int master, slave;
    open_pty(&master, &slave);
    make_raw(slave);
    int on = 1;
    CHECK(ioctl(master, TIOCPKT, &on) == 0);
    CHECK_EQ(write(slave, "words", 5), 5);
    await_unread(master, 5);

    save_point();

    CHECK(ioctl(master, TIOCGPKT, &on) == 0 && on == 1);
    char bytes[16];
    CHECK_EQ(read(master, bytes, sizeof bytes), 6);
    CHECK(memcmp(bytes, "\0words", 6) == 0);
    CHECK(tcflush(slave, TCIFLUSH) == 0);
    CHECK_EQ(read(master, bytes, sizeof bytes), 1);
    CHECK_EQ(bytes[0], TIOCPKT_FLUSHREAD);
    return ok();
}
