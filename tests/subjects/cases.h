/* A subject with several cases, of which its argument names one: each sets up, has its save point, and asserts. */
#ifndef CASES_H
#define CASES_H
#include "inet.h"

struct one_case {
    const char *name;
    void (*run)(void);
};
UNUSED static int run_case(const struct one_case *cases, int count, char **arguments) {
    CHECK(count == 2);
    for (; cases->name; cases++) {
        if (strcmp(cases->name, arguments[1]) != 0) continue;
        cases->run();
        return ok();
    }
    FAIL("there is no case %s\n", arguments[1]);
}

/* A pair of connected TCP sockets, and the listener they have met at. */
struct pair {
    int client, server, listener;
};
UNUSED static struct pair tcp_pair(const char *where) {
    struct pair pair = {.listener = listening(0, where, 4)};
    pair.client = connected(SOCK_STREAM, where, port_of(pair.listener));
    pair.server = accept(pair.listener, NULL, NULL);
    CHECK(pair.server >= 0);
    return pair;
}
UNUSED static void check_pair(struct pair pair) { check_talk(pair.client, pair.server); }
UNUSED static int tcp_state(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length) == 0);
    return info.tcpi_state;
}
UNUSED static void await_tcp_state(int fd, int state) {
    for (int tries = 0; tcp_state(fd) != state; tries++) {
        if (tries > 5000) FAIL("the state is %d, not %d\n", tcp_state(fd), state);
        usleep(1000);
    }
}
#endif
