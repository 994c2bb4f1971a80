/* Three handlers deep at the save point: each frame returns to where its signal came from, registers and masks included. */
#include "subject.h"
#include <immintrin.h>

static volatile int depth;
static sigset_t mask_in[4];

static void mask_now(sigset_t *mask) { CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, mask), 0); }
static bool same(const sigset_t *left, const sigset_t *right) { return memcmp(left, right, 8) == 0; }

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)context;
    CHECK_EQ(info->si_value.sival_int, signal + 1);
    int level = ++depth;
    mask_now(&mask_in[level]);
    volatile double a = level, b = 0.5;
    union sigval value = {.sival_int = SIGRTMIN + level + 1};
    if (level < 3) CHECK(sigqueue(getpid(), SIGRTMIN + level, value) == 0);
    else save_point();
    sigset_t mask;
    mask_now(&mask);
    CHECK(same(&mask, &mask_in[level]));
    CHECK(a * b == level * 0.5);
    /* spoil what the return must bring back */
    asm volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
    depth--;
}

int main(void) {
    for (int i = 0; i < 3; i++) {
        struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
        sigemptyset(&action.sa_mask);
        sigaddset(&action.sa_mask, SIGHUP + i);
        CHECK(sigaction(SIGRTMIN + i, &action, NULL) == 0);
    }
    mask_now(&mask_in[0]);
    /* the signal arrives inside this kill(2), entered by hand with vector registers loaded */
    uint64_t low = 0x0123456789abcdef, found0, found7, found15;
    siginfo_t info = {.si_signo = SIGRTMIN, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_value.sival_int = SIGRTMIN + 1;
    long result;
    asm volatile("movq %[low], %%xmm0; movq %[low], %%xmm7; movq %[low], %%xmm15; syscall\n\t"
                 "movq %%xmm0, %[f0]; movq %%xmm7, %[f7]; movq %%xmm15, %[f15]"
                 : "=a"(result), [f0] "=r"(found0), [f7] "=r"(found7), [f15] "=r"(found15)
                 : "a"(SYS_rt_sigqueueinfo), "D"(getpid()), "S"(SIGRTMIN), "d"(&info), [low] "r"(low)
                 : "rcx", "r11", "xmm0", "xmm7", "xmm15", "memory");
    CHECK_EQ(result, 0);
    CHECK_EQ(found0, low);
    CHECK_EQ(found7, low);
    CHECK_EQ(found15, low);
    CHECK_EQ(depth, 0);
    sigset_t mask;
    mask_now(&mask);
    CHECK(same(&mask, &mask_in[0]));
    return ok();
}
