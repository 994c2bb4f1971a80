/* POSIX timers: ids with gaps between, one that notifies a thread, one that nobody is told of, one that is not armed. */
#include "subject.h"

static timer_t make(clockid_t clock, int how, int signal, int value, pid_t tid) {
    struct sigevent event = {.sigev_notify = how, .sigev_signo = signal, .sigev_value.sival_int = value};
    event._sigev_un._tid = tid;
    int id = -1;
    CHECK_EQ(syscall(SYS_timer_create, clock, &event, &id), 0);
    return (timer_t)(long)id;
}

static void arm(timer_t timer, long first_ns, long period_ns) {
    struct itimerspec value = {{period_ns / 1000000000, period_ns % 1000000000}, {first_ns / 1000000000, first_ns % 1000000000}};
    CHECK_EQ(syscall(SYS_timer_settime, (int)(long)timer, 0, &value, NULL), 0);
}

static struct itimerspec left(timer_t timer) {
    struct itimerspec value;
    CHECK_EQ(syscall(SYS_timer_gettime, (int)(long)timer, &value), 0);
    return value;
}

static void wait_for_signal(struct thread *thread) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    siginfo_t info;
    thread->result = sigwaitinfo(&set, &info) == SIGRTMIN + 1 && info.si_code == SI_TIMER ? info.si_value.sival_int : -1;
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGRTMIN + 1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    struct thread other = {0};
    start_thread(&other, wait_for_signal, NULL);

    timer_t dropped[3];
    for (int i = 0; i < 3; i++) dropped[i] = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
    timer_t soon = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 42, 0);
    timer_t to_thread = make(CLOCK_REALTIME, SIGEV_THREAD_ID, SIGRTMIN + 1, 7, other.tid);
    timer_t silent = make(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0, 0);
    timer_t idle = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN, 43, 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(syscall(SYS_timer_delete, (int)(long)dropped[i]), 0);
    clockid_t of_thread, of_process;
    CHECK(pthread_getcpuclockid(other.handle, &of_thread) == 0 && clock_getcpuclockid(getpid(), &of_process) == 0);
    timer_t counting[] = {make(of_thread, SIGEV_NONE, 0, 0, 0), make(of_process, SIGEV_NONE, 0, 0, 0)};
    for (int i = 0; i < 2; i++) arm(counting[i], 3600000000000, 0);
    arm(silent, 3600000000000, 60000000000);
    arm(to_thread, 5000000000, 0);
    arm(soon, 4000000000, 0);

    save_point();

    long remaining = left(soon).it_value.tv_sec * 1000000000 + left(soon).it_value.tv_nsec;
    if (remaining == 0) CHECK(sigismember(&set, SIGRTMIN)); /* it has fired: the harness was slow */
    CHECK(remaining <= 4000000000);
    CHECK_EQ(left(silent).it_interval.tv_sec, 60);
    CHECK(left(silent).it_value.tv_sec > 3500 && left(silent).it_value.tv_sec <= 3600);
    CHECK_EQ(left(idle).it_value.tv_sec + left(idle).it_value.tv_nsec, 0);

    for (int i = 0; i < 2; i++)
        CHECK(left(counting[i]).it_value.tv_sec > 3500 && left(counting[i]).it_value.tv_sec <= 3600);

    siginfo_t info;
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, SIGRTMIN);
    CHECK_EQ(sigwaitinfo(&own, &info), SIGRTMIN);
    CHECK_EQ(info.si_code, SI_TIMER);
    CHECK_EQ(info.si_value.sival_int, 42);
    join_thread(&other);
    CHECK_EQ(other.result, 7);
    timer_t next = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
    CHECK(next != soon && next != to_thread && next != silent && next != idle);
    return ok();
}
