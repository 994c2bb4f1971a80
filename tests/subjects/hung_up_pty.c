/* Slaves that are hung up: one whose master is closed, and one that vhangup(2) has hung up while its master is there. */
#include "pty.h"

static void check_hung_up(int fd) {
    char byte;
    struct termios modes;
    CHECK_EQ(read(fd, &byte, 1), 0);
    CHECK(write(fd, "x", 1) == -1 && errno == EIO);
    CHECK(tcgetattr(fd, &modes) == -1 && errno == EIO);
}

int main(void) {
    int master, slave, other, of_session;
    open_pty(&master, &slave);
    int second = dup(slave);
    unsigned index = open_pty(&other, &of_session);
    CHECK(close(master) == 0);

    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        CHECK(setsid() > 0 && ioctl(of_session, TIOCSCTTY, 0) == 0);
        signal(SIGHUP, SIG_IGN);
        _exit(vhangup() == 0 ? 0 : 1);
    }
    int status;
    CHECK(waitpid(leader, &status, 0) == leader);
    NEEDS(status == 0, "the right to hang up a terminal (CAP_SYS_TTY_CONFIG)");
    check_hung_up(slave), check_hung_up(of_session);

    save_point();

    check_hung_up(slave), check_hung_up(second), check_hung_up(of_session);
    check_index(other, index);
    char name[64];
    snprintf(name, sizeof name, "/dev/pts/%u", index);
    int anew = open(name, O_RDWR | O_NOCTTY);
    CHECK(anew >= 0 && write(anew, "alive", 5) == 5);
    check_read(other, "alive", 5);
    return ok();
}
