/* Takes a message out of a System V queue, and leaves the queue and its other messages behind when it ends. */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/msg.h>

int main(void) {
    struct {
        long type;
        char number;
    } message = {.type = 1};
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    CHECK(id >= 0);
    for (message.number = 0; message.number < 3; message.number++) CHECK(msgsnd(id, &message, 1, IPC_NOWAIT) == 0);

    save_point();

    CHECK(msgrcv(id, &message, 1, 0, IPC_NOWAIT) == 1);
    CHECK_EQ(message.number, 0);
    return ok();
}
