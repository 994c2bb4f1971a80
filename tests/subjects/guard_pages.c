/* Guard pages still fault, with the right signal and address, also those around a thread's stack. */
#include "subject.h"

static void wait_at_barrier(struct thread *thread) {
    pthread_barrier_wait(thread->argument);
}

int main(void) {
    catch_faults();
    char *guarded = map(5 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(guarded, 5 * PAGE, 1);
    CHECK(mprotect(guarded, PAGE, PROT_NONE) == 0);
    CHECK(mprotect(guarded + 4 * PAGE, PAGE, PROT_NONE) == 0);
    CHECK(mprotect(guarded + 2 * PAGE, PAGE, PROT_READ) == 0);
    CHECK_EQ(signal_of_read(guarded), SIGSEGV);

    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    struct thread thread = {0};
    start_thread(&thread, wait_at_barrier, &barrier);
    await_syscall(thread.tid, SYS_futex);
    pthread_attr_t attributes;
    void *stack;
    size_t bytes, guard;
    CHECK_EQ(pthread_getattr_np(thread.handle, &attributes), 0);
    CHECK_EQ(pthread_attr_getstack(&attributes, &stack, &bytes), 0);
    CHECK_EQ(pthread_attr_getguardsize(&attributes, &guard), 0);
    CHECK(guard >= PAGE);

    save_point();

    CHECK_EQ(signal_of_read(guarded + PAGE - 1), SIGSEGV);
    CHECK_EQ(signal_of_write(guarded + 4 * PAGE), SIGSEGV);
    CHECK_EQ(signal_of_write(guarded + 2 * PAGE), SIGSEGV);
    CHECK_EQ(signal_of_read(guarded + 2 * PAGE), 0);
    CHECK_EQ(signal_of_write(guarded + 3 * PAGE), 0);
    CHECK_EQ(signal_of_read(NULL), SIGSEGV);
    CHECK_EQ(signal_of_write((char *)stack - 1), SIGSEGV);
    pthread_barrier_wait(&barrier);
    join_thread(&thread);
    return ok();
}
