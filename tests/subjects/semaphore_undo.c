/* For the refusals: a semaphore that the end of the program would give back (SEM_UNDO). Untouched, it goes on. */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/sem.h>

int main(void) {
    int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    struct sembuf operation = {.sem_op = 1, .sem_flg = SEM_UNDO};
    CHECK(id >= 0 && semop(id, &operation, 1) == 0);

    save_point();

    CHECK_EQ(semctl(id, 0, GETVAL), 1);
    CHECK(semctl(id, 0, IPC_RMID) == 0);
    return ok();
}
