/* Checkpointed inside a handler that runs on the alternate stack; and an alternate stack that disarms itself meanwhile. */
#include "subject.h"
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static char *area;
static volatile int rounds;

static void on_stack(int signal) {
    char here;
    CHECK(&here > area && &here < area + 64 * KIB);
    stack_t stack;
    CHECK(sigaltstack(NULL, &stack) == 0);
    if (signal == SIGUSR1) CHECK_EQ(stack.ss_flags, SS_ONSTACK);
    else CHECK_EQ(stack.ss_flags, SS_DISABLE); /* disarmed for as long as the handler runs */
    if (rounds == 0) save_point();
    CHECK(sigaltstack(NULL, &stack) == 0);
    if (signal == SIGUSR1) CHECK_EQ(stack.ss_flags, SS_ONSTACK);
    CHECK(&here > area && &here < area + 64 * KIB);
    rounds++;
}

int main(int count, char **arguments) {
    bool autodisarm = count > 1 && strcmp(arguments[1], "autodisarm") == 0;
    int signal = autodisarm ? SIGUSR2 : SIGUSR1;
    area = map(64 * KIB, PROT_READ | PROT_WRITE, 0);
    stack_t stack = {.ss_sp = area, .ss_size = 64 * KIB, .ss_flags = autodisarm ? (int)SS_AUTODISARM : 0}, found;
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(signal, &action, NULL) == 0);
    CHECK_EQ(raise(signal), 0); /* the save point is in the handler */
    CHECK_EQ(rounds, 1);
    CHECK(sigaltstack(NULL, &found) == 0);
    CHECK(found.ss_sp == area && found.ss_size == 64 * KIB);
    CHECK_EQ(found.ss_flags, autodisarm ? (int)SS_AUTODISARM : 0);
    CHECK_EQ(raise(signal), 0);
    CHECK_EQ(rounds, 2);
    return ok();
}
