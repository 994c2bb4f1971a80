/* Resource limits, soft and hard, in force and not only on paper. */
#include "subject.h"

static const struct {
    int resource;
    rlim_t soft, hard;
} table[] = {
    {RLIMIT_NOFILE, 77, 200},          {RLIMIT_CORE, 0, 0},          {RLIMIT_FSIZE, 5000, 1 << 30},
    {RLIMIT_STACK, 2 << 20, 16 << 20}, {RLIMIT_DATA, 1 << 30, 2l << 30}, {RLIMIT_AS, 4l << 30, 8l << 30},
    {RLIMIT_CPU, 3000, 6000},          {RLIMIT_MEMLOCK, 65536, 65536},   {RLIMIT_SIGPENDING, 100, 200},
    {RLIMIT_MSGQUEUE, 4096, 8192},     {RLIMIT_LOCKS, 5, 10},
};
enum { COUNT = sizeof table / sizeof table[0] };

int main(void) {
    struct rlimit set[COUNT];
    for (int i = 0; i < COUNT; i++) {
        CHECK(getrlimit(table[i].resource, &set[i]) == 0);
        if (table[i].hard < set[i].rlim_max) set[i].rlim_max = table[i].hard; /* limits only go down without privilege */
        set[i].rlim_cur = table[i].soft < set[i].rlim_max ? table[i].soft : set[i].rlim_max;
        CHECK(setrlimit(table[i].resource, &set[i]) == 0);
    }
    signal(SIGXFSZ, SIG_IGN);

    save_point();

    for (int i = 0; i < COUNT; i++) {
        struct rlimit now;
        CHECK(getrlimit(table[i].resource, &now) == 0);
        CHECK_EQ(now.rlim_cur, set[i].rlim_cur);
        CHECK_EQ(now.rlim_max, set[i].rlim_max);
    }
    CHECK(fcntl(0, F_DUPFD, 77) == -1 && errno == EINVAL);
    int fd = open("limited.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    static char bytes[8192];
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, bytes, sizeof bytes), 5000);
    CHECK(mmap(NULL, 5 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
    return ok();
}
