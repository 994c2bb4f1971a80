/* Signalfds: which signals they take, and one that is pending. */
#include "subject.h"
#include <poll.h>
#include <sys/signalfd.h>

static int taken(int fd) {
    struct signalfd_siginfo info = {0};
    CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
    return (int)info.ssi_signo;
}

int main(void) {
    sigset_t all, one, last;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigemptyset(&last);
    sigaddset(&last, SIGRTMAX);
    int first = signalfd(-1, &one, SFD_NONBLOCK | SFD_CLOEXEC), second = signalfd(-1, &last, 0);
    CHECK(first >= 0 && second >= 0);
    union sigval value = {.sival_int = 77};
    CHECK(sigqueue(getpid(), SIGRTMAX, value) == 0 && kill(getpid(), SIGUSR2) == 0);

    save_point();

    struct signalfd_siginfo info;
    CHECK(read(first, &info, sizeof info) == -1 && errno == EAGAIN); /* SIGUSR2 is not for it */
    CHECK(kill(getpid(), SIGUSR1) == 0);
    struct pollfd waited = {.fd = first, .events = POLLIN};
    CHECK(poll(&waited, 1, 1000) == 1 && taken(first) == SIGUSR1);
    CHECK_EQ(read(second, &info, sizeof info), sizeof info);
    CHECK(info.ssi_signo == (uint32_t)SIGRTMAX && info.ssi_int == 77);
    CHECK_EQ(fcntl(first, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(second, F_GETFL) & O_NONBLOCK, 0);
    /* another set for one that is there already */
    sigaddset(&one, SIGUSR2);
    CHECK(signalfd(first, &one, 0) == first && taken(first) == SIGUSR2);
    return ok();
}
