/*
 * Sockets that share a port: a SO_REUSEPORT group of listeners, and two bound with SO_REUSEADDR of which one listens, after the
 * option was switched off again.
 */
#include "inet.h"

int main(void) {
    struct address address = address_of("127.0.0.1", 0);
    int group[3];
    for (int i = 0; i < 3; i++) {
        group[i] = socket(AF_INET, SOCK_STREAM, 0);
        set_int(group[i], SOL_SOCKET, SO_REUSEPORT, 1);
        CHECK(bind(group[i], &address.any, address.length) == 0);
        address = address_at(group[0]);
        CHECK(listen(group[i], 8) == 0);
    }
    int group_port = port_of(group[0]);
    struct address other = address_of("127.0.0.1", 0);
    int pair[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = socket(AF_INET, SOCK_STREAM, 0);
        set_int(pair[i], SOL_SOCKET, SO_REUSEADDR, 1);
        CHECK(bind(pair[i], &other.any, other.length) == 0);
        other = address_at(pair[0]);
    }
    CHECK(listen(pair[0], 8) == 0);
    set_int(pair[1], SOL_SOCKET, SO_REUSEADDR, 0);
    int pair_port = port_of(pair[0]);

    save_point();

    for (int i = 0; i < 3; i++) {
        CHECK_EQ(port_of(group[i]), group_port);
        CHECK_EQ(get_int(group[i], SOL_SOCKET, SO_REUSEPORT), 1);
        CHECK_EQ(get_int(group[i], SOL_SOCKET, SO_REUSEADDR), 0);
    }
    int served = 0, busy = 0;
    for (int i = 0; i < 12; i++) connected(SOCK_STREAM, "127.0.0.1", group_port);
    for (int i = 0; i < 3; i++) {
        fcntl(group[i], F_SETFL, O_NONBLOCK);
        int here = 0;
        while (accept(group[i], NULL, NULL) >= 0) here++;
        served += here;
        busy += here > 0;
    }
    CHECK_EQ(served, 12);
    CHECK(busy >= 2); /* the kernel spreads connections over the group */
    CHECK_EQ(port_of(pair[1]), pair_port);
    CHECK_EQ(get_int(pair[0], SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(get_int(pair[1], SOL_SOCKET, SO_REUSEADDR), 0);
    CHECK(listen(pair[1], 8) == -1 && errno == EADDRINUSE);
    check_service(pair[0], "127.0.0.1", pair_port);
    return ok();
}
