/* One state of a TCP connection with both ends here, as the argument says. */
#include "cases.h"
#include <sys/epoll.h>
#include <sys/wait.h>

static void urgent_inline(void) {
    struct pair p = tcp_pair("127.0.0.1");
    set_int(p.server, SOL_SOCKET, SO_OOBINLINE, 1);
    save_point();
    CHECK_EQ(get_int(p.server, SOL_SOCKET, SO_OOBINLINE), 1);
    send_all(p.client, "ab", 2);
    CHECK_EQ(send(p.client, "!", 1, MSG_OOB), 1);
    char bytes[4] = {0};
    CHECK_EQ(recv(p.server, bytes, 2, MSG_WAITALL), 2);
    receive_all(p.server, bytes, 1);
    CHECK(bytes[0] == '!');
}
static void corked(void) {
    struct pair p = tcp_pair("127.0.0.1");
    set_int(p.client, SOL_TCP, TCP_CORK, 1);
    send_all(p.client, "held back", 9);
    save_point();
    CHECK_EQ(get_int(p.client, SOL_TCP, TCP_CORK), 1);
    set_int(p.client, SOL_TCP, TCP_CORK, 0);
    char bytes[10] = {0};
    receive_all(p.server, bytes, 9);
    CHECK(strcmp(bytes, "held back") == 0);
    check_pair(p);
}
static void peer_closed(void) {
    struct pair p = tcp_pair("127.0.0.1");
    send_all(p.client, "bye", 3);
    close(p.client);
    await_tcp_state(p.server, TCP_CLOSE_WAIT);
    save_point();
    char bytes[4] = {0};
    receive_all(p.server, bytes, 3);
    CHECK_EQ(recv(p.server, bytes, 1, 0), 0);
    CHECK_EQ(tcp_state(p.server), TCP_CLOSE_WAIT);
}
static void reset(void) {
    struct pair p = tcp_pair("127.0.0.1");
    struct linger now = {1, 0};
    CHECK(setsockopt(p.client, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(p.client);
    await_tcp_state(p.server, TCP_CLOSE);
    char byte;
    CHECK(recv(p.server, &byte, 1, 0) == -1 && errno == ECONNRESET);
    save_point();
    CHECK_EQ(tcp_state(p.server), TCP_CLOSE);
    CHECK_EQ(recv(p.server, &byte, 1, 0), 0);
    CHECK(send(p.server, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
}
static void connection_refused(void) {
    int listener = listening(0, "127.0.0.1", 1), port = port_of(listener);
    close(listener);
    struct address address = address_of("127.0.0.1", port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, &address.any, address.length) == -1 && errno == ECONNREFUSED);
    save_point();
    listener = bound(SOCK_STREAM, 0, "127.0.0.1", port);
    CHECK(listen(listener, 1) == 0);
    CHECK(connect(fd, &address.any, address.length) == 0);
    int served = accept(listener, NULL, NULL);
    CHECK(served >= 0);
    check_talk(fd, served);
}
static void shut_for_reading(void) {
    struct pair p = tcp_pair("127.0.0.1");
    CHECK(shutdown(p.server, SHUT_WR) == 0);
    await_tcp_state(p.client, TCP_CLOSE_WAIT);
    save_point();
    char byte;
    CHECK_EQ(recv(p.client, &byte, 1, 0), 0);
    send_all(p.client, "y", 1);
    receive_all(p.server, &byte, 1);
    CHECK(byte == 'y');
}
static void unread_in_pieces(void) {
    struct pair p = tcp_pair("127.0.0.1");
    for (int i = 0; i < 500; i++) send_all(p.client, "0123456789", 10);
    char bytes[10];
    receive_all(p.server, bytes, 7);
    save_point();
    receive_all(p.server, bytes, 3);
    CHECK(memcmp(bytes, "789", 3) == 0);
    for (int i = 1; i < 500; i++) {
        receive_all(p.server, bytes, 10);
        CHECK(memcmp(bytes, "0123456789", 10) == 0);
    }
    check_pair(p);
}
static void low_water_mark(void) {
    struct pair p = tcp_pair("127.0.0.1");
    set_int(p.server, SOL_SOCKET, SO_RCVLOWAT, 100);
    send_all(p.client, "few", 3);
    save_point();
    CHECK_EQ(get_int(p.server, SOL_SOCKET, SO_RCVLOWAT), 100);
    CHECK(!(events_of(p.server) & POLLIN));
    static char many[100];
    send_all(p.client, many, 100);
    struct pollfd waited = {.fd = p.server, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 5000), 1);
}
static void two_descriptors(void) {
    struct pair p = tcp_pair("127.0.0.1");
    int second = dup(p.client);
    save_point();
    close(p.client);
    p.client = second;
    check_pair(p);
    CHECK_EQ(tcp_state(second), TCP_ESTABLISHED);
}
static void two_processes(void) {
    struct pair p = tcp_pair("127.0.0.1");
    pid_t child = fork();
    if (child == 0) {
        char bytes[6];
        receive_all(p.server, bytes, 6);
        CHECK(memcmp(bytes, "hello?", 6) == 0);
        send_all(p.server, "hello!", 6);
        _exit(0);
    }
    close(p.server);
    save_point();
    send_all(p.client, "hello?", 6);
    char bytes[6];
    receive_all(p.client, bytes, 6);
    CHECK(memcmp(bytes, "hello!", 6) == 0);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(recv(p.client, bytes, 1, 0), 0);
}
static void watched_by_epoll(void) {
    struct pair p = tcp_pair("127.0.0.1");
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 77}, found;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, p.server, &event) == 0);
    save_point();
    while (epoll_wait(epoll, &found, 1, 0) > 0) {}
    send_all(p.client, "x", 1);
    CHECK_EQ(epoll_wait(epoll, &found, 1, 5000), 1);
    CHECK_EQ(found.data.u64, 77);
}

