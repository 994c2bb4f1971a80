/* For the refusals: a System V segment that a process outside of the tree is attached to. Untouched, it goes on. */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void) {
    int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600), ends[2];
    CHECK(id >= 0 && pipe(ends) == 0);
    char *mapped = shmat(id, NULL, 0);
    CHECK(mapped != (void *)-1);
    /* a grandchild whose parent has ended is somebody else's child */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pid_t outside = fork();
        if (outside == 0) {
            char c;
            close(0);
            close(1);
            close(ends[1]);
            while (read(ends[0], &c, 1) == 1) {}
            _exit(0);
        }
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child && close(ends[0]) == 0);

    save_point();

    CHECK(close(ends[1]) == 0 && shmctl(id, IPC_RMID, NULL) == 0);
    return ok();
}
