/* TCP connections on their way to the end, both ends here: shut by one side, by both, with data before the end. */
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
    NEEDS(geteuid() == 0, "root");
    int listener = listening(0, "127.0.0.1", 16), port = port_of(listener);
    int client[4], server[4];
    for (int i = 0; i < 4; i++) {
        client[i] = connected(SOCK_STREAM, "127.0.0.1", port);
        server[i] = accept(listener, NULL, NULL);
    }
    /* 0: shut by the client */
    CHECK(shutdown(client[0], SHUT_WR) == 0);
    /* 1: the same, with data that nobody has read */
    send_all(client[1], "last words", 10);
    CHECK(shutdown(client[1], SHUT_WR) == 0);
    send_all(server[1], "unheard", 7);
    /* 2: shut by both */
    CHECK(shutdown(client[2], SHUT_WR) == 0);
    await_state(client[2], TCP_FIN_WAIT2);
    CHECK(shutdown(server[2], SHUT_WR) == 0);
    /* 3: the end waits behind data that do not fit */
    static char block[1 << 16];
    fcntl(client[3], F_SETFL, O_NONBLOCK);
    long total = 0, sent;
    struct pollfd room = {.fd = client[3], .events = POLLOUT};
    while ((sent = send(client[3], block, sizeof block, 0)) > 0 || poll(&room, 1, 300) > 0) total += sent > 0 ? sent : 0;
    CHECK(shutdown(client[3], SHUT_WR) == 0);
    for (int i = 0; i < 2; i++) await_state(client[i], TCP_FIN_WAIT2), await_state(server[i], TCP_CLOSE_WAIT);
    await_state(client[3], TCP_FIN_WAIT1);
    await_state(client[2], TCP_CLOSE);

    save_point();

    char bytes[16] = {0};
    for (int i = 0; i < 2; i++) await_state(client[i], TCP_FIN_WAIT2), await_state(server[i], TCP_CLOSE_WAIT);
    CHECK_EQ(recv(server[0], bytes, 1, 0), 0);
    send_all(server[0], "still", 5);
    receive_all(client[0], bytes, 5);
    CHECK(send(client[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    close(server[0]);
    CHECK_EQ(recv(client[0], bytes, 1, 0), 0);

    receive_all(server[1], bytes, 10);
    CHECK(memcmp(bytes, "last words", 10) == 0);
    CHECK_EQ(recv(server[1], bytes, 1, 0), 0);
    receive_all(client[1], bytes, 7);
    CHECK(memcmp(bytes, "unheard", 7) == 0);

    CHECK_EQ(recv(client[2], bytes, 1, 0), 0);
    CHECK_EQ(recv(server[2], bytes, 1, 0), 0);
    CHECK(send(client[2], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);

    /* Packed anew, all of it may fit the other end's queue now, and the end with it. */
    CHECK(state_of(client[3]) == TCP_FIN_WAIT1 || state_of(client[3]) == TCP_FIN_WAIT2);
    long got = 0, now;
    while ((now = recv(server[3], block, sizeof block, 0)) > 0) got += now;
    CHECK_EQ(now, 0);
    CHECK_EQ(got, total);
    await_state(client[3], TCP_FIN_WAIT2);
    return ok();
}