static struct pair waiting;
static void receives(struct thread *thread) {
    char bytes[5];
    thread->result = recv(waiting.server, bytes, 5, MSG_WAITALL);
    CHECK(memcmp(bytes, "abcde", 5) == 0);
}
static void blocked_in_recv(void) {
    waiting = tcp_pair("127.0.0.1");
    struct thread thread = {0};
    start_thread(&thread, receives, NULL);
    await_syscall(thread.tid, SYS_recvfrom);
    save_point();
    send_all(waiting.client, "abcde", 5);
    join_thread(&thread);
    CHECK_EQ(thread.result, 5);
}
static void accepts(struct thread *thread) { thread->result = accept(waiting.listener, NULL, NULL); }
static void blocked_in_accept(void) {
    waiting = tcp_pair("127.0.0.1");
    struct thread thread = {0};
    start_thread(&thread, accepts, NULL);
    await_syscall(thread.tid, SYS_accept);
    save_point();
    int client = connected(SOCK_STREAM, "127.0.0.1", port_of(waiting.listener));
    join_thread(&thread);
    CHECK(thread.result >= 0);
    check_talk(client, thread.result);
}
/* Nobody is at the address: a network of its own has a link that leads nowhere. */
static const char *nowhere(void) {
    NEEDS(geteuid() == 0, "root");
    NEEDS(system("ip link add nowhere0 type veth peer name nowhere1 && ip addr add 192.0.2.1/24 dev nowhere0 &&"
                 "ip link set nowhere0 up && ip link set nowhere1 up &&"
                 "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:99 dev nowhere0 nud permanent") == 0, "`ip`");
    return "192.0.2.2";
}
static void unanswered(void) {
    struct address address = address_of(nowhere(), 4321);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect(fd, &address.any, address.length) == -1 && errno == EINPROGRESS);
    CHECK_EQ(tcp_state(fd), TCP_SYN_SENT);
    int port = port_of(fd);
    save_point();
    CHECK_EQ(tcp_state(fd), TCP_SYN_SENT);
    CHECK_EQ(port_of(fd), port);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(connect(fd, &address.any, address.length) == -1 && errno == EALREADY);
    /* Now somebody is there. */
    CHECK(system("ip addr add 192.0.2.2/32 dev lo") == 0);
    struct pollfd waited = {.fd = fd, .events = POLLOUT};
    CHECK_EQ(poll(&waited, 1, 20000), 1);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}
