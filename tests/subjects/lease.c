/* A lease (F_SETLEASE): whoever opens the file afterwards is made known by a signal. */
#include "subject.h"

static volatile sig_atomic_t told;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    told = info->si_fd;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    int fd = open("leased", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && fcntl(fd, F_SETSIG, SIGRTMIN + 1) == 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0);

    save_point();

    CHECK_EQ(fcntl(fd, F_GETLEASE), F_WRLCK);
    CHECK_EQ(told, 0);
    CHECK(open("leased", O_RDONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK);
    for (int tries = 0; told == 0 && tries < 100000; tries++) sched_yield();
    CHECK_EQ(told, fd);
    CHECK(fcntl(fd, F_SETLEASE, F_UNLCK) == 0);
    return ok();
}
