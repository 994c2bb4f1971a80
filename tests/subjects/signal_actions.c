/* The actions of all 64 signals: handler, flags, mask and restorer, as the kernel has them (rt_sigaction, no library). */
#include "subject.h"

struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};
static const unsigned long flag_sets[] = {
    0, SA_RESTART, SA_SIGINFO | SA_NODEFER, SA_ONSTACK | SA_RESETHAND, SA_SIGINFO | SA_RESTART | SA_ONSTACK,
};
static volatile int handled[65];

static void on_signal(int signal) { handled[signal]++; }
static void on_siginfo(int signal, siginfo_t *info, void *context) {
    (void)context;
    CHECK_EQ(info->si_signo, signal);
    handled[signal] += 100;
}

static struct kernel_action get(int signal) {
    struct kernel_action action;
    CHECK(syscall(SYS_rt_sigaction, signal, NULL, &action, 8) == 0);
    return action;
}

int main(void) {
    /* the library's own return trampoline, read back from an action that the library made */
    struct sigaction own = {.sa_handler = on_signal};
    CHECK(sigaction(SIGUSR1, &own, NULL) == 0);
    struct kernel_action model = get(SIGUSR1), wanted[65];
    CHECK(model.restorer != NULL);
    for (int signal = 1; signal <= 64; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        unsigned long flags = flag_sets[signal % 5];
        wanted[signal] = (struct kernel_action){
            .handler = flags & SA_SIGINFO ? (void *)on_siginfo : (void *)on_signal,
            .flags = flags | model.flags,
            .restorer = model.restorer,
            .mask = pattern(7, signal) & ~(1ul << (SIGKILL - 1) | 1ul << (SIGSTOP - 1)),
        };
        if (signal % 11 == 0) wanted[signal].handler = SIG_IGN;
        if (signal % 13 == 0) wanted[signal].handler = SIG_DFL;
        if (signal == SIGCHLD) wanted[signal].flags |= SA_NOCLDWAIT | SA_NOCLDSTOP;
        CHECK(syscall(SYS_rt_sigaction, signal, &wanted[signal], NULL, 8) == 0);
    }

    save_point();

    for (int signal = 1; signal <= 64; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        struct kernel_action found = get(signal);
        if (memcmp(&found, &wanted[signal], sizeof found) != 0) FAIL("the action of signal %d is not as it was\n", signal);
    }
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++) {
        if (wanted[signal].handler == SIG_IGN || wanted[signal].handler == SIG_DFL) continue;
        CHECK(raise(signal) == 0);
        CHECK_EQ(handled[signal], wanted[signal].flags & SA_SIGINFO ? 100 : 1);
    }
    return ok();
}
