/* Shared anonymous memory: one object stays one object however it is mapped: whole, in parts, moved, twice, by a child. */
#include "subject.h"

int main(void) {
    char *object = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(object, 32 * PAGE, 1); /* the other half was never touched */

    /* mremap from size 0 maps the same object a second time: mremap(2) */
    char *again = mremap(object, 0, 64 * PAGE, MREMAP_MAYMOVE);
    CHECK(again != MAP_FAILED && again != object);

    char *parted = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(parted, 16 * PAGE, 2);
    CHECK(munmap(parted + 4 * PAGE, 4 * PAGE) == 0);
    CHECK(mprotect(parted + 12 * PAGE, 4 * PAGE, PROT_READ) == 0);

    char *moved = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(moved, 8 * PAGE, 3);
    char *target = map(8 * PAGE, PROT_NONE, 0);
    CHECK(mremap(moved + 2 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);

    /* /dev/zero mapped shared is the same kind of object */
    int zero = open("/dev/zero", O_RDWR);
    char *device = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
    CHECK(device != MAP_FAILED);
    CHECK(close(zero) == 0);
    fill(device, 4 * PAGE, 4);

    save_point();

    check_filled(object, 32 * PAGE, 1);
    check_zero(object + 32 * PAGE, 32 * PAGE);
    check_filled(again, 32 * PAGE, 1);
    strcpy(again + 40 * PAGE, "still one object");
    CHECK(strcmp(object + 40 * PAGE, "still one object") == 0);

    check_filled(parted, 4 * PAGE, 2);
    CHECK(*(uint64_t *)(parted + 8 * PAGE) == pattern(2, 8 * PAGE / 8));
    CHECK(*(uint64_t *)(parted + 12 * PAGE) == pattern(2, 12 * PAGE / 8));
    /* what was unmapped of a shared object is still in the object: growing the first part brings it back */
    char *grown = mremap(parted, 4 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    CHECK(grown != MAP_FAILED);
    check_filled(grown, 16 * PAGE, 2);

    CHECK(*(uint64_t *)(target + PAGE) == pattern(3, 3 * PAGE / 8));
    CHECK(*(uint64_t *)(moved + 7 * PAGE) == pattern(3, 7 * PAGE / 8));
    check_filled(device, 4 * PAGE, 4);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        strcpy(object, "from the child");
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(strcmp(again, "from the child") == 0);
    return ok();
}
