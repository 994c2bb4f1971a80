/* A nameless POSIX message queue between two processes: one waits in it to send into a full one, the other receives. */
#include "subject.h"
#include <mqueue.h>

int main(void) {
    char name[64], byte;
    snprintf(name, sizeof name, "/rekindle-two-%d", getpid());
    struct mq_attr limits = {.mq_maxmsg = 2, .mq_msgsize = 1};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &limits);
    NEEDS(queue >= 0 || errno != ENOSYS, "POSIX message queues");
    CHECK(queue >= 0 && mq_unlink(name) == 0);
    CHECK(mq_send(queue, "1", 1, 0) == 0 && mq_send(queue, "2", 1, 0) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(mq_send(queue, "3", 1, 0) == 0); /* waits through the checkpoint */
        _exit(3);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/syscall", child);
    while (atoi(slurp(path)) != SYS_mq_timedsend) sched_yield();

    save_point();

    for (char wanted = '1'; wanted <= '3'; wanted++) {
        CHECK(mq_receive(queue, &byte, 1, NULL) == 1);
        CHECK_EQ(byte, wanted);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 3);
    return ok();
}
