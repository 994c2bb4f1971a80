/* Threads in several processes: each with its own data, waiting for each other by a mutex of shared memory. */
#include "tree.h"

enum { THREADS = 4, PROCESSES = 3 };
static struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t came;
    int count;
} *shared;
static __thread int own;

static void *work(void *number) {
    own = (int)(long)number;
    take_place();
    CHECK_EQ(own, (int)(long)number);
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    shared->count++;
    CHECK(pthread_cond_broadcast(&shared->came) == 0);
    while (shared->count < THREADS * PROCESSES) CHECK(pthread_cond_wait(&shared->came, &shared->mutex) == 0);
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
    return NULL;
}

static void process(int which) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)(long)(10 * which + i)) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
    muster();
    shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pthread_mutexattr_t mutex;
    pthread_condattr_t came;
    CHECK(pthread_mutexattr_init(&mutex) == 0 && pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_condattr_init(&came) == 0 && pthread_condattr_setpshared(&came, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutex_init(&shared->mutex, &mutex) == 0 && pthread_cond_init(&shared->came, &came) == 0);
    for (int i = 0; i < PROCESSES; i++) enlist(process, i);
    await_ready(THREADS * PROCESSES);
    save_point();
    go(THREADS * PROCESSES);
    all_well();
    CHECK_EQ(shared->count, THREADS * PROCESSES);
    return ok();
}
