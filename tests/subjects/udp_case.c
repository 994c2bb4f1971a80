/* One state of a socket of UDP, of raw packets or of ICMP echoes, as the argument says. */
#include "cases.h"
#include <linux/filter.h>
#include <linux/icmp.h>

static void post(int from, const char *where, int port, const char *text) {
    struct address address = address_of(where, port);
    CHECK_EQ(sendto(from, text, strlen(text), 0, &address.any, address.length), (long)strlen(text));
}
static void check_hears(int fd, const char *where, int port) {
    int sender = socket(strchr(where, ':') ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
    CHECK(sender >= 0);
    post(sender, where, port, "hear");
    char bytes[8] = {0};
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 5000), 1);
    CHECK_EQ(recv(fd, bytes, sizeof bytes, 0), 4);
    CHECK(strcmp(bytes, "hear") == 0);
    close(sender);
}

static void connected_six(void) {
    int server = bound(SOCK_DGRAM, 0, "::1", 0), client = connected(SOCK_DGRAM, "::1", port_of(server));
    save_point();
    check_hears(server, "::1", port_of(server));
    CHECK_EQ(send(client, "abc", 3, 0), 3);
    char bytes[4];
    CHECK_EQ(recv(server, bytes, 4, 0), 3);
}
static void disconnected(void) {
    int server = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), client = connected(SOCK_DGRAM, "127.0.0.1", port_of(server));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CHECK(connect(client, &none, sizeof none) == 0);
    save_point();
    CHECK(send(client, "x", 1, 0) == -1 && errno == EDESTADDRREQ);
    post(client, "127.0.0.1", port_of(server), "x");
    char byte;
    CHECK_EQ(recv(server, &byte, 1, 0), 1);
}
static void broadcast(void) {
    int fd = bound(SOCK_DGRAM, 0, "0.0.0.0", 0);
    set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
    save_point();
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_BROADCAST), 1);
    post(fd, "127.255.255.255", port_of(fd), "all");
    char bytes[4];
    CHECK_EQ(recv(fd, bytes, 4, 0), 3);
}
static void destination_told(void) {
    int fd = bound(SOCK_DGRAM, 0, "0.0.0.0", 0);
    set_int(fd, SOL_IP, IP_PKTINFO, 1);
    set_int(fd, SOL_IP, IP_RECVTTL, 1);
    save_point();
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    post(sender, "127.0.0.5", port_of(fd), "x");
    char byte, control[256];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK_EQ(recvmsg(fd, &message, 0), 1);
    int told = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_type == IP_TTL) told |= 1;
        struct in_pktinfo *info = (void *)CMSG_DATA(c);
        if (c->cmsg_type == IP_PKTINFO && info->ipi_addr.s_addr == address_of("127.0.0.5", 0).v4.sin_addr.s_addr) told |= 2;
    }
    CHECK_EQ(told, 3);
}
static void multicast_four(void) {
    int fd = bound(SOCK_DGRAM, 0, "0.0.0.0", 0);
    struct ip_mreqn group = {.imr_ifindex = 1};
    CHECK(inet_pton(AF_INET, "239.9.9.9", &group.imr_multiaddr) == 1);
    CHECK(setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    set_int(fd, SOL_IP, IP_MULTICAST_TTL, 3);
    set_int(fd, SOL_IP, IP_MULTICAST_ALL, 0);
    save_point();
    CHECK(setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == -1 && errno == EADDRINUSE);
    CHECK_EQ(get_int(fd, SOL_IP, IP_MULTICAST_TTL), 3);
    CHECK_EQ(get_int(fd, SOL_IP, IP_MULTICAST_ALL), 0);
    CHECK(setsockopt(fd, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group) == 0);
}
static void multicast_six(void) {
    int fd = bound(SOCK_DGRAM, 0, "::", 0);
    struct ipv6_mreq group = {.ipv6mr_interface = 1};
    CHECK(inet_pton(AF_INET6, "ff02::99", &group.ipv6mr_multiaddr) == 1);
    CHECK(setsockopt(fd, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    set_int(fd, SOL_IPV6, IPV6_MULTICAST_HOPS, 4);
    save_point();
    CHECK(setsockopt(fd, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &group, sizeof group) == -1 && errno == EADDRINUSE);
    CHECK_EQ(get_int(fd, SOL_IPV6, IPV6_MULTICAST_HOPS), 4);
}
static void filtered(void) {
    int fd = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    /* Only datagrams that begin with 'y': the header of UDP has 8 bytes. */
    struct sock_filter code[] = {
        {BPF_LD | BPF_B | BPF_ABS, 0, 0, 8}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 'y'}, {BPF_RET | BPF_K, 0, 0, 0xffff},
        {BPF_RET | BPF_K, 0, 0, 0},
    };
    struct sock_fprog program = {4, code};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    set_int(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    post(sender, "127.0.0.1", port_of(fd), "y1");
    save_point();
    post(sender, "127.0.0.1", port_of(fd), "no");
    post(sender, "127.0.0.1", port_of(fd), "y2");
    char bytes[2];
    CHECK(recv(fd, bytes, 2, 0) == 2 && bytes[1] == '1');
    CHECK(recv(fd, bytes, 2, 0) == 2 && bytes[1] == '2');
    CHECK(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof program) == -1 && errno == EPERM);
}
static void shared_by_a_group(void) {
    int fds[3], port = 0, sender = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    for (int i = 0; i < 3; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        set_int(fds[i], SOL_SOCKET, SO_REUSEPORT, 1);
        struct address address = address_of("127.0.0.1", port);
        CHECK(bind(fds[i], &address.any, address.length) == 0);
        port = port_of(fds[0]);
    }
    for (int i = 0; i < 9; i++) {
        int other = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
        post(other, "127.0.0.1", port, "x");
        close(other);
    }
    int readable[3], total = 0;
    for (int i = 0; i < 3; i++) readable[i] = events_of(fds[i]) & POLLIN;
    save_point();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(events_of(fds[i]) & POLLIN, readable[i]);
        CHECK_EQ(port_of(fds[i]), port);
        char byte;
        while (recv(fds[i], &byte, 1, MSG_DONTWAIT) == 1) total++;
    }
    CHECK_EQ(total, 9);
    post(sender, "127.0.0.1", port, "y");
}
static int waiting;
static void receives(struct thread *thread) {
    char bytes[4];
    thread->result = recv(waiting, bytes, 4, 0);
}
static void blocked_in_recv(void) {
    waiting = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    struct thread thread = {0};
    start_thread(&thread, receives, NULL);
    await_syscall(thread.tid, SYS_recvfrom);
    save_point();
    post(bound(SOCK_DGRAM, 0, "127.0.0.1", 0), "127.0.0.1", port_of(waiting), "abc");
    join_thread(&thread);
    CHECK_EQ(thread.result, 3);
}
static void full(void) {
    int fd = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), sender = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), count = 0, bytes;
    set_int(fd, SOL_SOCKET, SO_RCVBUF, 20000);
    for (int i = 0; i < 200; i++) {
        struct address address = address_of("127.0.0.1", port_of(fd));
        CHECK_EQ(sendto(sender, &i, 4, 0, &address.any, address.length), 4);
    }
    save_point();
    while (recv(fd, &bytes, 4, MSG_DONTWAIT) == 4) CHECK_EQ(bytes, count++);
    CHECK(count > 10 && count < 200);
    check_hears(fd, "127.0.0.1", port_of(fd));
}
static void after_an_error(void) {
    int fd = connected(SOCK_DGRAM, "127.0.0.1", 9);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    char byte;
    CHECK(recv(fd, &byte, 1, 0) == -1 && errno == ECONNREFUSED);
    save_point();
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    CHECK(recv(fd, &byte, 1, 0) == -1 && errno == ECONNREFUSED);
}
static void segmented(void) {
    int fd = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), sender = connected(SOCK_DGRAM, "127.0.0.1", port_of(fd));
    set_int(sender, SOL_UDP, UDP_SEGMENT, 100);
    save_point();
    char bytes[300] = {0};
    CHECK_EQ(send(sender, bytes, 300, 0), 300);
    for (int i = 0; i < 3; i++) CHECK_EQ(recv(fd, bytes, 300, 0), 100);
}
static void times_told(void) {
    int fd = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    set_int(fd, SOL_SOCKET, SO_TIMESTAMPING, 1 << 3 | 1 << 4); /* SOFTWARE, RX_SOFTWARE */
    save_point();
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_TIMESTAMPING), 1 << 3 | 1 << 4);
    check_hears(fd, "127.0.0.1", port_of(fd));
}
static void lite_coverage(void) {
    int fd = bound(SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.1", 0);
    set_int(fd, IPPROTO_UDPLITE, 10, 20);
    set_int(fd, IPPROTO_UDPLITE, 11, 8);
    save_point();
    CHECK_EQ(get_int(fd, IPPROTO_UDPLITE, 10), 20);
    CHECK_EQ(get_int(fd, IPPROTO_UDPLITE, 11), 8);
}

/* ---- raw sockets, and echoes */

static int echo(int fd, const char *where, int id) {
    struct icmphdr request = {.type = ICMP_ECHO, .un.echo.id = htons(id), .un.echo.sequence = htons(7)};
    unsigned sum = 0;
    for (int i = 0; i < (int)sizeof request / 2; i++) sum += ((unsigned short *)&request)[i];
    request.checksum = ~((sum & 0xffff) + (sum >> 16));
    struct address address = address_of(where, 0);
    CHECK_EQ(sendto(fd, &request, sizeof request, 0, &address.any, address.length), (long)sizeof request);
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    return poll(&waited, 1, 5000);
}
static void raw_icmp(void) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), filter = ~(1 << ICMP_ECHOREPLY);
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_RAW, 1, &filter, sizeof filter) == 0); /* ICMP_FILTER */
    set_int(fd, SOL_IP, IP_TTL, 33);
    save_point();
    CHECK_EQ(get_int(fd, SOL_RAW, 1), filter);
    CHECK_EQ(get_int(fd, SOL_IP, IP_TTL), 33);
    CHECK_EQ(echo(fd, "127.0.0.1", 11), 1);
    char packet[64];
    CHECK_EQ(recv(fd, packet, sizeof packet, 0), 28);
    CHECK_EQ(packet[20], ICMP_ECHOREPLY);
}
static void raw_own_header(void) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), tcp = socket(AF_INET, SOCK_RAW, 200);
    struct address here = address_of("127.0.0.1", 0);
    CHECK(bind(tcp, &here.any, here.length) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_IP, IP_HDRINCL), 1);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_RAW);
    CHECK_EQ(address_at(tcp).v4.sin_addr.s_addr, here.v4.sin_addr.s_addr);
    unsigned char packet[24] = {0x45, 0, 0, 24, 0, 0, 0, 0, 9, 200, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 'd', 'a', 't', 'a'};
    CHECK_EQ(sendto(fd, packet, 24, 0, &here.any, here.length), 24);
    CHECK_EQ(recv(tcp, packet, 24, 0), 24);
    CHECK(memcmp(packet + 20, "data", 4) == 0);
}
static void raw_six(void) {
    int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    unsigned filter[8], found[8];
    memset(filter, 0xa5, sizeof filter);
    CHECK(setsockopt(fd, SOL_ICMPV6, 1, filter, sizeof filter) == 0); /* ICMPV6_FILTER */
    int plain = socket(AF_INET6, SOCK_RAW, 201);
    set_int(plain, SOL_IPV6, IPV6_CHECKSUM, 2);
    save_point();
    socklen_t length = sizeof found;
    CHECK(getsockopt(fd, SOL_ICMPV6, 1, found, &length) == 0 && memcmp(filter, found, sizeof filter) == 0);
    CHECK_EQ(get_int(plain, SOL_IPV6, IPV6_CHECKSUM), 2);
}
static void echoes(void) {
    FILE *range = fopen("/proc/sys/net/ipv4/ping_group_range", "w");
    NEEDS(range && fputs("0 1000", range) >= 0 && fclose(range) == 0, "the right to permit ICMP echoes");
    int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    CHECK(fd >= 0);
    struct address here = address_of("0.0.0.0", 4321);
    CHECK(bind(fd, &here.any, here.length) == 0);
    save_point();
    CHECK_EQ(port_of(fd), 4321);
    CHECK_EQ(echo(fd, "127.0.0.1", 1), 1);
    struct icmphdr answer;
    CHECK_EQ(recv(fd, &answer, sizeof answer, 0), (long)sizeof answer);
    CHECK(answer.type == ICMP_ECHOREPLY && ntohs(answer.un.echo.id) == 4321);
}

int main(int count, char **arguments) {
    NEEDS(geteuid() == 0, "root");
    NEEDS(has_ipv6(), "IPv6");
    static const struct one_case cases[] = {
        {"connected_six", connected_six}, {"disconnected", disconnected}, {"broadcast", broadcast},
        {"destination_told", destination_told}, {"multicast_four", multicast_four}, {"multicast_six", multicast_six},
        {"filtered", filtered}, {"shared_by_a_group", shared_by_a_group}, {"blocked_in_recv", blocked_in_recv},
        {"full", full}, {"after_an_error", after_an_error}, {"segmented", segmented}, {"times_told", times_told},
        {"lite_coverage", lite_coverage}, {"raw_icmp", raw_icmp}, {"raw_own_header", raw_own_header}, {"raw_six", raw_six},
        {"echoes", echoes}, {NULL, NULL},
    };
    return run_case(cases, count, arguments);
}
