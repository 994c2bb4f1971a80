/* UDP and UDP-Lite: fresh, bound, connected, several on one port, IPv4 and IPv6, an empty queue. */
#include "inet.h"

static void check_datagrams(int from, int to, const char *text, int port) {
    struct address address = address_of(text, port);
    char bytes[16] = {0};
    CHECK_EQ(sendto(from, "datagram", 9, 0, &address.any, address.length), 9);
    CHECK_EQ(recv(to, bytes, sizeof bytes, 0), 9);
    CHECK(strcmp(bytes, "datagram") == 0);
}

int main(void) {
    NEEDS(has_ipv6(), "IPv6");
    int fresh = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int four = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), six = bound(SOCK_DGRAM, 0, "::1", 0);
    int lite = bound(SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.1", 0);
    int mapped = bound(SOCK_DGRAM, 0, "::", 0);
    int client = connected(SOCK_DGRAM, "127.0.0.1", port_of(four));
    int port = port_of(four), client_port = port_of(client), lite_port = port_of(lite);
    int six_port = port_of(six), mapped_port = port_of(mapped);
    int shared[2];
    struct address address = address_of("127.0.0.1", 0);
    for (int i = 0; i < 2; i++) {
        shared[i] = socket(AF_INET, SOCK_DGRAM, 0);
        set_int(shared[i], SOL_SOCKET, SO_REUSEADDR, 1);
        CHECK(bind(shared[i], &address.any, address.length) == 0);
        address = address_at(shared[0]);
    }
    struct address peer = address_at(four);
    CHECK(connect(shared[1], &peer.any, peer.length) == 0);
    int member = bound(SOCK_DGRAM, 0, "0.0.0.0", 0), member_port = port_of(member);
    struct ip_mreqn group = {.imr_ifindex = 1};
    CHECK(inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr) == 1);
    CHECK(setsockopt(member, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    struct ipv6_mreq group6 = {.ipv6mr_interface = 1};
    CHECK(inet_pton(AF_INET6, "ff05::77", &group6.ipv6mr_multiaddr) == 1);
    CHECK(setsockopt(mapped, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &group6, sizeof group6) == 0);

    save_point();

    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    struct ip_mreqn out = {.imr_ifindex = 1};
    CHECK(setsockopt(sender, SOL_IP, IP_MULTICAST_IF, &out, sizeof out) == 0);
    check_datagrams(sender, member, "239.1.2.3", member_port);
    CHECK(setsockopt(mapped, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &group6, sizeof group6) == -1 && errno == EADDRINUSE);
    CHECK(setsockopt(fresh, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group) == -1);

    CHECK_EQ(port_of(fresh), 0);
    CHECK_EQ(port_of(four), port);
    CHECK_EQ(port_of(client), client_port);
    check_datagrams(fresh, four, "127.0.0.1", port);
    check_datagrams(socket(AF_INET6, SOCK_DGRAM, 0), six, "::1", six_port);
    check_datagrams(fresh, mapped, "127.0.0.1", mapped_port);
    check_datagrams(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), lite, "127.0.0.1", lite_port);
    CHECK_EQ(get_int(lite, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDPLITE);
    char bytes[16];
    CHECK_EQ(send(client, "hello", 5, 0), 5);
    struct address from = {.length = sizeof from.v6};
    CHECK_EQ(recvfrom(four, bytes, sizeof bytes, 0, &from.any, &from.length), 5);
    CHECK_EQ(ntohs(from.v4.sin_port), client_port);
    CHECK_EQ(port_of(shared[0]), port_of(shared[1]));
    CHECK_EQ(send(shared[1], "shared", 6, 0), 6);
    CHECK_EQ(recv(four, bytes, sizeof bytes, 0), 6);
    /* A connected socket hears its peer alone. */
    check_datagrams(fresh, shared[0], "127.0.0.1", port_of(shared[0]));
    CHECK(recv(shared[1], bytes, sizeof bytes, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    return ok();
}
