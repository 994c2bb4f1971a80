/*
 * Processes or threads that come and go without pause, each of which is to come to its own good end: told by the root, which
 * counts them in the file "count" until there is something to read. What it does stands in its argument:
 *
 *     fork       children that end at once, some with a child of their own, in two processes
 *     threads    threads made and joined, in two processes
 *     exec       children that execute a program, and a process that executes itself again and again, at times from a
 *                thread that is not its first
 */
#include "subject.h"
#include <poll.h>

static volatile uint64_t *counts; /* one for each line of work */

static void map_counts(int flags) {
    int fd = open("count", O_RDWR | flags, 0600);
    CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
    counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(counts != MAP_FAILED && close(fd) == 0);
}

static bool is_over(void) { return counts[8] != 0; }

static void ended_with(pid_t pid, int code) {
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, code << 8);
}

static void fork_once(int nested) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (nested) {
            pid_t inner = fork();
            CHECK(inner >= 0);
            if (inner == 0) _exit(3);
            ended_with(inner, 3);
        }
        _exit(4);
    }
    ended_with(pid, 4);
}

static void *nothing(void *number) { return (char *)number + 1; }
static void thread_once(long number) {
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, nothing, (void *)number) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK_EQ((long)result, number + 1);
}

static void exec_once(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "storm", "end", NULL);
        _exit(1);
    }
    ended_with(pid, 5);
}

static void *again(void UNUSED *none) {
    execl("/proc/self/exe", "storm", "again", NULL);
    _exit(1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const char *what = argv[1];
    if (strcmp(what, "end") == 0) return 5;
    bool is_again = strcmp(what, "again") == 0;
    map_counts(is_again ? 0 : O_CREAT | O_TRUNC);
    if (is_again) {
        if (is_over()) return 6;
        if (++counts[1] % 4 == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, again, NULL) == 0);
            for (;;) pause();
        }
        again(NULL);
    }
    pid_t second = fork();
    CHECK(second >= 0);
    if (second == 0) {
        if (*what == 'e') again(NULL);
        while (!is_over()) {
            if (*what == 'f') fork_once(counts[1] % 4 == 0);
            if (*what == 't') thread_once(counts[1]);
            counts[1]++;
        }
        return 6;
    }
    say("storm\n");
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 0) == 0) {
        if (*what == 'f') fork_once(0);
        if (*what == 't') thread_once(counts[0]);
        if (*what == 'e') exec_once();
        counts[0]++;
    }
    counts[8] = 1;
    ended_with(second, 6);
    return ok();
}
