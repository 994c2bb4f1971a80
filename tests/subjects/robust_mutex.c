/* Robust mutexes: the kernel still knows each thread's list, and tells the next owner when the owner dies (EOWNERDEAD). */
#include "subject.h"

static pthread_mutex_t mutexes[3];
static pthread_barrier_t barrier;

static void own_and_die(struct thread *thread) {
    (void)thread;
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_mutex_lock(&mutexes[i]), 0);
    pthread_barrier_wait(&barrier);
    syscall(SYS_exit, 0); /* without a chance to unlock, and without the library's own clean-up */
}

static void *robust_list_of(pid_t tid) {
    void *head = NULL;
    size_t length = 0;
    CHECK(syscall(SYS_get_robust_list, tid, &head, &length) == 0);
    CHECK_EQ(length, 24);
    return head;
}

int main(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_mutex_init(&mutexes[i], &attributes), 0);
    pthread_barrier_init(&barrier, NULL, 2);
    static struct thread thread;
    start_thread(&thread, own_and_die, NULL);
    await_syscall(thread.tid, SYS_futex);
    void *mine = robust_list_of(0), *its = robust_list_of(thread.tid);
    CHECK(mine != NULL && its != NULL);

    save_point();

    CHECK(robust_list_of(0) == mine);
    CHECK(robust_list_of(thread.tid) == its);
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_mutex_trylock(&mutexes[i]), EBUSY);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_mutex_lock(&mutexes[i]), EOWNERDEAD);
        CHECK_EQ(pthread_mutex_consistent(&mutexes[i]), 0);
        CHECK_EQ(pthread_mutex_unlock(&mutexes[i]), 0);
    }
    join_thread(&thread); /* clear_child_tid: the kernel wakes the joiner though the thread cleaned up nothing */
    return ok();
}
