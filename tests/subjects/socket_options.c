/*
 * Options of sockets, one socket for each of three kinds: every `int` option is set to another value than it has, as far as the
 * kernel takes it, and must have it afterwards. Those that are no `int` are set one by one.
 */
#include "inet.h"
#include <linux/filter.h>

struct option {
    int level, number, value;
} wanted[] = {
    {SOL_SOCKET, SO_REUSEADDR, 1},      {SOL_SOCKET, SO_REUSEPORT, 1},      {SOL_SOCKET, SO_DEBUG, 1},
    {SOL_SOCKET, SO_DONTROUTE, 1},      {SOL_SOCKET, SO_BROADCAST, 1},      {SOL_SOCKET, SO_KEEPALIVE, 1},
    {SOL_SOCKET, SO_OOBINLINE, 1},      {SOL_SOCKET, SO_NO_CHECK, 1},       {SOL_SOCKET, SO_PRIORITY, 5},
    {SOL_SOCKET, SO_RCVLOWAT, 17},      {SOL_SOCKET, SO_TIMESTAMP, 1},      {SOL_SOCKET, SO_MARK, 77},
    {SOL_SOCKET, SO_RXQ_OVFL, 1},       {SOL_SOCKET, SO_PEEK_OFF, 3},       {SOL_SOCKET, SO_BUSY_POLL, 40},
    {SOL_SOCKET, SO_INCOMING_CPU, 0},   {SOL_SOCKET, SO_ZEROCOPY, 1},       {SOL_SOCKET, 69, 1},
    {SOL_SOCKET, 70, 16},               {SOL_SOCKET, 74, 0},                {SOL_SOCKET, 75, 1},
    {SOL_IP, IP_TOS, 0x48},             {SOL_IP, IP_TTL, 33},               {SOL_IP, IP_RECVOPTS, 1},
    {SOL_IP, IP_RETOPTS, 1},            {SOL_IP, IP_PKTINFO, 1},            {SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO},
    {SOL_IP, IP_RECVERR, 1},            {SOL_IP, IP_RECVTTL, 1},            {SOL_IP, IP_RECVTOS, 1},
    {SOL_IP, IP_FREEBIND, 1},           {SOL_IP, IP_TRANSPARENT, 1},        {SOL_IP, IP_RECVORIGDSTADDR, 1},
    {SOL_IP, IP_MINTTL, 7},             {SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1}, {SOL_IP, IP_CHECKSUM, 1},
    {SOL_IP, IP_MULTICAST_TTL, 9},      {SOL_IP, IP_MULTICAST_LOOP, 0},     {SOL_IP, IP_MULTICAST_ALL, 0},
    {SOL_IP, 25, 1},                    {SOL_IP, 26, 1},                    {SOL_IP, 51, 50000 << 16 | 40000},
    {SOL_IPV6, IPV6_UNICAST_HOPS, 44},  {SOL_IPV6, IPV6_MULTICAST_HOPS, 5}, {SOL_IPV6, IPV6_MULTICAST_LOOP, 0},
    {SOL_IPV6, IPV6_MULTICAST_IF, 1},   {SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO},
    {SOL_IPV6, IPV6_RECVERR, 1},        {SOL_IPV6, IPV6_V6ONLY, 1},         {SOL_IPV6, IPV6_RECVPKTINFO, 1},
    {SOL_IPV6, IPV6_RECVHOPLIMIT, 1},   {SOL_IPV6, IPV6_RECVHOPOPTS, 1},    {SOL_IPV6, IPV6_RECVRTHDR, 1},
    {SOL_IPV6, IPV6_RECVDSTOPTS, 1},    {SOL_IPV6, IPV6_RECVPATHMTU, 1},    {SOL_IPV6, IPV6_DONTFRAG, 1},
    {SOL_IPV6, IPV6_RECVTCLASS, 1},     {SOL_IPV6, IPV6_TCLASS, 0x20},      {SOL_IPV6, IPV6_AUTOFLOWLABEL, 0},
    {SOL_IPV6, IPV6_ADDR_PREFERENCES, 1}, {SOL_IPV6, IPV6_MINHOPCOUNT, 3},  {SOL_IPV6, 74, 1},
    {SOL_IPV6, 29, 0},                  {SOL_IPV6, 77, 1},                  {SOL_IPV6, 33, 1},
    {SOL_TCP, TCP_NODELAY, 1},          {SOL_TCP, TCP_MAXSEG, 1000},        {SOL_TCP, TCP_CORK, 1},
    {SOL_TCP, TCP_KEEPIDLE, 111},       {SOL_TCP, TCP_KEEPINTVL, 12},       {SOL_TCP, TCP_KEEPCNT, 3},
    {SOL_TCP, TCP_SYNCNT, 2},           {SOL_TCP, TCP_LINGER2, 25},         {SOL_TCP, TCP_DEFER_ACCEPT, 3},
    {SOL_TCP, TCP_WINDOW_CLAMP, 30000}, {SOL_TCP, TCP_QUICKACK, 0},         {SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1},
    {SOL_TCP, TCP_USER_TIMEOUT, 12345}, {SOL_TCP, TCP_FASTOPEN, 6},         {SOL_TCP, TCP_NOTSENT_LOWAT, 9999},
    {SOL_TCP, TCP_SAVE_SYN, 1},         {SOL_TCP, TCP_FASTOPEN_CONNECT, 1}, {SOL_TCP, TCP_FASTOPEN_NO_COOKIE, 1},
    {SOL_TCP, TCP_INQ, 1},              {SOL_TCP, 44, 60000},
    {SOL_UDP, UDP_CORK, 1},             {SOL_UDP, UDP_NO_CHECK6_TX, 1},     {SOL_UDP, UDP_NO_CHECK6_RX, 1},
    {SOL_UDP, UDP_SEGMENT, 1200},       {SOL_UDP, UDP_GRO, 1},
};
#define COUNT (int)(sizeof wanted / sizeof *wanted)
#define KINDS 4

