/*
 * Listening sockets: IPv4, IPv6 with and without IPv4, Multipath TCP as Go opens it, not bound by the program, with deferred
 * accepts and fast open.
 */
#include "inet.h"

struct listener {
    const char *address, *client;
    int protocol, only_six, backlog;
    int fd, port;
} listeners[] = {
    {"127.0.0.1", "127.0.0.1", 0, 0, 7, 0, 0},
    {"0.0.0.0", "127.0.0.1", 0, 0, 4096, 0, 0},
    {"::1", "::1", 0, 1, 1, 0, 0},
    {"::", "127.0.0.1", 0, 0, 128, 0, 0},
    {"::", "::1", 0, 1, 128, 0, 0},
    {"::ffff:127.0.0.1", "127.0.0.1", 0, 0, 3, 0, 0},
    {"0.0.0.0", "127.0.0.1", IPPROTO_MPTCP, 0, 16, 0, 0},
};
#define COUNT (sizeof listeners / sizeof *listeners)

static int backlog_of(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length) == 0);
    return info.tcpi_sacked;
}

int main(void) {
    NEEDS(has_ipv6(), "IPv6");
    for (size_t i = 0; i < COUNT; i++) {
        struct listener *it = &listeners[i];
        struct address address = address_of(it->address, 0);
        it->fd = socket(address.any.sa_family, SOCK_STREAM, it->protocol);
        NEEDS(it->fd >= 0 || it->protocol == 0, "Multipath TCP");
        if (strchr(it->address, ':')) set_int(it->fd, SOL_IPV6, IPV6_V6ONLY, it->only_six);
        CHECK(bind(it->fd, &address.any, address.length) == 0);
        if (it->backlog == 7) set_int(it->fd, SOL_TCP, TCP_DEFER_ACCEPT, 3);
        if (it->backlog == 4096) set_int(it->fd, SOL_TCP, TCP_FASTOPEN, 9);
        CHECK(listen(it->fd, it->backlog) == 0);
        it->port = port_of(it->fd);
    }
    int unnamed = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listen(unnamed, 5) == 0);
    int unnamed_port = port_of(unnamed), defer = get_int(listeners[0].fd, SOL_TCP, TCP_DEFER_ACCEPT);
    CHECK_EQ(backlog_of(unnamed), 5);

    save_point();

    CHECK_EQ(get_int(listeners[0].fd, SOL_TCP, TCP_DEFER_ACCEPT), defer);
    CHECK_EQ(get_int(listeners[1].fd, SOL_TCP, TCP_FASTOPEN), 9);
    CHECK_EQ(port_of(unnamed), unnamed_port);
    CHECK_EQ(backlog_of(unnamed), 5);
    for (size_t i = 0; i < COUNT; i++) {
        struct listener *it = &listeners[i];
        CHECK_EQ(port_of(it->fd), it->port);
        CHECK_EQ(get_int(it->fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
        CHECK_EQ(get_int(it->fd, SOL_SOCKET, SO_PROTOCOL), it->protocol ? it->protocol : IPPROTO_TCP);
        CHECK_EQ(backlog_of(it->fd), it->backlog);
        if (strchr(it->address, ':')) CHECK_EQ(get_int(it->fd, SOL_IPV6, IPV6_V6ONLY), it->only_six);
        int client = connected(SOCK_STREAM, it->client, it->port);
        send_all(client, "first", 5); /* what a deferred accept waits for */
        int served = accept(it->fd, NULL, NULL);
        CHECK(served >= 0);
        char bytes[5];
        receive_all(served, bytes, 5);
        check_talk(client, served);
        close(client);
        close(served);
    }
    return ok();
}
