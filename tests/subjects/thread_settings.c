/* Settings that each thread has for itself: policy, priority, niceness, affinity, I/O priority, timer slack. */
#include "subject.h"

static pthread_barrier_t barrier;

struct settings {
    int policy, priority, nice, io, slack_ns;
    bool pinned, taken;
};
static struct settings table[] = {
    {SCHED_OTHER, 0, 5, 2 << 13 | 7, 111111, true, false},  {SCHED_BATCH, 0, 7, 3 << 13, 222222, false, false},
    {SCHED_IDLE, 0, 0, 2 << 13 | 1, 333333, true, false},   {SCHED_FIFO, 3, 0, 1 << 13 | 2, 0, false, false},
    {SCHED_RR, 9, 0, 0, 0, true, false},                    {SCHED_OTHER | SCHED_RESET_ON_FORK, 0, 1, 0, 50001, false, false},
};
enum { COUNT = sizeof table / sizeof table[0] };

static void apply(struct settings *wanted) {
    struct sched_param param = {.sched_priority = wanted->priority};
    /* a machine may refuse real-time policies: then the rest of this thread's settings still count */
    wanted->taken = sched_setscheduler(0, wanted->policy, &param) == 0;
    if (wanted->nice) CHECK(setpriority(PRIO_PROCESS, gettid(), wanted->nice) == 0);
    if (syscall(SYS_ioprio_set, 1, 0, wanted->io) != 0) wanted->io = syscall(SYS_ioprio_get, 1, 0);
    if (wanted->slack_ns) CHECK(prctl(PR_SET_TIMERSLACK, wanted->slack_ns) == 0);
    wanted->slack_ns = prctl(PR_GET_TIMERSLACK);
    if (wanted->pinned) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    }
}

static void live(struct thread *thread) {
    struct settings *wanted = thread->argument;
    apply(wanted);
    cpu_set_t before, after;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    pthread_barrier_wait(&barrier);
    struct sched_param param;
    if (wanted->taken) CHECK_EQ(sched_getscheduler(0), wanted->policy);
    CHECK(sched_getparam(0, &param) == 0);
    if (wanted->taken) CHECK_EQ(param.sched_priority, wanted->priority);
    CHECK_EQ(getpriority(PRIO_PROCESS, gettid()), wanted->nice);
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), wanted->io);
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), wanted->slack_ns);
    CHECK(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after));
}

int main(void) {
    static struct thread threads[COUNT];
    pthread_barrier_init(&barrier, NULL, COUNT + 1);
    for (int i = 0; i < COUNT; i++) {
        start_thread(&threads[i], live, &table[i]);
        await_syscall(threads[i].tid, SYS_futex);
    }
    CHECK(setpriority(PRIO_PROCESS, 0, 3) == 0);

    save_point();

    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 3);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < COUNT; i++) join_thread(&threads[i]);
    return ok();
}
