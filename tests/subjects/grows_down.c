/* A mapping that grows down by itself (MAP_GROWSDOWN) goes on growing. */
#include "subject.h"

int main(void) {
    /* room below, so that nothing is in the way of its growth nor in its guard gap (1 MiB) */
    char *room = map(16 * MIB, PROT_NONE, MAP_NORESERVE);
    CHECK(munmap(room, 16 * MIB) == 0);
    char *top = room + 12 * MIB;
    char *first = mmap(top - 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(first == top - 2 * PAGE);
    for (int i = 1; i <= 10; i++) fill(top - i * PAGE, PAGE, i);
    CHECK(has_vm_flag(top - 10 * PAGE, "gd"));

    save_point();

    CHECK(has_vm_flag(top - 10 * PAGE, "gd"));
    for (int i = 11; i <= 200; i++) fill(top - i * PAGE, PAGE, i);
    for (int i = 1; i <= 200; i++) check_filled(top - i * PAGE, PAGE, i);
    return ok();
}
