/* The x87 stack, its control and status words, and MXCSR: rounding modes and unmasked exceptions stay in force. */
#include "subject.h"

static void on_fpe(int signal) {
    (void)signal;
    siglongjmp(fault_jump, 1);
}

int main(void) {
    static char line[64];
    static long double stack[4];
    static uint16_t control = 0x0f7f, control_after, status_after; /* round to zero, 64 bit precision, invalid masked */
    static uint32_t vector_control = 0x7f80 & ~0x200u, vector_after; /* round to zero, division by zero unmasked */
    long result;
    say("save point\n");
    asm volatile("fninit; fldcw %[control]; fldpi; fldl2e; fldlg2; fld1; fchs; ldmxcsr %[vector]\n\t"
                 "xor %%eax, %%eax; xor %%edi, %%edi; lea %[line], %%rsi; mov $64, %%edx; syscall\n\t"
                 "stmxcsr %[vector_after]; fnstsw %[status_after]; fnstcw %[control_after]\n\t"
                 "fstpt %[s0]; fstpt %[s1]; fstpt %[s2]; fstpt %[s3]"
                 : "=&a"(result), [line] "=m"(line), [vector_after] "=m"(vector_after), [status_after] "=m"(status_after),
                   [control_after] "=m"(control_after), [s0] "=m"(stack[0]), [s1] "=m"(stack[1]), [s2] "=m"(stack[2]),
                   [s3] "=m"(stack[3])
                 : [control] "m"(control), [vector] "m"(vector_control)
                 : "rcx", "rdx", "rsi", "rdi", "r11", "memory", "cc");
    CHECK(result >= 0);
    CHECK_EQ(control_after, control);
    CHECK_EQ(vector_after, vector_control);
    CHECK_EQ((status_after >> 11) & 7, 4); /* four values on the stack: its top is register 4 */
    CHECK(stack[0] == -1.0L);
    CHECK(stack[1] > 0.30102999L && stack[1] < 0.30103001L);
    CHECK(stack[2] > 1.44269504L && stack[2] < 1.44269505L);
    CHECK(stack[3] > 3.14159265358979L && stack[3] < 3.14159265358980L);
    /* the unmasked division by zero traps */
    struct sigaction action = {.sa_handler = on_fpe};
    CHECK(sigaction(SIGFPE, &action, NULL) == 0);
    volatile double zero = 0.0, infinite;
    if (sigsetjmp(fault_jump, 1) == 0) {
        infinite = 1.0 / zero;
        FAIL("no SIGFPE, but %f\n", infinite);
    }
    return ok();
}