static struct address far;
static void connects(struct thread *thread) {
    thread->result = connect((int)(long)thread->argument, &far.any, far.length) == 0 ? 0 : errno;
}
static void blocked_in_connect(void) {
    far = address_of(nowhere(), 4321);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct thread thread = {0};
    start_thread(&thread, connects, (void *)(long)fd);
    await_syscall(thread.tid, SYS_connect);
    await_tcp_state(fd, TCP_SYN_SENT);
    save_point();
    CHECK_EQ(tcp_state(fd), TCP_SYN_SENT);
    CHECK(system("ip addr add 192.0.2.2/32 dev lo") == 0);
    join_thread(&thread);
    CHECK_EQ(thread.result, ECONNREFUSED);
}
static void large_unread(void) {
    struct pair p = tcp_pair("127.0.0.1");
    static char block[4 << 20];
    fill(block, sizeof block, 9);
    set_int(p.server, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20);
    set_int(p.client, SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20);
    send_all(p.client, block, sizeof block);
    save_point();
    memset(block, 0, sizeof block);
    receive_all(p.server, block, sizeof block);
    check_filled(block, sizeof block, 9);
    check_pair(p);
}
static void no_timestamps(void) {
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_timestamps", "w");
    NEEDS(file && fputs("0", file) >= 0 && fclose(file) == 0, "the right to set a network's options");
    struct pair p = tcp_pair("127.0.0.1");
    struct tcp_info info;
    socklen_t length = sizeof info;
    CHECK(getsockopt(p.client, SOL_TCP, TCP_INFO, &info, &length) == 0 && !(info.tcpi_options & TCPI_OPT_TIMESTAMPS));
    save_point();
    CHECK(getsockopt(p.client, SOL_TCP, TCP_INFO, &info, &length) == 0 && !(info.tcpi_options & TCPI_OPT_TIMESTAMPS));
    check_pair(p);
}
static void no_scaling(void) {
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_window_scaling", "w");
    NEEDS(file && fputs("0", file) >= 0 && fclose(file) == 0, "the right to set a network's options");
    struct pair p = tcp_pair("127.0.0.1");
    send_all(p.server, "abc", 3);
    save_point();
    struct tcp_info info;
    socklen_t length = sizeof info;
    CHECK(getsockopt(p.client, SOL_TCP, TCP_INFO, &info, &length) == 0 && !(info.tcpi_options & TCPI_OPT_WSCALE));
    char bytes[3];
    receive_all(p.client, bytes, 3);
    check_pair(p);
}
static void small_segments(void) {
    int listener = listening(0, "127.0.0.1", 2);
    set_int(listener, SOL_TCP, TCP_MAXSEG, 536);
    struct pair p = {.listener = listener, .client = connected(SOCK_STREAM, "127.0.0.1", port_of(listener))};
    p.server = accept(listener, NULL, NULL);
    int size = get_int(p.client, SOL_TCP, TCP_MAXSEG);
    CHECK(size <= 536);
    save_point();
    CHECK_EQ(get_int(p.client, SOL_TCP, TCP_MAXSEG), size);
    check_pair(p);
}
static void of_another_user(void) {
    NEEDS(geteuid() == 0, "root");
    CHECK(seteuid(65534) == 0);
    struct pair p = tcp_pair("127.0.0.1");
    CHECK(seteuid(0) == 0);
    save_point();
    struct stat stat;
    CHECK(fstat(p.client, &stat) == 0 && stat.st_uid == 65534);
    CHECK(fstat(p.server, &stat) == 0 && stat.st_uid == 65534);
    check_pair(p);
}
static void ipv6_options(void) {
    struct pair p = tcp_pair("::1");
    set_int(p.client, SOL_SOCKET, SO_ZEROCOPY, 1);
    set_int(p.client, SOL_IPV6, IPV6_TCLASS, 0x20);
    save_point();
    CHECK_EQ(get_int(p.client, SOL_SOCKET, SO_ZEROCOPY), 1);
    CHECK_EQ(get_int(p.client, SOL_IPV6, IPV6_TCLASS), 0x20);
    check_pair(p);
}

int main(int count, char **arguments) {
    NEEDS(geteuid() == 0, "root");
    static const struct one_case cases[] = {
        {"urgent_inline", urgent_inline}, {"corked", corked}, {"peer_closed", peer_closed}, {"reset", reset},
        {"connection_refused", connection_refused}, {"shut_for_reading", shut_for_reading},
        {"unread_in_pieces", unread_in_pieces}, {"low_water_mark", low_water_mark}, {"two_descriptors", two_descriptors},
        {"two_processes", two_processes}, {"watched_by_epoll", watched_by_epoll}, {"blocked_in_recv", blocked_in_recv},
        {"blocked_in_accept", blocked_in_accept}, {"unanswered", unanswered},
        {"blocked_in_connect", blocked_in_connect}, {"large_unread", large_unread}, {"no_timestamps", no_timestamps},
        {"no_scaling", no_scaling}, {"small_segments", small_segments}, {"of_another_user", of_another_user},
        {"ipv6_options", ipv6_options}, {NULL, NULL},
    };
    return run_case(cases, count, arguments);
}
