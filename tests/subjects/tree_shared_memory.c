/* Shared memory: of all, of a child and its own child, of siblings in part; and a shared mapping of a file. Written through. */
#include "tree.h"

static char *of_all, *of_file, *in_part;

static void barrier(int count) { /* all that take part come here before any goes on */
    volatile int *waiting = (int *)of_all;
    __atomic_add_fetch(waiting, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(waiting, __ATOMIC_SEQ_CST) < count) usleep(200);
}

static void work(int which) {
    char *of_family = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(of_family, 4 * PAGE, 10 + which);
    if (which == 1) CHECK(munmap(in_part, 2 * PAGE) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_place();
        check_filled(of_family, 4 * PAGE, 10 + which);
        of_family[5] = 'c';
        of_all[PAGE + 2 * which + 1] = 'c';
        of_file[PAGE + which] = 'f';
        barrier(4);
        CHECK_EQ(of_all[PAGE + 0], 'p');
        CHECK_EQ(of_all[PAGE + 2], 'p');
        _exit(0);
    }
    take_place();
    of_all[PAGE + 2 * which] = 'p';
    in_part[3 * PAGE + which] = 'i';
    barrier(4);
    CHECK_EQ(of_family[5], 'c');
    CHECK_EQ(of_all[PAGE + 1], 'c');
    CHECK_EQ(of_all[PAGE + 3], 'c');
    CHECK_EQ(in_part[3 * PAGE], 'i');
    CHECK_EQ(in_part[3 * PAGE + 1], 'i');
    CHECK_EQ(of_file[PAGE], 'f');
    CHECK_EQ(of_file[PAGE + 1], 'f');
    is_well(pid);
}

int main(void) {
    muster();
    of_all = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    in_part = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    fill(of_all + 32 * PAGE, PAGE, 1);
    int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    of_file = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(of_file != MAP_FAILED && close(fd) == 0);
    enlist(work, 0);
    enlist(work, 1);
    await_ready(4);
    CHECK(munmap(of_all + 60 * PAGE, 4 * PAGE) == 0); /* the root has less of it than its children */
    save_point();
    check_filled(of_all + 32 * PAGE, PAGE, 1);
    go(4);
    all_well();
    CHECK_EQ(of_file[PAGE], 'f');
    CHECK_EQ(in_part[3 * PAGE + 1], 'i');
    return ok();
}
