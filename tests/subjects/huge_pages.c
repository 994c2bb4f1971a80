/* Transparent huge pages: contents and advice stay, and a huge area may still be split, given back in part, and filled. */
#include "subject.h"
enum { HUGE = 2 * 1024 * 1024 };

int main(void) {
    char *room = map(10 * HUGE, PROT_READ | PROT_WRITE, 0);
    char *area = (char *)(((uintptr_t)room + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    NEEDS(madvise(area, 8 * HUGE, MADV_HUGEPAGE) == 0, "a kernel with transparent huge pages");
    fill(area, 3 * HUGE, 1);
    fill(area + 4 * HUGE + 5 * PAGE, PAGE, 2);
    CHECK(madvise(area + HUGE, 16 * PAGE, MADV_DONTNEED) == 0);

    save_point();

    check_filled(area, HUGE, 1);
    check_zero(area + HUGE, 16 * PAGE);
    CHECK(*(uint64_t *)(area + HUGE + 16 * PAGE) == pattern(1, (HUGE + 16 * PAGE) / 8));
    CHECK(*(uint64_t *)(area + 2 * HUGE) == pattern(1, 2 * HUGE / 8));
    check_filled(area + 4 * HUGE + 5 * PAGE, PAGE, 2);
    check_zero(area + 4 * HUGE, 5 * PAGE);
    CHECK(has_vm_flag(area, "hg") && !has_vm_flag(room, "nh"));
    fill(area, 8 * HUGE, 3);
    check_filled(area, 8 * HUGE, 3);
    return ok();
}
