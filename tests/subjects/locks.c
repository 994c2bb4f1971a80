/*
 * Locks of all kinds, of two processes: each still has what it had, and others cannot get it; a lock that is waited for comes
 * when it is released after the checkpoint.
 */
#include "subject.h"
#include <sys/file.h>

static int lock(int fd, int command, short type, off_t start, off_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

/* Who stands in the way of a lock: the pid, -1 for a description, 0 for nobody. */
static pid_t holder(int fd, short type, off_t start, off_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    CHECK(fcntl(fd, F_GETLK, &lock) == 0);
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

static volatile int *stage;
static void await(int wanted) {
    for (long tries = 0; *stage != wanted; tries++) {
        if (tries > 5000000) FAIL("stage %d never came\n", wanted);
        sched_yield();
    }
}

static void child(int mine) {
    int other = open("posix", O_RDWR);
    CHECK(other >= 0 && lock(other, F_SETLK, F_WRLCK, 100, 50) == 0);
    *stage = 1;
    CHECK(lock(mine, F_SETLKW, F_WRLCK, 0, 10) == 0); /* the parent has it: waits through the checkpoint */
    CHECK_EQ(*stage, 2);
    *stage = 3;
    await(4);
    _exit(0);
}

int main(void) {
    stage = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    int whole = open("flock", O_RDWR | O_CREAT, 0600), again = open("flock", O_RDWR);
    CHECK(whole >= 0 && again >= 0 && flock(whole, LOCK_EX) == 0);
    int common = open("common", O_RDONLY | O_CREAT, 0600), commonly = open("common", O_RDONLY);
    CHECK(flock(common, LOCK_SH) == 0 && flock(commonly, LOCK_SH) == 0);

    int posix = open("posix", O_RDWR | O_CREAT, 0600), reading = open("posix", O_RDONLY);
    CHECK(posix >= 0 && reading >= 0);
    CHECK(lock(posix, F_SETLK, F_WRLCK, 0, 10) == 0 && lock(posix, F_SETLK, F_RDLCK, 20, 10) == 0);
    CHECK(lock(posix, F_SETLK, F_WRLCK, 1000, 0) == 0);

    int description = open("ofd", O_RDWR | O_CREAT, 0600), second = open("ofd", O_RDWR);
    CHECK(lock(description, F_OFD_SETLK, F_WRLCK, 5, 5) == 0 && lock(second, F_OFD_SETLK, F_RDLCK, 50, 0) == 0);

    int gone = open("gone", O_RDWR | O_CREAT, 0600);
    CHECK(gone >= 0 && unlink("gone") == 0 && flock(gone, LOCK_EX) == 0);

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) child(posix);
    await(1);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/syscall", pid);
    for (char *text = slurp(path); atol(text) != SYS_fcntl; text = slurp(path)) sched_yield();

    save_point();

    CHECK(flock(again, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    CHECK(flock(whole, LOCK_UN) == 0 && flock(again, LOCK_EX | LOCK_NB) == 0);
    CHECK(flock(common, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    CHECK(flock(commonly, LOCK_UN) == 0 && flock(common, LOCK_EX | LOCK_NB) == 0);

    CHECK_EQ(holder(posix, F_WRLCK, 120, 1), pid);
    CHECK_EQ(holder(posix, F_WRLCK, 0, 100), 0);
    CHECK_EQ(holder(description, F_WRLCK, 5, 1), -1);
    CHECK_EQ(holder(description, F_WRLCK, 10, 40), 0);
    CHECK_EQ(holder(description, F_WRLCK, 1 << 20, 1), -1);
    CHECK(lock(second, F_OFD_SETLK, F_WRLCK, 5, 1) == -1 && errno == EAGAIN);
    pid_t asking = fork();
    CHECK(asking >= 0);
    if (asking == 0) {
        CHECK_EQ(holder(posix, F_RDLCK, 3, 1), getppid());
        CHECK_EQ(holder(posix, F_RDLCK, 20, 10), 0);
        CHECK_EQ(holder(posix, F_WRLCK, 20, 10), getppid());
        CHECK_EQ(holder(posix, F_WRLCK, 1 << 20, 1), getppid());
        CHECK(open("/proc/self/fd/0", O_RDONLY) >= 0 || true);
        _exit(0);
    }
    int status;
    CHECK(waitpid(asking, &status, 0) == asking);
    CHECK_EQ(status, 0);

    *stage = 2;
    CHECK(lock(posix, F_SETLK, F_UNLCK, 0, 10) == 0);
    await(3);
    CHECK_EQ(holder(posix, F_WRLCK, 0, 10), pid);
    *stage = 4;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    return ok();
}
