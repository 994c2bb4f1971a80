/*
 * Two processes share what no path leads to, as a database server and its workers do: a System V segment, a deleted file, a
 * memfd, by mappings and by descriptors, some of which only one of the two has. After the checkpoint they find each other
 * in all of it.
 */
#include "subject.h"
#include <linux/futex.h>
#include <sys/ipc.h>
#include <sys/shm.h>

struct shared {
    volatile int turn;
    volatile int seen;
};

/* Waits in a futex that lies in the segment: futex(2). */
static void await(struct shared *shared, int turn) {
    for (int now; (now = shared->turn) != turn;) syscall(SYS_futex, &shared->turn, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void take_turn(struct shared *shared, int turn) {
    shared->turn = turn;
    syscall(SYS_futex, &shared->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int main(void) {
    int id = shmget(IPC_PRIVATE, 64 * PAGE, IPC_CREAT | 0600);
    CHECK(id >= 0);
    struct shared *shared = shmat(id, NULL, 0);
    CHECK(shared != (void *)-1);
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
    fill((char *)shared + PAGE, 63 * PAGE, 1);

    int both = open("both", O_RDWR | O_CREAT, 0600);
    CHECK(both >= 0 && write(both, "0123456789", 10) == 10 && unlink("both") == 0);
    int memory = memfd_create("memory", 0);
    CHECK(memory >= 0 && ftruncate(memory, 4 * PAGE) == 0);
    char *mapped = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(mapped != MAP_FAILED);
    strcpy(mapped, "from the parent");
    int of_child = open("child", O_RDWR | O_CREAT, 0600);
    CHECK(of_child >= 0 && unlink("child") == 0);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char *later = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        CHECK(later != MAP_FAILED && close(memory) == 0);
        CHECK(write(of_child, "the child's", 11) == 11);
        shared->seen = 1;
        await(shared, 1); /* through the checkpoint */
        check_filled((char *)shared + PAGE, 63 * PAGE, 1);
        CHECK(strcmp(later, "from the parent, again") == 0);
        strcpy(later + PAGE, "from the child");
        char text[16] = {0};
        CHECK(read(both, text, 2) == 2 && strcmp(text, "ab") == 0);
        CHECK(pread(of_child, text, 15, 0) == 11 && strcmp(text, "the child's") == 0);
        take_turn(shared, 2);
        _exit(7);
    }
    CHECK(close(of_child) == 0);
    for (long tries = 0; shared->seen == 0; tries++) sched_yield();

    save_point();

    struct shmid_ds now;
    CHECK(shmctl(id, IPC_STAT, &now) == 0);
    CHECK_EQ(now.shm_nattch, 2);
    strcpy(mapped + strlen(mapped), ", again");
    CHECK_EQ(lseek(both, 0, SEEK_CUR), 10);
    CHECK(pwrite(both, "ab", 2, 10) == 2);
    take_turn(shared, 1);
    await(shared, 2);
    CHECK(strcmp(mapped + PAGE, "from the child") == 0);
    CHECK_EQ(lseek(both, 0, SEEK_CUR), 12);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 7);
    return ok();
}
