/* Memory in which pages of zeros and others take turns, so that it is of many pieces: private, shared, and in a file of memory. */
#include "subject.h"

#define PAGES 2048

static void stripe(char *start, uint64_t seed) {
    for (long page = 0; page < PAGES; page++) {
        if (page % 2) fill(start + page * PAGE, PAGE, seed + page);
        else *(volatile char *)(start + page * PAGE) = 0;
    }
}

static void check_striped(char *start, uint64_t seed) {
    for (long page = 0; page < PAGES; page++) {
        if (page % 2) check_filled(start + page * PAGE, PAGE, seed + page);
        else check_zero(start + page * PAGE, PAGE);
    }
}

int main(void) {
    char *private = map(PAGES * PAGE, PROT_READ | PROT_WRITE, 0);
    char *shared = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    int fd = memfd_create("striped", 0);
    CHECK(madvise(private, PAGES * PAGE, MADV_NOHUGEPAGE) == 0 && fd >= 0 && ftruncate(fd, PAGES * PAGE) == 0);
    char *file = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(file != MAP_FAILED);
    stripe(private, 1);
    stripe(shared, 100000);
    stripe(file, 200000);

    save_point();

    check_striped(private, 1);
    check_striped(shared, 100000);
    check_striped(file, 200000);
    return ok();
}
