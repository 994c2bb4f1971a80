/*
 * Thread-local segments of the global descriptor table (set_thread_area), as 32-bit code and Wine use them. Only the 32-bit
 * system call table has the calls; int $0x80 reaches it from 64-bit code.
 */
#include "subject.h"
#include <asm/ldt.h>
enum { SET_THREAD_AREA = 243, GET_THREAD_AREA = 244 };

static long call32(long number, void *argument) {
    long result;
    asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(argument) : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
}
static void on_missing(int signal) {
    (void)signal;
    NEEDS(false, "a kernel with 32-bit emulation");
}

int main(void) {
    uint32_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED);
    low[1] = 0x87654321;
    struct user_desc *entry = (struct user_desc *)(low + 256);
    *entry = (struct user_desc){.entry_number = -1, .base_addr = (uint32_t)(uintptr_t)low, .limit = PAGE - 1,
                                .seg_32bit = 1, .useable = 1};
    struct sigaction action = {.sa_handler = on_missing};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    NEEDS(call32(SET_THREAD_AREA, entry) == 0, "a kernel with set_thread_area");
    unsigned number = entry->entry_number, selector = number << 3 | 3, base = entry->base_addr;
    CHECK(number >= 12 && number <= 14);
    asm volatile("mov %0, %%gs" : : "r"(selector));

    save_point();

    unsigned gs = 0;
    uint32_t word;
    asm volatile("mov %%gs, %0" : "=r"(gs));
    CHECK_EQ(gs, selector);
    asm volatile("mov %%gs:4, %0" : "=r"(word));
    CHECK_EQ(word, 0x87654321);
    *entry = (struct user_desc){.entry_number = number};
    CHECK_EQ(call32(GET_THREAD_AREA, entry), 0);
    CHECK_EQ(entry->base_addr, base);
    CHECK_EQ(entry->limit, PAGE - 1);
    asm volatile("mov %1, %%gs; mov %%gs:4, %0" : "=r"(word) : "r"(selector));
    CHECK_EQ(word, 0x87654321);
    return ok();
}
