/* Five thousand mappings, none like its neighbour. */
#include "subject.h"
enum { COUNT = 5000 };

int main(void) {
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
    char *area = map(COUNT * PAGE, PROT_READ | PROT_WRITE, 0);
    for (int i = 0; i < COUNT; i++) {
        *(int *)(area + i * PAGE + 8) = i;
        CHECK(mprotect(area + i * PAGE, PAGE, protections[i % 4]) == 0);
    }

    save_point();

    catch_faults();
    for (int i = 0; i < COUNT; i++) {
        char *page = area + i * PAGE;
        if (i % 4 == 2) {
            if (i % 100 == 2) CHECK_EQ(signal_of_read(page), SIGSEGV);
            CHECK(mprotect(page, PAGE, PROT_READ) == 0);
        }
        CHECK_EQ(*(int *)(page + 8), i);
        if (i % 4 == 1 && i % 100 == 1) CHECK_EQ(signal_of_write(page), SIGSEGV);
    }
    return ok();
}
