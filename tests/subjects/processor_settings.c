/* What a thread may do with its processor: read the time stamp counter, execute CPUID, speculate. */
#include "subject.h"
#include <asm/prctl.h>
#include <linux/prctl.h>
#include <x86intrin.h>

static pthread_barrier_t barrier;
static bool has_cpuid_faults;

static void live(struct thread *thread) {
    (void)thread;
    CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
    has_cpuid_faults = syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) == 0;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    int tsc = 0;
    CHECK(prctl(PR_GET_TSC, &tsc) == 0);
    CHECK_EQ(tsc, PR_TSC_SIGSEGV);
    fault_signal = 0;
    if (sigsetjmp(fault_jump, 1) == 0) (void)__rdtsc();
    CHECK_EQ(fault_signal, SIGSEGV);
    if (has_cpuid_faults) CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_CPUID), 0);
}

int main(void) {
    catch_faults();
    long spec = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
    if (spec > 0 && spec & PR_SPEC_PRCTL)
        CHECK(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0) == 0);
    spec = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
    pthread_barrier_init(&barrier, NULL, 2);
    struct thread thread = {0};
    start_thread(&thread, live, NULL);
    pthread_barrier_wait(&barrier);

    save_point();

    (void)__rdtsc(); /* this thread may */
    CHECK_EQ(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0), spec);
    pthread_barrier_wait(&barrier);
    join_thread(&thread);
    return ok();
}
