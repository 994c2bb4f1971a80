/* SSE, AVX and AVX-512 registers, masks included, as far as this processor has them. */
#include "subject.h"
#include <immintrin.h>

static uint8_t before[32][64] __attribute__((aligned(64)));
static uint8_t after[32][64] __attribute__((aligned(64)));
static uint64_t masks[8];
static char line[64];

/* read(0, line, 64) with the registers loaded right before it and stored right after it, in one piece of assembly */
#define READ "xor %%eax, %%eax; xor %%edi, %%edi; mov %[line], %%rsi; mov $64, %%edx; syscall\n\t"
#define OPERANDS                                                                                               \
    : "=a"(result)                                                                                             \
    : [from] "r"(before), [to] "r"(after), [line] "r"(line), [masks] "r"(masks)                                \
    : "rcx", "rdx", "rsi", "rdi", "r11", "memory", "cc"
#define L(r, n, move) move " " #n "*64(%[from]), %%" r #n "\n\t"
#define S(r, n, move) move " %%" r #n ", " #n "*64(%[to])\n\t"
#define LOW(M, r, move)                                                                                        \
    M(r, 0, move) M(r, 1, move) M(r, 2, move) M(r, 3, move) M(r, 4, move) M(r, 5, move) M(r, 6, move) M(r, 7, move) \
    M(r, 8, move) M(r, 9, move) M(r, 10, move) M(r, 11, move) M(r, 12, move) M(r, 13, move) M(r, 14, move) M(r, 15, move)
#define HIGH(M, r, move)                                                                                       \
    M(r, 16, move) M(r, 17, move) M(r, 18, move) M(r, 19, move) M(r, 20, move) M(r, 21, move) M(r, 22, move)      \
    M(r, 23, move) M(r, 24, move) M(r, 25, move) M(r, 26, move) M(r, 27, move) M(r, 28, move) M(r, 29, move)      \
    M(r, 30, move) M(r, 31, move)
#define K(op, n) op(n)
#define KL(n) "kmovq " #n "*64(%[from]), %%k" #n "\n\t"
#define KS(n) "kmovq %%k" #n ", " #n "*8(%[masks])\n\t"
#define MASKS(M) M(1) M(2) M(3) M(4) M(5) M(6) M(7)

static long with_avx512(void) {
    long result;
    asm volatile(LOW(L, "zmm", "vmovdqu64") HIGH(L, "zmm", "vmovdqu64") MASKS(KL) READ
                 LOW(S, "zmm", "vmovdqu64") HIGH(S, "zmm", "vmovdqu64") MASKS(KS) "vzeroupper" OPERANDS);
    return result;
}
static long with_avx(void) {
    long result;
    asm volatile(LOW(L, "ymm", "vmovdqu") READ LOW(S, "ymm", "vmovdqu") "vzeroupper" OPERANDS);
    return result;
}
static long with_sse(void) {
    long result;
    asm volatile(LOW(L, "xmm", "movdqu") READ LOW(S, "xmm", "movdqu") OPERANDS);
    return result;
}

int main(void) {
    fill(before, sizeof before, 1);
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512bw"), avx = __builtin_cpu_supports("avx2");
    int registers = avx512 ? 32 : 16, bytes = avx512 ? 64 : avx ? 32 : 16;
    say("save point\n");
    long result = avx512 ? with_avx512() : avx ? with_avx() : with_sse();
    CHECK(result >= 0);
    for (int i = 0; i < registers; i++)
        if (memcmp(before[i], after[i], bytes) != 0) FAIL("vector register %d has changed\n", i);
    if (avx512)
        for (int i = 1; i < 8; i++) CHECK_EQ(masks[i], *(uint64_t *)before[i]);
    return ok();
}
