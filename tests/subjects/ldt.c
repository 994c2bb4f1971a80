/* Segments of one's own: entries of the local descriptor table (modify_ldt), one of them loaded in a register. */
#include "subject.h"
#include <asm/ldt.h>


int main(void) {
    uint32_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED);
    low[3] = 0x12345678;
    struct user_desc first = {.entry_number = 2, .base_addr = (uint32_t)(uintptr_t)low, .limit = PAGE - 1, .seg_32bit = 1,
                              .useable = 1};
    struct user_desc second = {.entry_number = 700, .base_addr = (uint32_t)(uintptr_t)low + 12, .limit = 0xfffff,
                               .limit_in_pages = 1, .read_exec_only = 1, .seg_32bit = 1};
    NEEDS(syscall(SYS_modify_ldt, 0x11, &first, sizeof first) == 0, "a kernel with modify_ldt");
    CHECK((int)syscall(SYS_modify_ldt, 0x11, &second, sizeof second) == 0);
    static unsigned char before[8192], after[8192];
    int bytes = syscall(SYS_modify_ldt, 0, before, sizeof before);
    CHECK(bytes > 700 * 8);
    unsigned selector = 2 << 3 | 7;
    asm volatile("mov %0, %%es; mov %0, %%ds" : : "r"(selector)); /* data segments mean nothing in 64-bit mode but stay */

    save_point();

    unsigned es = 0, ds = 0;
    asm volatile("mov %%es, %0; mov %%ds, %1" : "=r"(es), "=r"(ds));
    CHECK_EQ(es, selector);
    CHECK_EQ(ds, selector);
    CHECK_EQ((int)syscall(SYS_modify_ldt, 0, after, sizeof after), bytes);
    for (int i = 0; i < bytes; i++)
        if ((i & 7) != 5) CHECK_EQ(before[i], after[i]); /* byte 5 holds the accessed bit, the processor's own */
    /* a base in %gs is what 64-bit code can see */
    uint32_t word;
    asm volatile("mov %1, %%gs; mov %%gs:12, %0; mov %2, %%gs" : "=&r"(word) : "r"(selector), "r"(0));
    CHECK_EQ(word, 0x12345678);
    asm volatile("mov %1, %%gs; mov %%gs:0, %0; mov %2, %%gs" : "=&r"(word) : "r"(700 << 3 | 7), "r"(0));
    CHECK_EQ(word, 0x12345678);
    return ok();
}
