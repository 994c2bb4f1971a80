/*
 * Stacks of seccomp filters: some that all threads have, some of a thread's own; one of those kills for nearly all that a
 * checkpoint and a restore have a task execute. Started as "root" it has no no_new_privs; as "together" its threads have
 * none of their own, so that a further one can be handed to all; as "dropped" it was privileged when it installed one.
 */
#include "subject.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define IF(number, action) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), RETURN(action)

static long install(unsigned flags, struct sock_filter *filter, size_t count) {
    struct sock_fprog program = {.len = count, .filter = filter};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}
#define INSTALL(flags, ...)                                                    \
    ({                                                                         \
        struct sock_filter filter[] = {LOAD(nr), __VA_ARGS__};                 \
        install(flags, filter, sizeof filter / sizeof filter[0]);              \
    })
#define FAILS(error) (SECCOMP_RET_ERRNO | (error))
#define ALLOWED RETURN(SECCOMP_RET_ALLOW)


static pthread_barrier_t barrier;
static bool together, dropped;

static void install_own(int index) {
    CHECK(INSTALL(SECCOMP_FILTER_FLAG_LOG, IF(SYS_getppid, FAILS(200 + index)), ALLOWED) == 0);
    if (index != 1) return;
    /* a long one, that does not fit where a thread's system calls usually lie */
    static struct sock_filter filter[4000];
    filter[0] = (struct sock_filter)LOAD(nr);
    for (int i = 1; i < 3999; i += 2) {
        filter[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5000 + i, 0, 1);
        filter[i + 1] = (struct sock_filter)RETURN(FAILS(77));
    }
    filter[3999] = (struct sock_filter)ALLOWED;
    CHECK(install(0, filter, 4000) == 0);
}

static void live(struct thread *thread) {
    pthread_barrier_wait(&barrier); /* what is handed to all is there */
    if (!together && !dropped) install_own(thread->index);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    CHECK(syscall(SYS_getpgid, 0) == -1 && errno == 55);
    if (!together && !dropped) CHECK(syscall(SYS_getppid) == -1 && errno == 200 + thread->index);
    if (!together && !dropped && thread->index == 1) CHECK(syscall(5001) == -1 && errno == 77);
    if (together) CHECK(syscall(SYS_getsid, 0) == -1 && errno == 66);
}

/* All that the threads and the C library still need. */
static long hand_the_strict_one_to_all(void) {
    static const int allowed[] = {SYS_read,     SYS_write,   SYS_exit,    SYS_exit_group,   SYS_futex,   SYS_madvise,
                                  SYS_munmap,   SYS_getppid, SYS_getpgid, SYS_rt_sigprocmask, SYS_getsid,  SYS_seccomp,
                                  SYS_rseq,     5001,        SYS_mmap,    SYS_sched_yield,  SYS_rt_sigreturn};
    static struct sock_filter filter[64];
    int at = 0;
    filter[at++] = (struct sock_filter)LOAD(nr);
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        filter[at++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    }
    filter[at++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    return install(SECCOMP_FILTER_FLAG_TSYNC, filter, at);
}

int main(int count, char **arguments) {
    const char *how = count > 1 ? arguments[1] : "";
    NEEDS(geteuid() == 0, "root: seccomp filters can be read by the superuser only");
    together = strcmp(how, "together") == 0;
    dropped = strcmp(how, "dropped") == 0;
    bool is_privileged = dropped || strcmp(how, "root") == 0;
    if (!is_privileged) CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(INSTALL(SECCOMP_FILTER_FLAG_SPEC_ALLOW, IF(SYS_getpgid, FAILS(55)), ALLOWED) == 0);
    if (dropped) {
        struct { unsigned version; int pid; } header = {0x20080522, 0};
        unsigned none[6] = {0};
        CHECK(syscall(SYS_capset, &header, none) == 0);
    }
    pthread_barrier_init(&barrier, NULL, 3);
    struct thread threads[2] = {{.index = 0}, {.index = 1}};
    for (int i = 0; i < 2; i++) start_thread(&threads[i], live, NULL);
    if (!dropped) CHECK_EQ(hand_the_strict_one_to_all(), 0);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);

    save_point();

    CHECK(syscall(SYS_getpgid, 0) == -1 && errno == 55);
    long refusal = INSTALL(SECCOMP_FILTER_FLAG_TSYNC, IF(SYS_getsid, FAILS(66)), ALLOWED);
    int error = errno;
    if (dropped) CHECK(refusal == -1 && error == EACCES);
    else if (together) CHECK_EQ(refusal, 0);
    else CHECK(refusal == threads[0].tid || refusal == threads[1].tid);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) join_thread(&threads[i]);
    return ok();
}
