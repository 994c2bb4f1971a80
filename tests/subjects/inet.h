/* What subjects about internet sockets share. */
#ifndef INET_H
#define INET_H
#include "subject.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* An address: "127.0.0.1", "::1", "::ffff:127.0.0.1"; port 0 is any. */
struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t length;
};
UNUSED static struct address address_of(const char *text, int port) {
    struct address address = {.length = sizeof address.v4};
    if (strchr(text, ':')) {
        address.length = sizeof address.v6;
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        CHECK(inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1);
    } else {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        CHECK(inet_pton(AF_INET, text, &address.v4.sin_addr) == 1);
    }
    return address;
}
UNUSED static struct address address_at(int fd) {
    struct address address = {.length = sizeof address.v6};
    CHECK(getsockname(fd, &address.any, &address.length) == 0);
    return address;
}
UNUSED static int port_of(int fd) { return ntohs(address_at(fd).v4.sin_port); }

/* Whether the loopback device has IPv6. */
UNUSED static bool has_ipv6(void) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    if (fd < 0) return false;
    struct address address = address_of("::1", 0);
    bool has = bind(fd, &address.any, address.length) == 0;
    close(fd);
    return has;
}

UNUSED static int get_int(int fd, int level, int option) {
    int value = -12345;
    socklen_t length = sizeof value;
    CHECK(getsockopt(fd, level, option, &value, &length) == 0);
    return value;
}
UNUSED static void set_int(int fd, int level, int option, int value) {
    CHECK(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

UNUSED static int bound(int type, int protocol, const char *text, int port) {
    struct address address = address_of(text, port);
    int fd = socket(address.any.sa_family, type, protocol);
    CHECK(fd >= 0);
    CHECK(bind(fd, &address.any, address.length) == 0);
    return fd;
}
UNUSED static int listening(int protocol, const char *text, int backlog) {
    int fd = bound(SOCK_STREAM, protocol, text, 0);
    CHECK(listen(fd, backlog) == 0);
    return fd;
}
UNUSED static int connected(int type, const char *text, int port) {
    struct address address = address_of(text, port);
    int fd = socket(address.any.sa_family, type, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, &address.any, address.length) == 0);
    return fd;
}
UNUSED static short events_of(int fd) {
    struct pollfd waited = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(poll(&waited, 1, 0) >= 0);
    return waited.revents;
}
UNUSED static void send_all(int fd, const void *bytes, long length) { CHECK_EQ(send(fd, bytes, length, 0), length); }
UNUSED static void receive_all(int fd, void *bytes, long length) {
    CHECK_EQ(recv(fd, bytes, length, MSG_WAITALL), length);
}
/* Both ends of a connection say something to each other. */
UNUSED static void check_talk(int left, int right) {
    char bytes[8] = {0};
    send_all(left, "ping", 5);
    receive_all(right, bytes, 5);
    CHECK(strcmp(bytes, "ping") == 0);
    send_all(right, "pong", 5);
    receive_all(left, bytes, 5);
    CHECK(strcmp(bytes, "pong") == 0);
}
/* A client of a listening socket and the socket that serves it talk. */
UNUSED static void check_service(int listener, const char *text, int port) {
    int client = connected(SOCK_STREAM, text, port), served = accept(listener, NULL, NULL);
    CHECK(served >= 0);
    check_talk(client, served);
    close(client);
    close(served);
}
#endif
