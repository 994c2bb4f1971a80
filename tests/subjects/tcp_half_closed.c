/*
 * A server with two clients outside that have sent their end: one whose data nobody has read yet, and one whom it has told its
 * own end already, behind more data than fit. It says its port and awaits both before its save point.
 */
#include "inet.h"

static int state_of(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length) == 0);
    return info.tcpi_state;
}
static void await_state(int fd, int state) {
    for (int tries = 0; state_of(fd) != state; tries++) {
        if (tries > 5000) FAIL("the state is %d, not %d\n", state_of(fd), state);
        usleep(1000);
    }
}

int main(void) {
    int listener = listening(0, "127.0.0.1", 4);
    say("port %d\n", port_of(listener));
    int first = accept(listener, NULL, NULL), second = accept(listener, NULL, NULL);
    CHECK(first >= 0 && second >= 0);
    await_state(first, TCP_CLOSE_WAIT);
    await_state(second, TCP_CLOSE_WAIT);
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    fcntl(second, F_SETFL, O_NONBLOCK);
    struct pollfd room = {.fd = second, .events = POLLOUT};
    long total = 0, sent;
    while ((sent = send(second, block, sizeof block, 0)) > 0 || poll(&room, 1, 300) > 0) total += sent > 0 ? sent : 0;
    CHECK(shutdown(second, SHUT_WR) == 0);
    CHECK_EQ(state_of(second), TCP_LAST_ACK);
    say("total %ld\n", total);

    save_point();

    CHECK_EQ(state_of(first), TCP_CLOSE_WAIT);
    CHECK_EQ(state_of(second), TCP_LAST_ACK);
    char bytes[6] = {0};
    receive_all(first, bytes, 5);
    CHECK(strcmp(bytes, "hello") == 0);
    CHECK_EQ(recv(first, bytes, 1, 0), 0);
    CHECK_EQ(recv(second, bytes, 1, 0), 0);
    send_all(first, "goodbye", 7);
    CHECK(shutdown(first, SHUT_WR) == 0);
    await_state(first, TCP_CLOSE); /* the client has taken notice */
    return ok();
}
