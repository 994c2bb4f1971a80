/* Threads waiting on a mutex, a condition variable (one with a deadline far away), a rwlock, a barrier and a semaphore. */
#include "subject.h"
#include <semaphore.h>

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t inheriting;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static bool ready;
static int entered;

static void on_mutex(struct thread *thread) {
    (void)thread;
    CHECK_EQ(pthread_mutex_lock(&held), 0);
    entered++;
    CHECK_EQ(pthread_mutex_unlock(&held), 0);
}
static void on_inheriting(struct thread *thread) {
    (void)thread;
    CHECK_EQ(pthread_mutex_lock(&inheriting), 0);
    CHECK_EQ(pthread_mutex_unlock(&inheriting), 0);
}
static void on_condition(struct thread *thread) {
    CHECK_EQ(pthread_mutex_lock(&guard), 0);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 36000;
    while (!ready)
        CHECK_EQ(thread->index % 2 ? pthread_cond_wait(&changed, &guard)
                                   : pthread_cond_timedwait(&changed, &guard, &deadline), 0);
    CHECK_EQ(pthread_mutex_unlock(&guard), 0);
}
static void on_lock(struct thread *thread) {
    (void)thread;
    CHECK_EQ(pthread_rwlock_rdlock(&lock), 0);
    CHECK_EQ(pthread_rwlock_unlock(&lock), 0);
}
static void on_barrier(struct thread *thread) {
    (void)thread;
    int result = pthread_barrier_wait(&barrier);
    CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
}
static void on_semaphore(struct thread *thread) {
    (void)thread;
    CHECK(sem_wait(&semaphore) == 0);
}

int main(void) {
    static void (*const bodies[])(struct thread *) = {on_mutex,   on_mutex, on_condition, on_condition, on_lock,
                                                      on_barrier, on_semaphore, on_inheriting};
    enum { COUNT = sizeof bodies / sizeof bodies[0] };
    static struct thread threads[COUNT];
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    CHECK_EQ(pthread_mutex_init(&inheriting, &attributes), 0);
    pthread_barrier_init(&barrier, NULL, 2);
    sem_init(&semaphore, 0, 0);
    pthread_mutex_lock(&held);
    pthread_mutex_lock(&inheriting);
    pthread_rwlock_wrlock(&lock);
    for (int i = 0; i < COUNT; i++) {
        threads[i].index = i;
        start_thread(&threads[i], bodies[i], NULL);
        await_syscall(threads[i].tid, SYS_futex);
    }

    save_point();

    CHECK_EQ(entered, 0);
    CHECK_EQ(pthread_mutex_trylock(&held), EBUSY);
    pthread_mutex_unlock(&held);
    CHECK_EQ(pthread_mutex_unlock(&inheriting), 0);
    pthread_rwlock_unlock(&lock);
    pthread_mutex_lock(&guard);
    ready = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&guard);
    pthread_barrier_wait(&barrier);
    sem_post(&semaphore);
    for (int i = 0; i < COUNT; i++) join_thread(&threads[i]);
    CHECK_EQ(entered, 2);
    return ok();
}
