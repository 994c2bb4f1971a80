/* A timer on the processor time of the only thread there is, as that asked for it without naming itself. */
#include "subject.h"

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 6};
    timer_t timer;
    CHECK_EQ(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer), 0);
    struct itimerspec value = {.it_value.tv_nsec = 300000000}, left;
    CHECK_EQ(timer_settime(timer, 0, &value, NULL), 0);

    save_point();

    CHECK_EQ(timer_gettime(timer, &left), 0);
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec <= 300000000);
    /* it expires when so much has been used, and not while nothing is */
    sigset_t pending;
    do CHECK_EQ(sigpending(&pending), 0);
    while (!sigismember(&pending, SIGRTMIN));
    siginfo_t info;
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    CHECK(info.si_code == SI_TIMER && info.si_value.sival_int == 6);
    return ok();
}
