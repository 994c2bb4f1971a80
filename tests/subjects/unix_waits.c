/* Threads that wait in accept, recv, recvmsg, send and poll: they wait on, and get what comes. */
#include "sockets.h"

static int listener, stream[2], packets[2], full[2];

static void accepts(struct thread *thread) { thread->result = accept(listener, NULL, NULL); }
static void receives(struct thread *thread) {
    char bytes[8];
    thread->result = recv(stream[0], bytes, sizeof bytes, 0);
}
static void receives_message(struct thread *thread) {
    char bytes[8];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    thread->result = recvmsg(packets[0], &message, 0);
}
static void sends(struct thread *thread) { thread->result = send(full[0], "one more", 8, 0); }

int main(void) {
    struct thread threads[4];
    void (*bodies[])(struct thread *) = {accepts, receives, receives_message, sends};
    long calls[] = {SYS_accept, SYS_recvfrom, SYS_recvmsg, SYS_sendto};
    listener = listening(SOCK_STREAM, "service", 5);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, full) == 0);
    CHECK(setsockopt(full[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, 4) == 0);
    long filled = 0;
    while (send(full[0], "12345678", 8, MSG_DONTWAIT) == 8) filled += 8;
    CHECK(send(full[0], "12345678", 8, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    for (int i = 0; i < 4; i++) start_thread(&threads[i], bodies[i], NULL);
    for (int i = 0; i < 4; i++) await_syscall(threads[i].tid, calls[i]);

    save_point();

    int client = connected(SOCK_STREAM, "service");
    send_text(stream[1], "hello");
    send_text(packets[1], "packet");
    char bytes[8];
    for (long read = 0; read < filled; read += 8) CHECK_EQ(recv(full[1], bytes, 8, 0), 8);
    CHECK_EQ(recv(full[1], bytes, 8, 0), 8);
    for (int i = 0; i < 4; i++) join_thread(&threads[i]);
    check_talk(client, threads[0].result);
    CHECK_EQ(threads[1].result, 5);
    CHECK_EQ(threads[2].result, 6);
    CHECK_EQ(threads[3].result, 8);
    return ok();
}
