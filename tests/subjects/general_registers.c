/* All general registers and the flags keep their values across a blocking system call entered by hand. */
#include "subject.h"

int main(void) {
    static uint64_t after[16];
    static char line[64];
    say("save point\n");
    /* rax, rcx and r11 are the system call's own. DF (0x400) and AC (0x40000) are set in the flags meanwhile. */
    asm volatile(
        "push %%rbx; push %%rbp\n\t"
        "mov $0x1111111111111101, %%rbx; mov $0x1111111111111102, %%rbp\n\t"
        "mov $0x1111111111111108, %%r8;  mov $0x1111111111111109, %%r9;  mov $0x1111111111111110, %%r10\n\t"
        "mov $0x1111111111111112, %%r12; mov $0x1111111111111113, %%r13\n\t"
        "mov $0x1111111111111114, %%r14; mov $0x1111111111111115, %%r15\n\t"
        "pushfq; orq $0x40400, (%%rsp); popfq\n\t"
        "xor %%eax, %%eax; xor %%edi, %%edi; lea %[line], %%rsi; mov $64, %%edx\n\t"
        "syscall\n\t"
        "mov %%rax, %[after]\n\t"
        "pushfq; pop %%rax; cld; mov %%rax, 8+%[after]\n\t"
        "mov %%rbx, 16+%[after]; mov %%rbp, 24+%[after]; mov %%r8, 32+%[after]; mov %%r9, 40+%[after]\n\t"
        "mov %%r10, 48+%[after]; mov %%r12, 56+%[after]; mov %%r13, 64+%[after]; mov %%r14, 72+%[after]\n\t"
        "mov %%r15, 80+%[after]; mov %%rdi, 88+%[after]; mov %%rsi, 96+%[after]; mov %%rdx, 104+%[after]\n\t"
        "pushfq; andq $~0x40400, (%%rsp); popfq\n\t"
        "pop %%rbp; pop %%rbx\n\t"
        : [after] "+m"(after), [line] "+m"(line)
        :
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    CHECK((long)after[0] >= 0);
    CHECK_EQ(after[1] & 0x40400, 0x40400);
    static const int numbers[] = {1, 2, 8, 9, 0x10, 0x12, 0x13, 0x14, 0x15};
    for (int i = 0; i < 9; i++) CHECK_EQ(after[2 + i], 0x1111111111111100 + numbers[i]);
    CHECK_EQ(after[11], 0);
    CHECK_EQ(after[12], (uintptr_t)line);
    CHECK_EQ(after[13], 64);
    return ok();
}
