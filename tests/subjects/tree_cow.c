/*
 * Memory that children have from their parent: unchanged, changed in part, dropped, protected, unmapped, grown. Each has what
 * it had, and what was shared is shared again: the proportional share (PSS) of each is what it was.
 */
#include "tree.h"

#define LARGE (24 * MIB)
enum { CHILDREN = 7 };
static char *large, *second;

static long anon_pss_kib(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    char *line = strstr(slurp(path), "Pss_Anon:");
    CHECK(line != NULL);
    return atol(line + 9);
}

static void work(int which) {
    char *heap = sbrk(0), *more = NULL;
    switch (which) {
    case 0: break;
    case 1:
        for (size_t at = 0; at < LARGE; at += 64 * PAGE) fill(large + at, PAGE, 100 + at);
        break;
    case 2: CHECK(madvise(large + MIB, 4 * MIB, MADV_DONTNEED) == 0); break;
    case 3: CHECK(sbrk(2 * MIB) == heap); fill(heap, 2 * MIB, 3); break;
    case 4:
        CHECK(mprotect(large + 2 * MIB, MIB, PROT_READ) == 0 && mprotect(large + 5 * MIB, MIB, PROT_NONE) == 0);
        break;
    case 5: CHECK(munmap(large + 8 * MIB, 2 * MIB) == 0 && munmap(large, PAGE) == 0); break;
    case 6: {
        more = map(3 * MIB, PROT_READ | PROT_WRITE, 0);
        fill(more, 3 * MIB, 6);
        fill(second, PAGE, 66);
        pid_t pid = fork(); /* a grandchild, which has of both */
        CHECK(pid >= 0);
        if (pid == 0) {
            fill(more + MIB, PAGE, 7);
            fill(large + MIB, PAGE, 8);
            take_place();
            check_filled(more, MIB, 6);
            check_filled(more + MIB, PAGE, 7);
            check_filled(large + MIB, PAGE, 8);
            check_filled(second, PAGE, 66);
            _exit(0);
        }
        take_place();
        check_filled(more, 3 * MIB, 6);
        check_filled(second, PAGE, 66);
        check_filled(large, LARGE, 1);
        is_well(pid);
        return;
    }
    }
    take_place();
    switch (which) {
    case 0: check_filled(large, LARGE, 1); break;
    case 1:
        for (size_t at = 0; at < LARGE; at += 64 * PAGE) {
            check_filled(large + at, PAGE, 100 + at);
            CHECK_EQ(*(uint64_t *)(large + at + PAGE), pattern(1, (at + PAGE) / 8));
        }
        break;
    case 2:
        check_zero(large + MIB, 4 * MIB);
        check_filled(large, MIB, 1);
        CHECK_EQ(*(uint64_t *)(large + 5 * MIB), pattern(1, 5 * MIB / 8));
        break;
    case 3:
        check_filled(heap, 2 * MIB, 3);
        CHECK(sbrk(0) == heap + 2 * MIB);
        check_filled(large, LARGE, 1);
        break;
    case 4:
        CHECK(mprotect(large + 5 * MIB, MIB, PROT_READ) == 0);
        check_filled(large, LARGE, 1);
        break;
    case 5:
        CHECK_EQ(*(uint64_t *)(large + PAGE), pattern(1, PAGE / 8));
        CHECK_EQ(*(uint64_t *)(large + 10 * MIB), pattern(1, 10 * MIB / 8));
        unsigned char core;
        CHECK(mincore(large, PAGE, &core) == -1 && errno == ENOMEM);
        CHECK(mincore(large + 8 * MIB, PAGE, &core) == -1 && errno == ENOMEM);
        break;
    }
    /* What it writes now is its own. */
    fill(large + 20 * MIB, PAGE, 1000 + which);
    take_place();
    check_filled(large + 20 * MIB, PAGE, 1000 + which);
}

int main(void) {
    muster();
    large = map(LARGE, PROT_READ | PROT_WRITE, 0);
    CHECK(madvise(large, LARGE, MADV_NOHUGEPAGE) == 0);
    second = map(MIB, PROT_READ | PROT_WRITE, 0);
    fill(large, LARGE, 1);
    fill(second, MIB, 2);
    for (int i = 0; i < CHILDREN; i++) enlist(work, i);
    await_ready(CHILDREN + 1);
    long before[CHILDREN + 1];
    before[CHILDREN] = anon_pss_kib(getpid());
    for (int i = 0; i < CHILDREN; i++) before[i] = anon_pss_kib(enlisted[i]);
    save_point();
    for (int i = 0; i < CHILDREN + 1; i++) {
        long after = anon_pss_kib(i < CHILDREN ? enlisted[i] : getpid());
        if (labs(after - before[i]) > before[i] / 20 + 64)
            FAIL("the share of child %d was %ld KiB, and is %ld KiB\n", i, before[i], after);
    }
    go(CHILDREN + 1);
    await_ready(CHILDREN - 1); /* each has written a page of its own; ours is still ours */
    check_filled(large, LARGE, 1);
    check_filled(second, MIB, 2);
    go(CHILDREN - 1);
    all_well();
    return ok();
}
