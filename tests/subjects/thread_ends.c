/* Threads end as they would have: joined (clear_child_tid), detached, cancelled; new ones can be made and use old keys. */
#include "subject.h"
#include <semaphore.h>

static sem_t gate;
static pthread_key_t key;
static volatile int destroyed;

static void destroy(void *value) {
    (void)value;
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
}
static void wait_then_return(struct thread *thread) {
    pthread_setspecific(key, thread);
    CHECK(sem_wait(&gate) == 0);
    thread->result = thread->index * 10;
}
static void wait_forever(struct thread *thread) {
    pthread_setspecific(key, thread);
    pause();
    FAIL("pause() came back\n");
}

int main(void) {
    static struct thread joined[4], cancelled, detached, later;
    CHECK_EQ(pthread_key_create(&key, destroy), 0);
    sem_init(&gate, 0, 0);
    for (int i = 0; i < 4; i++) {
        joined[i].index = i;
        start_thread(&joined[i], wait_then_return, NULL);
        await_syscall(joined[i].tid, SYS_futex);
    }
    start_thread(&cancelled, wait_forever, NULL);
    start_thread(&detached, wait_then_return, NULL);
    CHECK_EQ(pthread_detach(detached.handle), 0);
    await_syscall(cancelled.tid, SYS_pause);
    await_syscall(detached.tid, SYS_futex);

    save_point();

    CHECK_EQ(destroyed, 0);
    for (int i = 0; i < 5; i++) sem_post(&gate);
    for (int i = 0; i < 4; i++) {
        join_thread(&joined[i]);
        CHECK_EQ(joined[i].result, i * 10);
    }
    CHECK_EQ(pthread_cancel(cancelled.handle), 0);
    void *result;
    CHECK_EQ(pthread_join(cancelled.handle, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    sem_post(&gate);
    start_thread(&later, wait_then_return, NULL);
    join_thread(&later);
    while (destroyed < 7) sched_yield(); /* the detached one says that it is gone only in this way */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d", detached.tid);
    while (access(path, F_OK) == 0) sched_yield();
    return ok();
}
