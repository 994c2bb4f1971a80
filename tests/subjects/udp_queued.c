/* Datagrams that nobody has received yet: from several senders, over IPv4, IPv6 and both, a long one, an empty one. */
#include "inet.h"

static void post(int from, int to, const char *where, const void *bytes, long length) {
    struct address address = address_of(where, port_of(to));
    CHECK_EQ(sendto(from, bytes, length, 0, &address.any, address.length), length);
}
static void expect(int at, int sender_port, const char *sender, const void *bytes, long length) {
    static char found[70000];
    struct address from = {.length = sizeof from.v6};
    CHECK_EQ(recvfrom(at, found, sizeof found, MSG_DONTWAIT, &from.any, &from.length), length);
    CHECK(memcmp(found, bytes, length) == 0);
    CHECK_EQ(ntohs(from.v4.sin_port), sender_port);
    struct address wanted = address_of(sender, 0);
    if (wanted.any.sa_family == AF_INET) CHECK_EQ(from.v4.sin_addr.s_addr, wanted.v4.sin_addr.s_addr);
    else CHECK(memcmp(&from.v6.sin6_addr, &wanted.v6.sin6_addr, 16) == 0);
}
static void expect_none(int at) {
    char byte;
    CHECK(recv(at, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

int main(void) {
    NEEDS(has_ipv6(), "IPv6");
    NEEDS(geteuid() == 0, "root");
    static char large[60000];
    fill(large, sizeof large, 3);
    int one = bound(SOCK_DGRAM, 0, "127.0.0.1", 0), other = bound(SOCK_DGRAM, 0, "127.0.0.2", 0);
    int six = bound(SOCK_DGRAM, 0, "::1", 0), mapped = bound(SOCK_DGRAM, 0, "::", 0);
    int four = bound(SOCK_DGRAM, 0, "0.0.0.0", 0), empty = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    int lite = bound(SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.1", 0);
    int lite_sender = bound(SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.1", 0);
    int mated = bound(SOCK_DGRAM, 0, "127.0.0.1", 0);
    int ports[] = {port_of(one), port_of(other), port_of(six), port_of(lite_sender)};
    post(one, four, "127.0.0.1", "first", 5);
    post(other, four, "127.0.0.1", "second", 6);
    post(one, four, "127.0.0.1", large, sizeof large);
    post(one, mapped, "127.0.0.1", "mapped", 6);
    post(six, mapped, "::1", "six", 3);
    post(other, empty, "127.0.0.1", "", 0);
    post(lite_sender, lite, "127.0.0.1", "lite", 4);
    /* One that came before it had a peer, and one from that. */
    post(other, mated, "127.0.0.1", "stranger", 8);
    struct address peer = address_at(one);
    CHECK(connect(mated, &peer.any, peer.length) == 0);
    post(one, mated, "127.0.0.1", "peer", 4);
    int off = get_int(four, SOL_SOCKET, SO_PEEK_OFF), size = get_int(four, SOL_SOCKET, SO_RCVBUF);

    save_point();

    CHECK_EQ(get_int(four, SOL_SOCKET, SO_PEEK_OFF), off);
    CHECK_EQ(get_int(four, SOL_SOCKET, SO_RCVBUF), size);
    expect(four, ports[0], "127.0.0.1", "first", 5);
    expect(four, ports[1], "127.0.0.2", "second", 6);
    expect(four, ports[0], "127.0.0.1", large, sizeof large);
    expect(mapped, ports[0], "::ffff:127.0.0.1", "mapped", 6);
    expect(mapped, ports[2], "::1", "six", 3);
    expect(empty, ports[1], "127.0.0.2", "", 0);
    expect(lite, ports[3], "127.0.0.1", "lite", 4);
    expect(mated, ports[1], "127.0.0.2", "stranger", 8);
    expect(mated, ports[0], "127.0.0.1", "peer", 4);
    int all[] = {one, other, six, mapped, four, empty, lite, mated};
    for (int i = 0; i < 8; i++) expect_none(all[i]);
    post(one, four, "127.0.0.1", "again", 5);
    expect(four, ports[0], "127.0.0.1", "again", 5);
    post(six, mapped, "::1", "again", 5);
    expect(mapped, ports[2], "::1", "again", 5);
    return ok();
}
