/*
 * Works all the time, so that whatever moment it is stopped at is in the middle of something, and keeps account of it, so that
 * a single step lost or done twice shows. The main thread waits at the save point meanwhile.
 *
 * Each worker steps a generator x -> a x + c (mod 2^64), counts its steps, and logs each value in a ring. The n-th value
 * follows from n alone, so the final state proves every step. Besides, each worker makes its own kind of system calls and
 * checks each result: none may ever be interrupted. How far each one is can be read from outside in the file `progress`,
 * a shared mapping: one 64-bit count for each worker.
 *
 * While it waits the main thread takes two commands besides the line that ends the program: "quiet" parks the workers, so that
 * the process can be looked at standing still, "work" sends them back to work.
 *
 *     worker MIB [quiet]     holds so much memory besides, filled with what does not compress; parked from the start
 */
#include "subject.h"
#include <poll.h>
#include <linux/futex.h>
enum { WORKERS = 5, RING = 4096 };

static const uint64_t A = 6364136223846793005u, C = 1442695040888963407u;
static volatile uint64_t *progress;
static volatile bool stop;
static uint32_t parked; /* a futex word: 1 while the workers are to stand still */
static int standing;
static uint64_t rings[WORKERS][RING], counts[WORKERS], values[WORKERS];

/* the n-th value from the first, by repeated squaring of the step */
static uint64_t nth(uint64_t x, uint64_t n) {
    uint64_t a = A, c = C;
    for (; n > 0; n >>= 1) {
        if (n & 1) x = a * x + c;
        c = (a + 1) * c;
        a = a * a;
    }
    return x;
}

static void make_calls(int index, uint64_t step, int zero, int file) {
    char bytes[64] = {1};
    struct timespec moment = {.tv_nsec = 1000};
    switch (index) {
    case 0: /* computes only, in registers of all kinds */
        break;
    case 1:
        CHECK(read(zero, bytes, sizeof bytes) == sizeof bytes && bytes[63] == 0);
        CHECK(pwrite(file, &step, 8, (step % 512) * 8) == 8);
        CHECK(pread(file, bytes, 8, (step % 512) * 8) == 8 && memcmp(bytes, &step, 8) == 0);
        break;
    case 2:
        CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL) == 0);
        CHECK(poll(NULL, 0, step % 64 == 0) == 0);
        break;
    case 3: { /* memory comes and goes */
        char *area = map(16 * PAGE, PROT_READ | PROT_WRITE, 0);
        fill(area, PAGE, step);
        CHECK(mprotect(area, PAGE, PROT_READ) == 0);
        check_filled(area, PAGE, step);
        CHECK(munmap(area, 16 * PAGE) == 0);
        break;
    }
    case 4: { /* descriptors come and go, waits end by themselves */
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
        uint32_t word = 0;
        CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &moment, NULL, 0) == -1 && errno == ETIMEDOUT);
        break;
    }
    }
}

static void stand_still(void) {
    __atomic_add_fetch(&standing, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE))
        CHECK(syscall(SYS_futex, &parked, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0) == 0 || errno == EAGAIN);
    __atomic_sub_fetch(&standing, 1, __ATOMIC_SEQ_CST);
}

static void park(struct thread *threads, bool quiet) {
    __atomic_store_n(&parked, quiet, __ATOMIC_RELEASE);
    syscall(SYS_futex, &parked, FUTEX_WAKE_PRIVATE, WORKERS, NULL, NULL, 0);
    while (__atomic_load_n(&standing, __ATOMIC_SEQ_CST) != (quiet ? WORKERS : 0)) sched_yield();
    for (int i = 0; quiet && i < WORKERS; i++) await_syscall(threads[i].tid, SYS_futex);
}

/* Reads commands until the line that ends the program, or the end of input. */
static void obey(struct thread *threads) {
    for (;;) {
        char line[64] = {0};
        long length = syscall(SYS_read, 0, line, sizeof line - 1);
        if (length < 0) FAIL("read() at the save point: %s\n", strerror(errno));
        bool quiet = strcmp(line, "quiet\n") == 0;
        if (!quiet && strcmp(line, "work\n") != 0) return;
        park(threads, quiet);
        say(quiet ? "quiet\n" : "working\n");
    }
}

static void work(struct thread *thread) {
    int index = thread->index;
    int zero = open("/dev/zero", O_RDONLY), file = open("scratch", O_RDWR | O_CREAT, 0600);
    CHECK(zero >= 0 && file >= 0);
    uint64_t x = index, n = 0;
    double sum = 0;
    while (!stop) {
        for (int i = 0; i < 200; i++) {
            rings[index][n % RING] = x;
            x = A * x + C;
            n++;
            sum += 0.5;
        }
        make_calls(index, n, zero, file);
        progress[index] = n;
        if (__atomic_load_n(&parked, __ATOMIC_ACQUIRE)) stand_still();
    }
    CHECK(sum == n * 0.5);
    counts[index] = n;
    values[index] = x;
}

int main(int count, char **arguments) {
    size_t bytes = (count > 1 ? strtoul(arguments[1], NULL, 10) : 8) * MIB;
    bool quiet = count > 2;
    char *held = map(bytes, PROT_READ | PROT_WRITE, 0);
    fill(held, bytes, 77);
    int fd = open("progress", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
    progress = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(progress != MAP_FAILED);
    static struct thread threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        threads[i].index = i;
        start_thread(&threads[i], work, NULL);
    }
    for (int i = 0; i < WORKERS; i++)
        while (progress[i] == 0) sched_yield();

    if (quiet) park(threads, true);
    say("save point\n");
    obey(threads);

    stop = true;
    park(threads, false);
    for (int i = 0; i < WORKERS; i++) {
        join_thread(&threads[i]);
        CHECK_EQ(values[i], nth(i, counts[i]));
        for (uint64_t n = counts[i] > RING ? counts[i] - RING : 0; n < counts[i]; n++)
            CHECK_EQ(rings[i][n % RING], nth(i, n));
    }
    check_filled(held, bytes, 77);
    return ok();
}
