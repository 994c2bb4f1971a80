/* FS and GS bases, of the main thread and of another one, set by arch_prctl. */
#include "subject.h"
#include <asm/prctl.h>

static __thread uint64_t own = 11;
static pthread_barrier_t barrier;

static uint64_t load_gs(void) {
    uint64_t word;
    asm volatile("mov %%gs:0, %0" : "=r"(word));
    return word;
}

static void with_gs(struct thread *thread) {
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, thread->argument) == 0);
    own = 33;
    pthread_barrier_wait(&barrier);
    CHECK_EQ(load_gs(), *(uint64_t *)thread->argument);
    CHECK_EQ(own, 33);
}

int main(void) {
    static uint64_t areas[2] = {0xaaaa, 0xbbbb};
    uint64_t *high = map(PAGE, PROT_READ | PROT_WRITE, 0); /* above 4 GiB, unlike what a segment could hold */
    *high = 0xcccc;
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, high) == 0);
    own = 22;
    pthread_barrier_init(&barrier, NULL, 2);
    struct thread thread = {0};
    start_thread(&thread, with_gs, &areas[1]);
    await_syscall(thread.tid, SYS_futex);
    uint64_t fs_before, fs, gs;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_before) == 0);

    save_point();

    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0 && syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0);
    CHECK_EQ(fs, fs_before);
    CHECK_EQ(gs, (uintptr_t)high);
    CHECK_EQ(load_gs(), 0xcccc);
    CHECK_EQ(own, 22);
    pthread_barrier_wait(&barrier);
    join_thread(&thread);
    return ok();
}
