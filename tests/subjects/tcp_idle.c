/* TCP sockets that are connected to nobody: fresh, bound (also with a privileged port, or an address alone), shut. */
#include "inet.h"

int main(void) {
    int fresh = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int quiet = bound(SOCK_STREAM, 0, "127.0.0.1", 0);
    int multipath = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    int shut = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fresh >= 0 && shut >= 0);
    CHECK(shutdown(shut, SHUT_RDWR) == -1 && errno == ENOTCONN);
    int addressed = socket(AF_INET, SOCK_STREAM, 0);
    set_int(addressed, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    struct address loopback = address_of("127.0.0.1", 0);
    CHECK(bind(addressed, &loopback.any, loopback.length) == 0);
    int port = port_of(quiet), multipath_protocol = multipath < 0 ? 0 : get_int(multipath, SOL_SOCKET, SO_PROTOCOL);
    CHECK(fchown(quiet, 1234, 5678) == 0 || geteuid() != 0);
    struct stat owner;

    save_point();

    CHECK(fcntl(fresh, F_GETFL) & O_NONBLOCK);
    CHECK_EQ(port_of(fresh), 0);
    CHECK_EQ(port_of(quiet), port);
    CHECK(fstat(quiet, &owner) == 0);
    if (geteuid() == 0) CHECK(owner.st_uid == 1234 && owner.st_gid == 5678);
    struct address taken = address_of("127.0.0.1", port);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(other, &taken.any, taken.length) == -1 && errno == EADDRINUSE);
    CHECK_EQ(port_of(addressed), 0);
    CHECK(address_at(addressed).v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK_EQ(events_of(shut) & (POLLIN | POLLHUP | POLLRDHUP), POLLIN | POLLHUP | POLLRDHUP);
    CHECK_EQ(events_of(fresh) & POLLRDHUP, 0);
    if (multipath >= 0) CHECK_EQ(get_int(multipath, SOL_SOCKET, SO_PROTOCOL), multipath_protocol);
    CHECK(listen(quiet, 1) == 0);
    check_service(quiet, "127.0.0.1", port);
    CHECK(connect(fresh, &taken.any, taken.length) == 0 || errno == EINPROGRESS);
    return ok();
}
