/* One state of a listening TCP socket, as the argument says. */
#include "cases.h"
#include <linux/filter.h>

static void check_it(int listener) { check_service(listener, "127.0.0.1", port_of(listener)); }

static void nonblocking(void) {
    int fd = listening(0, "127.0.0.1", 3);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    save_point();
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(accept(fd, NULL, NULL) == -1 && errno == EAGAIN);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    check_it(fd);
}
static void any_address(void) {
    int fd = listening(0, "0.0.0.0", 3);
    save_point();
    check_it(fd);
}
static void both_families(void) {
    int fd = listening(0, "::", 3);
    save_point();
    check_service(fd, "::1", port_of(fd));
    check_it(fd);
}
static void six_only(void) {
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    set_int(six, SOL_IPV6, IPV6_V6ONLY, 1);
    struct address any = address_of("::", 0);
    CHECK(bind(six, &any.any, any.length) == 0 && listen(six, 2) == 0);
    int four = bound(SOCK_STREAM, 0, "0.0.0.0", port_of(six));
    CHECK(listen(four, 2) == 0);
    save_point();
    CHECK_EQ(port_of(four), port_of(six));
    check_service(six, "::1", port_of(six));
    check_it(four);
}
static void deferred(void) {
    int fd = listening(0, "127.0.0.1", 3);
    set_int(fd, SOL_TCP, TCP_DEFER_ACCEPT, 7);
    int seconds = get_int(fd, SOL_TCP, TCP_DEFER_ACCEPT);
    save_point();
    CHECK_EQ(get_int(fd, SOL_TCP, TCP_DEFER_ACCEPT), seconds);
    int client = connected(SOCK_STREAM, "127.0.0.1", port_of(fd));
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(accept(fd, NULL, NULL) == -1 && errno == EAGAIN);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    send_all(client, "x", 1);
    CHECK(accept(fd, NULL, NULL) >= 0);
}
static void fast_open(void) {
    int fd = bound(SOCK_STREAM, 0, "127.0.0.1", 0);
    set_int(fd, SOL_TCP, TCP_FASTOPEN, 17);
    CHECK(listen(fd, 5) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_TCP, TCP_FASTOPEN), 17);
    check_it(fd);
}
static void multipath(void) {
    int fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP);
    NEEDS(fd >= 0, "Multipath TCP");
    struct address any = address_of("::", 0);
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(fd, SOL_IPV6, IPV6_V6ONLY, 0);
    CHECK(bind(fd, &any.any, any.length) == 0 && listen(fd, 100) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_MPTCP);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    check_it(fd);
}
/* A client without Multipath TCP of a listener with it: what is accepted is of plain TCP. */
static void fallen_back(void) {
    int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    NEEDS(fd >= 0, "Multipath TCP");
    struct address any = address_of("127.0.0.1", 0);
    CHECK(bind(fd, &any.any, any.length) == 0 && listen(fd, 100) == 0);
    int client = connected(SOCK_STREAM, "127.0.0.1", port_of(fd)), served = accept(fd, NULL, NULL);
    CHECK_EQ(get_int(served, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    send_all(client, "abc", 3);
    save_point();
    char bytes[3];
    receive_all(served, bytes, 3);
    check_talk(client, served);
    check_it(fd);
}
static void shared_by_a_group(void) {
    int fds[4], port = 0;
    for (int i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        set_int(fds[i], SOL_SOCKET, SO_REUSEPORT, 1);
        struct address address = address_of("127.0.0.1", port);
        CHECK(bind(fds[i], &address.any, address.length) == 0 && listen(fds[i], 64) == 0);
        port = port_of(fds[0]);
    }
    save_point();
    int clients[32], accepted = 0;
    for (int i = 0; i < 32; i++) clients[i] = connected(SOCK_STREAM, "127.0.0.1", port);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(port_of(fds[i]), port);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        while (accept(fds[i], NULL, NULL) >= 0) accepted++;
    }
    CHECK_EQ(accepted, 32);
    close(clients[0]);
}
static void on_a_device(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
    struct address any = address_of("0.0.0.0", 0);
    CHECK(bind(fd, &any.any, any.length) == 0 && listen(fd, 3) == 0);
    save_point();
    char name[16] = {0};
    socklen_t length = sizeof name;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length) == 0 && strcmp(name, "lo") == 0);
    check_it(fd);
}
static void free_bind(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    set_int(fd, SOL_IP, IP_FREEBIND, 1);
    struct address elsewhere = address_of("203.0.113.9", 4321);
    CHECK(bind(fd, &elsewhere.any, elsewhere.length) == 0 && listen(fd, 3) == 0);
    save_point();
    CHECK_EQ(address_at(fd).v4.sin_addr.s_addr, elsewhere.v4.sin_addr.s_addr);
    CHECK_EQ(get_int(fd, SOL_IP, IP_FREEBIND), 1);
}
static void transparent(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    set_int(fd, SOL_IP, IP_TRANSPARENT, 1);
    set_int(fd, SOL_SOCKET, SO_MARK, 0x1234);
    struct address elsewhere = address_of("203.0.113.9", 4321);
    CHECK(bind(fd, &elsewhere.any, elsewhere.length) == 0 && listen(fd, 3) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_IP, IP_TRANSPARENT), 1);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_MARK), 0x1234);
}
static void filtered(void) {
    int fd = listening(0, "127.0.0.1", 3);
    struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0xffffffff}};
    struct sock_fprog program = {1, code};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    save_point();
    struct sock_filter found[4];
    socklen_t length = 4;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, found, &length) == 0 && length == 1 && found[0].k == 0xffffffff);
    check_it(fd);
}
static void inherited_options(void) {
    int fd = listening(0, "127.0.0.1", 3);
    set_int(fd, SOL_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, SOL_TCP, TCP_KEEPIDLE, 55);
    set_int(fd, SOL_TCP, TCP_USER_TIMEOUT, 4444);
    save_point();
    int client = connected(SOCK_STREAM, "127.0.0.1", port_of(fd)), served = accept(fd, NULL, NULL);
    CHECK_EQ(get_int(served, SOL_TCP, TCP_NODELAY), 1);
    CHECK_EQ(get_int(served, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(get_int(served, SOL_TCP, TCP_KEEPIDLE), 55);
    CHECK_EQ(get_int(served, SOL_TCP, TCP_USER_TIMEOUT), 4444);
    check_talk(client, served);
}
static void stopped_listening(void) {
    int fd = listening(0, "127.0.0.1", 3), port = port_of(fd);
    CHECK(shutdown(fd, SHUT_RD) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    CHECK_EQ(tcp_state(fd), TCP_CLOSE);
    struct address address = address_of("127.0.0.1", port);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, &address.any, address.length) == -1 && errno == ECONNREFUSED);
}

int main(int count, char **arguments) {
    NEEDS(geteuid() == 0, "root");
    NEEDS(has_ipv6(), "IPv6");
    static const struct one_case cases[] = {
        {"nonblocking", nonblocking}, {"any_address", any_address}, {"both_families", both_families}, {"six_only", six_only},
        {"deferred", deferred}, {"fast_open", fast_open}, {"multipath", multipath}, {"fallen_back", fallen_back},
        {"shared_by_a_group", shared_by_a_group}, {"on_a_device", on_a_device}, {"free_bind", free_bind},
        {"transparent", transparent}, {"filtered", filtered}, {"inherited_options", inherited_options},
        {"stopped_listening", stopped_listening}, {NULL, NULL},
    };
    return run_case(cases, count, arguments);
}
