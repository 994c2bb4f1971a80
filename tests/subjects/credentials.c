/*
 * Threads that act as different users (as servers do that set the ids of one thread by the system call itself), with
 * capability sets, securebits, groups and no_new_privs of their own; the first keeps its privileges.
 */
#include "subject.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>

static pthread_barrier_t barrier;

static void set_capabilities(unsigned effective, unsigned permitted, unsigned inheritable) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{effective, permitted, inheritable}, {0, 0, 0}};
    CHECK(syscall(SYS_capset, &header, data) == 0);
}

static void check_capabilities(unsigned effective, unsigned permitted, unsigned inheritable) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    CHECK(syscall(SYS_capget, &header, data) == 0);
    CHECK_EQ(data[0].effective, effective);
    CHECK_EQ(data[0].permitted, permitted);
    CHECK_EQ(data[0].inheritable, inheritable);
}

enum { KILL = 1 << CAP_KILL, RAW = 1 << CAP_NET_RAW, BIND = 1 << CAP_NET_BIND_SERVICE };

static void set(int index) {
    gid_t groups[] = {100 + index, 200, 300};
    CHECK(syscall(SYS_setgroups, 3, groups) == 0);
    if (index == 0) CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) == 0);
    if (index == 1) CHECK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP) == 0);
    CHECK(syscall(SYS_setresgid, 1000, 1001 + index, 1002) == 0);
    CHECK(syscall(SYS_setresuid, 2000, 2001 + index, 2002) == 0);
    if (index != 1) return;
    set_capabilities(KILL, KILL | RAW, RAW);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

static void check(int index) {
    gid_t groups[8];
    CHECK_EQ(getgroups(8, groups), 3);
    CHECK_EQ(groups[0], 100 + index);
    uid_t real, effective, saved;
    CHECK(getresuid(&real, &effective, &saved) == 0);
    CHECK(real == 2000 && effective == 2001u + index && saved == 2002);
    CHECK(getresgid(&real, &effective, &saved) == 0);
    CHECK(real == 1000 && effective == 1001u + index && saved == 1002);
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), index == 1);
    if (index == 0) CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_MODULE), 0);
    if (index != 1) return check_capabilities(0, 0, 0);
    CHECK_EQ(prctl(PR_GET_SECUREBITS), SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP);
    CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0), 1);
    check_capabilities(KILL, KILL | RAW, RAW);
}

static void live(struct thread *thread) {
    set(thread->index);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    check(thread->index);
}

int main(void) {
    NEEDS(geteuid() == 0, "root: to become other users");
    pthread_barrier_init(&barrier, NULL, 3);
    struct thread threads[2] = {{.index = 0}, {.index = 1}};
    for (int i = 0; i < 2; i++) start_thread(&threads[i], live, NULL);
    pthread_barrier_wait(&barrier);

    save_point();

    CHECK_EQ(geteuid(), 0);
    CHECK(chown(".", 0, 0) == 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) join_thread(&threads[i]);
    return ok();
}
