/* Restartable sequences: the area the C library registered is still the kernel's, in each thread: cpu_id follows the CPU. */
#include "subject.h"
#include <sys/rseq.h>

static pthread_barrier_t barrier;

static volatile struct rseq *area(void) { return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset); }

static void follow(void) {
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    for (int round = 0; round < 3; round++)
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET(cpu, &all)) continue;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
            CHECK_EQ(area()->cpu_id, cpu);
            CHECK_EQ(area()->cpu_id_start, cpu);
        }
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    /* registering again is refused as the same registration (EBUSY), not as another one (EINVAL) */
    CHECK(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG) == -1 && errno == EBUSY);
}

static void live(struct thread *thread) {
    (void)thread;
    follow();
    pthread_barrier_wait(&barrier);
    follow();
}

int main(void) {
    NEEDS(__rseq_size > 0, "a C library that registers rseq (glibc 2.35)");
    follow();
    pthread_barrier_init(&barrier, NULL, 2);
    static struct thread thread;
    start_thread(&thread, live, NULL);
    await_syscall(thread.tid, SYS_futex);

    save_point();

    follow();
    pthread_barrier_wait(&barrier);
    join_thread(&thread);
    return ok();
}
