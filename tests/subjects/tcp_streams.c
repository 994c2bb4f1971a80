/*
 * TCP connections with both ends here: idle; with data unread in both directions; filled to the brim in both directions, so that
 * one side's queue waits to be sent; with options of their own; and the listening socket whose port they share.
 */
#include "inet.h"

#define FULL_MAX (32 << 20)
static const char *where;
static int listener, port;

struct pair {
    int client, server;
};
static struct pair connect_pair(void) {
    struct pair pair = {.client = connected(SOCK_STREAM, where, port)};
    pair.server = accept(listener, NULL, NULL);
    CHECK(pair.server >= 0);
    return pair;
}

static unsigned char byte_at(long position, int seed) { return (position * 31 + (position >> 9) + seed) & 0xff; }

/* Sends until nothing more fits; tells how much that was. */
static long stuff(int fd, int seed) {
    static unsigned char block[4096];
    long total = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (;;) {
        for (int i = 0; i < 4096; i++) block[i] = byte_at(total + i, seed);
        long sent = send(fd, block, sizeof block, 0);
        if (sent < 0) {
            if (errno != EAGAIN) FAIL("send: %s\n", strerror(errno));
            struct pollfd room = {.fd = fd, .events = POLLOUT}; /* the other end may still be taking some */
            if (poll(&room, 1, 300) == 0) return total;
            continue;
        }
        total += sent;
        CHECK(total < FULL_MAX);
    }
}
static void drain(int fd, long total, int seed) {
    static unsigned char block[65536];
    fcntl(fd, F_SETFL, 0);
    for (long at = 0; at < total;) {
        long got = recv(fd, block, sizeof block, 0);
        if (got <= 0) FAIL("recv() is %ld after %ld of %ld bytes: %s\n", got, at, total, strerror(errno));
        for (long i = 0; i < got; i++)
            if (block[i] != byte_at(at + i, seed)) FAIL("byte %ld of %ld is wrong\n", at + i, total);
        at += got;
    }
    CHECK(recv(fd, block, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

int main(int count, char **arguments) {
    where = count > 1 ? arguments[1] : "127.0.0.1";
    NEEDS(!strchr(where, ':') || has_ipv6(), "IPv6");
    NEEDS(geteuid() == 0, "root");
    listener = listening(0, where, 16);
    port = port_of(listener);
    struct pair idle = connect_pair(), unread = connect_pair(), full = connect_pair(), set = connect_pair();

    send_all(unread.client, "to the server", 13);
    send_all(unread.server, "to the client", 13);
    long there = stuff(full.client, 1), back = stuff(full.server, 2);
    set_int(set.client, SOL_TCP, TCP_NODELAY, 1);
    set_int(set.client, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(set.client, SOL_TCP, TCP_KEEPIDLE, 321);
    set_int(set.server, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(set.server, SOL_SOCKET, SO_RCVBUF, 50000);
    int client_port = port_of(idle.client), buffer = get_int(set.server, SOL_SOCKET, SO_RCVBUF);
    struct tcp_info before, after;
    socklen_t length = sizeof before;
    CHECK(getsockopt(idle.client, SOL_TCP, TCP_INFO, &before, &length) == 0);

    save_point();

    CHECK(getsockopt(idle.client, SOL_TCP, TCP_INFO, &after, &length) == 0);
    CHECK_EQ(after.tcpi_state, TCP_ESTABLISHED);
    CHECK_EQ(after.tcpi_options, before.tcpi_options);
    CHECK_EQ(after.tcpi_snd_wscale, before.tcpi_snd_wscale);
    CHECK_EQ(after.tcpi_rcv_wscale, before.tcpi_rcv_wscale);
    CHECK_EQ(port_of(idle.client), client_port);
    CHECK_EQ(port_of(idle.server), port);
    check_talk(idle.client, idle.server);
    char bytes[14] = {0};
    receive_all(unread.server, bytes, 13);
    CHECK(strcmp(bytes, "to the server") == 0);
    receive_all(unread.client, bytes, 13);
    CHECK(strcmp(bytes, "to the client") == 0);
    check_talk(unread.client, unread.server);
    CHECK(fcntl(full.client, F_GETFL) & O_NONBLOCK);
    drain(full.server, there, 1);
    drain(full.client, back, 2);
    check_talk(full.server, full.client);
    CHECK_EQ(get_int(set.client, SOL_TCP, TCP_NODELAY), 1);
    CHECK_EQ(get_int(set.client, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(get_int(set.client, SOL_TCP, TCP_KEEPIDLE), 321);
    CHECK_EQ(get_int(set.client, SOL_SOCKET, SO_REUSEADDR), 0);
    CHECK_EQ(get_int(set.server, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(get_int(set.server, SOL_SOCKET, SO_RCVBUF), buffer);
    CHECK_EQ(get_int(set.server, SOL_SOCKET, 72), 2); /* SO_BUF_LOCK: the size is the program's own */
    CHECK_EQ(get_int(set.client, SOL_SOCKET, 72), 0);
    check_talk(set.client, set.server);
    struct pair fresh = connect_pair();
    check_talk(fresh.client, fresh.server);
    CHECK(shutdown(idle.client, SHUT_WR) == 0);
    CHECK_EQ(recv(idle.server, bytes, 1, 0), 0);
    return ok();
}
