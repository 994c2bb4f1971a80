/* One state of a netlink socket, as the argument says. */
#include "cases.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static int opened(int protocol, unsigned port, unsigned groups) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    CHECK(fd >= 0);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups};
    CHECK(bind(fd, (void *)&address, sizeof address) == 0);
    return fd;
}
static struct sockaddr_nl at(int fd) {
    struct sockaddr_nl address;
    socklen_t length = sizeof address;
    CHECK(getsockname(fd, (void *)&address, &length) == 0);
    return address;
}
/* Asks for the loopback device. */
static void check_answers(int fd) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST, 5, 0}, {.ifi_index = 1}};
    CHECK_EQ(send(fd, &request, sizeof request, 0), (long)sizeof request);
    static char answer[65536];
    struct nlmsghdr *head = (void *)answer;
    CHECK(recv(fd, answer, sizeof answer, 0) > (long)sizeof request);
    CHECK_EQ(head->nlmsg_type, RTM_NEWLINK);
    CHECK_EQ(head->nlmsg_seq, 5);
}
static void check_hears_of_links(int fd) {
    CHECK(system("ip link add rekindle-hear type veth && ip link del rekindle-hear") == 0);
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 5000), 1);
}

static void routes(void) {
    int fd = opened(NETLINK_ROUTE, 0, 0);
    unsigned port = at(fd).nl_pid;
    save_point();
    CHECK_EQ(at(fd).nl_pid, port);
    check_answers(fd);
}
static void unbound(void) {
    int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
    save_point();
    CHECK_EQ(at(fd).nl_pid, 0);
    check_answers(fd);
}
static void own_number(void) {
    int fd = opened(NETLINK_ROUTE, 424242, 0), other = opened(NETLINK_ROUTE, 424243, 0);
    save_point();
    CHECK_EQ(at(fd).nl_pid, 424242);
    CHECK_EQ(at(other).nl_pid, 424243);
    check_answers(fd);
    check_answers(other);
}
static void hears_of_links(void) {
    NEEDS(system("ip link add rekindle-try type veth && ip link del rekindle-try") == 0, "`ip`");
    int fd = opened(NETLINK_ROUTE, 0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
    save_point();
    CHECK_EQ(at(fd).nl_groups, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
    check_hears_of_links(fd);
}
static void high_group(void) {
    int fd = opened(NETLINK_ROUTE, 0, 0), group = 33; /* RTNLGRP_NSID is 28; those above 32 are in no mask */
    set_int(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    unsigned found[4] = {0}, before[4] = {0};
    socklen_t length = sizeof before;
    CHECK(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, before, &length) == 0 && before[1] == 1);
    save_point();
    length = sizeof found;
    CHECK(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, found, &length) == 0);
    CHECK(memcmp(before, found, sizeof found) == 0);
}
static void options(void) {
    int fd = opened(NETLINK_ROUTE, 0, 0);
    int all[] = {NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK,
                 NETLINK_GET_STRICT_CHK};
    for (int i = 0; i < 6; i++) set_int(fd, SOL_NETLINK, all[i], 1);
    set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, 5 << 20);
    int size = get_int(fd, SOL_SOCKET, SO_RCVBUF);
    save_point();
    for (int i = 0; i < 6; i++) CHECK_EQ(get_int(fd, SOL_NETLINK, all[i]), 1);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_RCVBUF), size);
}
static void devices(void) {
    int fd = opened(NETLINK_KOBJECT_UEVENT, 0, 1);
    set_int(fd, SOL_SOCKET, SO_PASSCRED, 1);
    save_point();
    CHECK_EQ(at(fd).nl_groups, 1);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_PASSCRED), 1);
}
static void generic(void) {
    int fd = opened(NETLINK_GENERIC, 0, 0);
    set_int(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 16); /* the group of the controller itself, GENL_ID_CTRL */
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    CHECK(connect(fd, (void *)&kernel, sizeof kernel) == 0);
    save_point();
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_PROTOCOL), NETLINK_GENERIC);
    CHECK_EQ(get_int(fd, SOL_SOCKET, SO_DOMAIN), AF_NETLINK);
}
static int waiting;
static void receives(struct thread *thread) {
    static char bytes[8192];
    thread->result = recv(waiting, bytes, sizeof bytes, 0);
}
static void blocked_in_recv(void) {
    NEEDS(system("ip link add rekindle-try type veth && ip link del rekindle-try") == 0, "`ip`");
    waiting = opened(NETLINK_ROUTE, 0, RTMGRP_LINK);
    struct thread thread = {0};
    start_thread(&thread, receives, NULL);
    await_syscall(thread.tid, SYS_recvfrom);
    save_point();
    CHECK(system("ip link add rekindle-hear type veth && ip link del rekindle-hear") == 0);
    join_thread(&thread);
    CHECK(thread.result > 100);
}

int main(int count, char **arguments) {
    NEEDS(geteuid() == 0, "root");
    static const struct one_case cases[] = {
        {"routes", routes}, {"unbound", unbound}, {"own_number", own_number}, {"hears_of_links", hears_of_links},
        {"high_group", high_group}, {"options", options}, {"devices", devices}, {"generic", generic},
        {"blocked_in_recv", blocked_in_recv}, {NULL, NULL},
    };
    return run_case(cases, count, arguments);
}
