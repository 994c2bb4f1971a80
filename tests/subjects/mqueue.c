/*
 * POSIX message queues: what is in them, in the order of priorities; limits, permissions, flags; one that has lost its name, and
 * one that is watched by an epoll and polled by a thread that waits for a message.
 */
#include "subject.h"
#include <mqueue.h>
#include <sys/epoll.h>

static void give(mqd_t queue, unsigned priority, const char *text) {
    CHECK(mq_send(queue, text, strlen(text), priority) == 0);
}

static void take(mqd_t queue, unsigned priority, const char *text) {
    char bytes[64] = {0};
    unsigned found;
    CHECK_EQ(mq_receive(queue, bytes, sizeof bytes, &found), strlen(text));
    CHECK_EQ(found, priority);
    CHECK(strcmp(bytes, text) == 0);
}

static void receive_late(struct thread *thread) {
    char bytes[64] = {0};
    thread->result = mq_receive(*(mqd_t *)thread->argument, bytes, sizeof bytes, NULL);
    CHECK(strcmp(bytes, "late") == 0);
}

int main(void) {
    char kept_name[64], gone_name[64], empty_name[64];
    snprintf(kept_name, sizeof kept_name, "/rekindle-kept-%d", getpid());
    snprintf(gone_name, sizeof gone_name, "/rekindle-gone-%d", getpid());
    snprintf(empty_name, sizeof empty_name, "/rekindle-empty-%d", getpid());
    struct mq_attr limits = {.mq_maxmsg = 5, .mq_msgsize = 48}, about;
    umask(0);
    mqd_t kept = mq_open(kept_name, O_RDWR | O_CREAT | O_EXCL, 0624, &limits);
    NEEDS(kept >= 0 || errno != ENOSYS, "POSIX message queues");
    CHECK(kept >= 0);
    mqd_t again = mq_open(kept_name, O_WRONLY | O_NONBLOCK);
    mqd_t gone = mq_open(gone_name, O_RDWR | O_CREAT | O_EXCL, 0600, &limits);
    mqd_t empty = mq_open(empty_name, O_RDWR | O_CREAT | O_EXCL, 0600, &limits);
    CHECK(again >= 0 && gone >= 0 && empty >= 0 && fcntl(gone, F_SETFD, 0) == 0);
    CHECK(mq_unlink(gone_name) == 0);
    give(kept, 3, "a");
    give(kept, 32767, "first");
    give(kept, 3, "b");
    give(kept, 0, "");
    give(again, 3, "c"); /* it is full */
    give(gone, 1, "in the nameless one");
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, empty, &event) == 0);
    struct thread receiver = {0};
    start_thread(&receiver, receive_late, &empty);
    await_syscall(receiver.tid, SYS_mq_timedreceive);

    save_point();

    struct stat file;
    CHECK(fstat(kept, &file) == 0);
    CHECK_EQ(file.st_mode & 0777, 0624);
    CHECK(mq_getattr(kept, &about) == 0);
    CHECK(about.mq_maxmsg == 5 && about.mq_msgsize == 48 && about.mq_flags == 0);
    CHECK_EQ(about.mq_curmsgs, 5);
    CHECK(mq_getattr(again, &about) == 0);
    CHECK_EQ(about.mq_flags, O_NONBLOCK);
    CHECK(mq_send(again, "x", 1, 0) == -1 && errno == EAGAIN);
    char bytes[64];
    CHECK(mq_receive(again, bytes, sizeof bytes, NULL) == -1 && errno == EBADF);
    take(kept, 32767, "first");
    take(kept, 3, "a");
    take(kept, 3, "b");
    take(kept, 3, "c");
    take(kept, 0, "");
    take(gone, 1, "in the nameless one");
    CHECK_EQ(fcntl(kept, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(gone, F_GETFD), 0);
    CHECK(mq_open(gone_name, O_RDWR) == -1 && errno == ENOENT);
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    give(empty, 0, "late");
    join_thread(&receiver);
    CHECK_EQ(receiver.result, 4);
    give(empty, 0, "seen");
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 1);
    CHECK(mq_unlink(kept_name) == 0 && mq_unlink(empty_name) == 0);
    return ok();
}
