/*
 * A server for clients outside: to each it sends numbered bytes as fast as it can, and checks those that it gets. It listens at
 * the address of its argument, at a port that it says, and ends with "ok" when its standard input ends and all clients have.
 * With a port as another argument it is the client of another server, once, and does the same.
 */
#include "inet.h"

static unsigned char byte_at(unsigned long position) { return (position * 31 + (position >> 9)) & 0xff; }

static void serve_out(struct thread *thread) {
    static __thread unsigned char block[16384];
    int fd = (int)(long)thread->argument;
    for (unsigned long at = 0;;) {
        for (int i = 0; i < (int)sizeof block; i++) block[i] = byte_at(at + i);
        for (long done = 0; done < (long)sizeof block;) {
            long sent = send(fd, block + done, sizeof block - done, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EPIPE) return; /* the other thread has shut it */
                FAIL("send() after %lu bytes: %s\n", at + done, strerror(errno));
            }
            done += sent;
        }
        at += sizeof block;
    }
}

static void serve_in(struct thread *thread) {
    static __thread unsigned char block[16384];
    int fd = (int)(long)thread->argument;
    struct thread out = {0};
    start_thread(&out, serve_out, thread->argument);
    unsigned long at = 0;
    long got;
    while ((got = recv(fd, block, sizeof block, 0)) > 0) {
        for (long i = 0; i < got; i++)
            if (block[i] != byte_at(at + i)) FAIL("byte %lu is wrong\n", at + i);
        at += got;
    }
    if (got < 0) FAIL("recv() after %lu bytes: %s\n", at, strerror(errno));
    shutdown(fd, SHUT_WR);
    join_thread(&out);
    while (recv(fd, block, sizeof block, 0) > 0) {}
    close(fd);
}

int main(int count, char **arguments) {
    static struct thread clients[1000];
    if (count > 2) {
        start_thread(&clients[0], serve_in, (void *)(long)connected(SOCK_STREAM, arguments[1], atoi(arguments[2])));
        say("save point\n");
        join_thread(&clients[0]);
        return ok();
    }
    int used = 0, listener = listening(0, count > 1 ? arguments[1] : "127.0.0.1", 512);
    say("port %d\n", port_of(listener));
    say("save point\n");
    for (;;) {
        struct pollfd waited[2] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        CHECK(poll(waited, 2, -1) > 0);
        if (waited[1].revents) break;
        if (!(waited[0].revents & POLLIN)) continue;
        int fd = accept(listener, NULL, NULL);
        CHECK(fd >= 0 && used < 1000);
        start_thread(&clients[used++], serve_in, (void *)(long)fd);
    }
    for (int i = 0; i < used; i++) join_thread(&clients[i]);
    return ok();
}
