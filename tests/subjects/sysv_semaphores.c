/* System V semaphores: values of a set that the program has used, and a child that waits for one of them. */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static void operate(int id, int number, int by) {
    struct sembuf operation = {.sem_num = number, .sem_op = by};
    CHECK(semop(id, &operation, 1) == 0);
}

int main(void) {
    int id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
    CHECK(id >= 0);
    operate(id, 0, 5);
    operate(id, 1, 2);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        operate(id, 2, -1); /* waits through the checkpoint */
        _exit(3);
    }
    while (semctl(id, 2, GETNCNT) != 1) sched_yield();

    save_point();

    CHECK_EQ(semctl(id, 0, GETVAL), 5);
    CHECK_EQ(semctl(id, 1, GETVAL), 2);
    CHECK_EQ(semctl(id, 2, GETNCNT), 1);
    operate(id, 2, 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 3);
    CHECK(semctl(id, 0, IPC_RMID) == 0);
    return ok();
}
