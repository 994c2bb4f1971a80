/*
 * The worker (worker.c) as a tree: ten processes with two workers each, children and grandchildren, which write to memory and
 * pipes that they share besides. Commands, files and the account of each step are the same.
 *
 *     root ── 1 ── 4, 7          a pipe from each process to itself is shared with its children, who use it, too
 *       ├──── 2 ── 5, 8
 *       └──── 3 ── 6, 9
 */
#include "subject.h"
#include <linux/futex.h>
enum { PROCESSES = 10, WORKERS = 2, ALL = PROCESSES * WORKERS, RING = 1024 };

static const uint64_t A = 6364136223846793005u, C = 1442695040888963407u;
static volatile uint64_t *progress;
static struct shared {
    uint32_t parked; /* a futex word: 1 while the workers are to stand still */
    int standing;
    bool stop;
    uint64_t total[ALL];
} *shared;
static int own_pipe[2], parents_pipe[2];
static uint64_t rings[WORKERS][RING], counts[WORKERS], values[WORKERS];
static int which; /* of the processes */

static void make_calls(int index, uint64_t step, int file) {
    char bytes[8];
    struct timespec moment = {.tv_nsec = 300000}; /* so that twenty of them leave room for others */
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL) == 0);
    long place = (which * WORKERS + index) * 512l;
    if (index == 0) {
        CHECK(pwrite(file, &step, 8, place) == 8);
        CHECK(pread(file, bytes, 8, place) == 8 && memcmp(bytes, &step, 8) == 0);
        return;
    }
    int *pipe_ends = which != 0 && step % 3 == 0 ? parents_pipe : own_pipe; /* what one puts in, anybody takes out */
    CHECK(write(pipe_ends[1], "12345678", 8) == 8);
    CHECK(read(pipe_ends[0], bytes, 8) == 8 && memcmp(bytes, "12345678", 8) == 0);
    char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(area, PAGE, step);
    check_filled(area, PAGE, step);
    CHECK(munmap(area, 4 * PAGE) == 0);
}

static void stand_still(void) {
    __atomic_add_fetch(&shared->standing, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&shared->parked, __ATOMIC_ACQUIRE))
        CHECK(syscall(SYS_futex, &shared->parked, FUTEX_WAIT, 1, NULL, NULL, 0) == 0 || errno == EAGAIN);
    __atomic_sub_fetch(&shared->standing, 1, __ATOMIC_SEQ_CST);
}

static void *work(void *number) {
    int index = (int)(long)number, overall = which * WORKERS + index;
    int file = open("scratch", O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0);
    uint64_t x = overall, n = 0;
    while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < 100; i++) {
            rings[index][n % RING] = x;
            x = A * x + C;
            n++;
        }
        make_calls(index, n, file);
        progress[overall] = n;
        shared->total[overall] += 100;
        if (__atomic_load_n(&shared->parked, __ATOMIC_ACQUIRE)) stand_still();
    }
    counts[index] = n;
    values[index] = x;
    return NULL;
}

static uint64_t nth(uint64_t x, uint64_t n) {
    uint64_t a = A, c = C;
    for (; n > 0; n >>= 1) {
        if (n & 1) x = a * x + c;
        c = (a + 1) * c;
        a = a * a;
    }
    return x;
}

static void verify(void) {
    for (int i = 0; i < WORKERS; i++) {
        int overall = which * WORKERS + i;
        CHECK_EQ(values[i], nth(overall, counts[i]));
        CHECK_EQ(shared->total[overall], counts[i]);
        for (uint64_t n = counts[i] > RING ? counts[i] - RING : 0; n < counts[i]; n++)
            CHECK_EQ(rings[i][n % RING], nth(overall, n));
    }
}

static void park(bool quiet) {
    __atomic_store_n(&shared->parked, quiet, __ATOMIC_RELEASE);
    syscall(SYS_futex, &shared->parked, FUTEX_WAKE, ALL, NULL, NULL, 0);
    while (__atomic_load_n(&shared->standing, __ATOMIC_SEQ_CST) != (quiet ? ALL : 0)) sched_yield();
}

static void obey(void) {
    for (;;) {
        char line[64] = {0};
        long length = syscall(SYS_read, 0, line, sizeof line - 1);
        if (length < 0) FAIL("read() at the save point: %s\n", strerror(errno));
        bool quiet = strcmp(line, "quiet\n") == 0;
        if (!quiet && strcmp(line, "work\n") != 0) return;
        park(quiet);
        say(quiet ? "quiet\n" : "working\n");
    }
}

/* The children of this process, by the drawing above. */
static int fork_children(pid_t *pids) {
    int first = which == 0 ? 1 : which + 3, count = which == 0 ? 3 : which <= 3 ? 2 : 0;
    for (int i = 0; i < count; i++) {
        int number = which == 0 ? first + i : first + 3 * i;
        CHECK((pids[i] = fork()) >= 0);
        if (pids[i] == 0) {
            which = number;
            memcpy(parents_pipe, own_pipe, sizeof own_pipe);
            CHECK(pipe(own_pipe) == 0);
            return fork_children(pids);
        }
    }
    return count;
}

int main(int count, char **arguments) {
    size_t bytes = (count > 1 ? strtoul(arguments[1], NULL, 10) : 8) * MIB;
    char *held = map(bytes, PROT_READ | PROT_WRITE, 0);
    fill(held, bytes, 77);
    int fd = open("progress", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
    progress = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    CHECK(progress != MAP_FAILED && pipe(own_pipe) == 0);
    pid_t pids[3] = {0};
    int children = fork_children(pids);
    fill(held + which * 16 * PAGE, 16 * PAGE, 100 + which); /* each has pages of its own among those of all */
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)(long)i) == 0);
    if (which == 0) {
        for (int i = 0; i < ALL; i++)
            while (progress[i] == 0) sched_yield();
        say("save point\n");
        obey();
        __atomic_store_n(&shared->stop, true, __ATOMIC_RELEASE);
        park(false);
    }
    for (int i = 0; i < WORKERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    verify();
    check_filled(held + which * 16 * PAGE, 16 * PAGE, 100 + which);
    CHECK_EQ(*(uint64_t *)(held + bytes - 8), pattern(77, bytes / 8 - 1));
    for (int i = 0; i < children; i++) {
        int status;
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        CHECK_EQ(status, 0);
    }
    return which == 0 ? ok() : 0;
}
