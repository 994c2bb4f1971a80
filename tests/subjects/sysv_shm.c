/*
 * System V shared memory: by key and private, attached twice and read-only, changed in part, removed while attached. The ids,
 * the keys, the contents and the number of attachments stay.
 */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/shm.h>

static struct shmid_ds told(int id) {
    struct shmid_ds told;
    CHECK(shmctl(id, IPC_STAT, &told) == 0);
    return told;
}

int main(void) {
    key_t key = 0x5b000000 | (getpid() & 0xffffff);
    int keyed = shmget(key, 10 * PAGE + 1, IPC_CREAT | IPC_EXCL | 0640);
    CHECK(keyed >= 0);
    char *first = shmat(keyed, NULL, 0), *second = shmat(keyed, NULL, SHM_RDONLY);
    CHECK(first != (void *)-1 && second != (void *)-1);
    fill(first, 10 * PAGE, 1);

    int private = shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600);
    CHECK(private >= 0);
    char *parts = shmat(private, NULL, 0);
    CHECK(parts != (void *)-1);
    fill(parts, 8 * PAGE, 2);
    CHECK(mprotect(parts + 2 * PAGE, PAGE, PROT_READ) == 0 && munmap(parts + 6 * PAGE, PAGE) == 0);

    int removed = shmget(IPC_PRIVATE, 4 * PAGE, IPC_CREAT | 0600);
    CHECK(removed >= 0);
    char *still = shmat(removed, NULL, 0);
    CHECK(still != (void *)-1 && shmctl(removed, IPC_RMID, NULL) == 0);
    fill(still, 4 * PAGE, 3);

    int idle = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600); /* of whose attachments none is left */
    CHECK(idle >= 0);
    char *passing = shmat(idle, NULL, 0);
    CHECK(passing != (void *)-1);
    strcpy(passing, "idle");
    CHECK(shmdt(passing) == 0);

    save_point();

    struct shmid_ds now = told(keyed);
    CHECK_EQ(now.shm_perm.__key, key);
    CHECK_EQ(now.shm_segsz, 10 * PAGE + 1);
    CHECK_EQ(now.shm_perm.mode & 0777, 0640);
    CHECK_EQ(now.shm_nattch, 2);
    CHECK_EQ(now.shm_perm.cuid, geteuid());
    check_filled(first, 10 * PAGE, 1);
    strcpy(first + 5 * PAGE, "one segment");
    CHECK(strcmp(second + 5 * PAGE, "one segment") == 0);
    catch_faults();
    CHECK_EQ(signal_of_write(second), SIGSEGV);
    CHECK_EQ(mprotect(second, PAGE, PROT_READ | PROT_WRITE), -1);
    CHECK(shmdt(second) == 0);
    CHECK_EQ(told(keyed).shm_nattch, 1);
    CHECK(shmget(key, 0, 0) == keyed);

    check_filled(parts, 2 * PAGE, 2);
    CHECK_EQ(*(uint64_t *)(parts + 7 * PAGE), pattern(2, 7 * PAGE / 8));
    char *whole = shmat(private, NULL, 0);
    CHECK(whole != (void *)-1);
    check_filled(whole, 8 * PAGE, 2);

    check_filled(still, 4 * PAGE, 3);
    now = told(removed);
    CHECK(now.shm_perm.mode & 01000 /* SHM_DEST */);
    CHECK_EQ(now.shm_nattch, 1);
    CHECK(shmdt(still) == 0);
    CHECK(shmctl(removed, IPC_STAT, &now) == -1 && (errno == EINVAL || errno == EIDRM));

    passing = shmat(idle, NULL, 0);
    CHECK(passing != (void *)-1 && strcmp(passing, "idle") == 0);
    CHECK(shmctl(idle, IPC_RMID, NULL) == 0 && shmctl(keyed, IPC_RMID, NULL) == 0 && shmctl(private, IPC_RMID, NULL) == 0);
    return ok();
}
