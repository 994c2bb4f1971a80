/*
 * Restartable sequences, interrupted in the middle: threads spin in critical sections of a millisecond nearly all the time. Whatever
 * interrupts one sends it to its abort handler; one that commits after a long absence has not been told.
 */
#include "subject.h"
#include <sys/rseq.h>
#include <x86intrin.h>

#define SECTION_NS 1000000l
#define ABSENCE_NS 500000000l

static volatile bool over;
static volatile long commits, aborts;

/* Spins in a critical section until the time-stamp counter is there: 1 when it has committed, 2 when it was aborted. */
__attribute__((noinline)) static int section(uint64_t until) {
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    int how = 0;
    asm volatile(".pushsection __rseq_cs, \"aw\"\n\t.balign 32\n"
                 "3:\t.long 0, 0\n\t.quad 1f, (2f - 1f), 4f\n\t.popsection\n\t"
                 "leaq 3b(%%rip), %%rax\n\tmovq %%rax, %[cs]\n"
                 "1:\trdtsc\n\tshlq $32, %%rdx\n\torq %%rdx, %%rax\n\tcmpq %[until], %%rax\n\tjb 1b\n\t"
                 "movl $1, %[how]\n"
                 "2:\tjmp 5f\n\t.long %c[signature]\n"
                 "4:\tmovl $2, %[how]\n"
                 "5:"
                 : [cs] "=m"(area->rseq_cs), [how] "=m"(how)
                 : [until] "r"(until), [signature] "i"(RSEQ_SIG)
                 : "rax", "rdx", "memory", "cc");
    return how;
}

static void work(struct thread *thread) {
    uint64_t length = *(uint64_t *)thread->argument;
    while (!over) {
        long begin = now_ns(CLOCK_MONOTONIC);
        int how = section(__rdtsc() + length);
        long took = now_ns(CLOCK_MONOTONIC) - begin;
        CHECK(how == 1 || how == 2);
        if (how == 1 && took > ABSENCE_NS) FAIL("a critical section committed after %ld ms\n", took / 1000000);
        __atomic_add_fetch(how == 1 ? &commits : &aborts, 1, __ATOMIC_SEQ_CST);
    }
}

int main(void) {
    NEEDS(__rseq_size > 0, "a C library that registers rseq (glibc 2.35)");
    uint64_t ticks = __rdtsc();
    struct timespec measure = {.tv_nsec = SECTION_NS};
    nanosleep(&measure, NULL);
    ticks = __rdtsc() - ticks;
    static struct thread threads[2];
    for (int i = 0; i < 2; i++) start_thread(&threads[i], work, &ticks);
    char line[64];
    while (commits < 3) usleep(1000);
    say("at work\n");
    while (read(0, line, sizeof line) > 0 && strncmp(line, "end", 3) != 0) {
        long before = commits;
        while (commits < before + 3) usleep(1000);
        say("at work\n");
    }
    over = true;
    for (int i = 0; i < 2; i++) join_thread(&threads[i]);
    CHECK(commits > 0 && aborts > 0);
    return ok();
}
