/*
 * A session on a pseudo-terminal of the program, as under script(1): its leader, a group in the foreground, and what keys
 * do. The terminal is also opened by the name of /dev/tty.
 */
#include "pty.h"

static void on_interrupt(int signal) {
    (void)signal;
}

/* Told by a byte that it is time, does `what` says; tells by one how it went. */
static int wait_for(int fd) {
    char byte = 0;
    CHECK_EQ(read(fd, &byte, 1), 1);
    return byte;
}

int main(void) {
    int master, slave, to_leader[2], to_job[2], back[2];
    open_pty(&master, &slave);
    CHECK(pipe(to_leader) == 0 && pipe(to_job) == 0 && pipe(back) == 0);
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        CHECK(close(master) == 0);
        CHECK(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
        pid_t job = fork();
        CHECK(job >= 0);
        if (job == 0) {
            struct sigaction action = {.sa_handler = on_interrupt};
            CHECK(sigaction(SIGINT, &action, NULL) == 0);
            CHECK(setpgid(0, 0) == 0);
            signal(SIGTTOU, SIG_IGN);
            CHECK(tcsetpgrp(slave, getpid()) == 0);
            int tty = open("/dev/tty", O_RDWR);
            CHECK(tty >= 0 && write(back[1], "r", 1) == 1);
            char byte;
            CHECK(read(to_job[0], &byte, 1) == -1 && errno == EINTR); /* Ctrl-C */
            CHECK(write(back[1], "i", 1) == 1);
            CHECK_EQ(tcgetpgrp(tty), getpgrp());
            CHECK_EQ(write(tty, "job", 3), 3);
            _exit(0);
        }
        CHECK(setpgid(job, job) == 0 || errno == EACCES);
        CHECK(wait_for(to_leader[0]) == 'g');
        int status;
        CHECK(waitpid(job, &status, 0) == job && status == 0);
        CHECK(tcgetsid(slave) == getpid());
        signal(SIGTTOU, SIG_IGN);
        CHECK(tcsetpgrp(slave, getpid()) == 0);
        CHECK(open("/dev/tty", O_RDWR) >= 0);
        _exit(0);
    }
    CHECK(wait_for(back[0]) == 'r');
    CHECK_EQ(tcgetsid(master), leader);
    pid_t foreground = tcgetpgrp(master);
    CHECK(foreground > leader);

    save_point();

    CHECK_EQ(tcgetsid(master), leader);
    CHECK_EQ(tcgetpgrp(master), foreground);
    CHECK_EQ(write(master, "\003", 1), 1);
    CHECK(wait_for(back[0]) == 'i');
    check_read(master, "^C", 2);
    check_read(master, "job", 3);
    CHECK(write(to_leader[1], "g", 1) == 1);
    int status;
    CHECK(waitpid(leader, &status, 0) == leader && status == 0);
    return ok();
}