/* What the kernel says after it was set, which may be rounded; -1 where it has no such option. */
static int now[KINDS][COUNT];
static int get(int fd, struct option *option, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(fd, option->level, option->number, value, &length);
}

int main(void) {
    int sockets[KINDS] = {
        socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET6, SOCK_STREAM, 0),
        socket(AF_INET, SOCK_DGRAM, 0),  socket(AF_INET6, SOCK_DGRAM, 0),
    };
    NEEDS(sockets[1] >= 0, "IPv6");
    int taken = 0;
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < COUNT; i++) {
            struct option *o = &wanted[i];
            if (setsockopt(sockets[k], o->level, o->number, &o->value, sizeof o->value) == 0) taken++;
        }
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < COUNT; i++)
            if (get(sockets[k], &wanted[i], &now[k][i]) != 0) now[k][i] = -1;
    CHECK(taken > 150);

    int one = bound(SOCK_STREAM, 0, "127.0.0.1", 0);
    struct timeval receive = {3, 250000}, send = {70, 0}, time;
    struct linger linger = {1, 11}, lingers;
    char device[16] = "lo", congestion[16] = "reno";
    struct in_addr from = {htonl(INADDR_LOOPBACK)}, from_now;
    unsigned long long rate = 5000000000ull, rate_now;
    struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0xffff}};
    struct sock_fprog program = {1, code};
    CHECK(setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) == 0);
    CHECK(setsockopt(one, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof send) == 0);
    CHECK(setsockopt(one, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(setsockopt(one, SOL_SOCKET, SO_BINDTODEVICE, device, 3) == 0);
    CHECK(setsockopt(one, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate) == 0);
    CHECK(setsockopt(one, SOL_TCP, TCP_CONGESTION, congestion, 4) == 0);
    CHECK(setsockopt(one, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    set_int(one, SOL_SOCKET, SO_LOCK_FILTER, 1);
    set_int(one, SOL_SOCKET, SO_SNDBUFFORCE, 7 << 20);
    set_int(one, SOL_SOCKET, SO_RCVBUFFORCE, 9 << 20);
    CHECK(setsockopt(sockets[2], SOL_IP, IP_MULTICAST_IF, &from, sizeof from) == 0);
    int sizes[] = {get_int(one, SOL_SOCKET, SO_SNDBUF), get_int(one, SOL_SOCKET, SO_RCVBUF)};
    int plain = socket(AF_INET, SOCK_STREAM, 0), lock = get_int(one, SOL_SOCKET, 72);
    CHECK_EQ(get_int(plain, SOL_SOCKET, 72), 0);
    /* Set, and set back: the type of service has given the priority another value. */
    set_int(plain, SOL_IP, IP_TOS, 0x10);
    set_int(plain, SOL_SOCKET, SO_PRIORITY, 0);

    save_point();

    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < COUNT; i++) {
            int value = -1;
            if (get(sockets[k], &wanted[i], &value) != 0) value = -1;
            if (value != now[k][i])
                FAIL("socket %d, level %d, option %d is %d, was %d\n", k, wanted[i].level, wanted[i].number, value,
                     now[k][i]);
        }
    socklen_t length = sizeof time;
    CHECK(getsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &time, &length) == 0);
    CHECK(time.tv_sec == 3 && time.tv_usec >= 240000 && time.tv_usec <= 260000);
    CHECK(getsockopt(one, SOL_SOCKET, SO_SNDTIMEO, &time, &length) == 0 && time.tv_sec == 70);
    length = sizeof lingers;
    CHECK(getsockopt(one, SOL_SOCKET, SO_LINGER, &lingers, &length) == 0);
    CHECK(lingers.l_onoff == 1 && lingers.l_linger == 11);
    char name[16] = {0};
    length = sizeof name;
    CHECK(getsockopt(one, SOL_SOCKET, SO_BINDTODEVICE, name, &length) == 0 && strcmp(name, "lo") == 0);
    length = sizeof name;
    CHECK(getsockopt(one, SOL_TCP, TCP_CONGESTION, name, &length) == 0 && strcmp(name, "reno") == 0);
    length = sizeof rate_now;
    CHECK(getsockopt(one, SOL_SOCKET, SO_MAX_PACING_RATE, &rate_now, &length) == 0 && rate_now == rate);
    length = 1;
    struct sock_filter found = {0};
    CHECK(getsockopt(one, SOL_SOCKET, SO_GET_FILTER, &found, &length) == 0 && length == 1 && found.k == 0xffff);
    CHECK_EQ(get_int(one, SOL_SOCKET, SO_LOCK_FILTER), 1);
    CHECK_EQ(get_int(one, SOL_SOCKET, SO_SNDBUF), sizes[0]);
    CHECK_EQ(get_int(one, SOL_SOCKET, SO_RCVBUF), sizes[1]);
    CHECK_EQ(get_int(one, SOL_SOCKET, 72), lock);
    length = sizeof from_now;
    CHECK(getsockopt(sockets[2], SOL_IP, IP_MULTICAST_IF, &from_now, &length) == 0 && from_now.s_addr == from.s_addr);
    CHECK_EQ(get_int(plain, SOL_SOCKET, 72), 0);
    CHECK_EQ(get_int(plain, SOL_SOCKET, SO_PRIORITY), 0);
    CHECK_EQ(get_int(plain, SOL_IP, IP_TOS), 0x10);
    return ok();
}
