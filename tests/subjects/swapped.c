/* Pages that are swapped out are saved as well as present ones. */
#include "subject.h"
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

int main(void) {
    char *area = map(4 * MIB, PROT_READ | PROT_WRITE, 0);
    fill(area, 4 * MIB, 1);
    NEEDS(madvise(area, 4 * MIB, MADV_PAGEOUT) == 0, "a kernel with MADV_PAGEOUT");
    unsigned char present[1024];
    CHECK(mincore(area, 4 * MIB, present) == 0);
    int out = 0;
    for (int i = 0; i < 1024; i++) out += !(present[i] & 1);
    NEEDS(out > 0, "swap space");

    save_point();

    check_filled(area, 4 * MIB, 1);
    return ok();
}
