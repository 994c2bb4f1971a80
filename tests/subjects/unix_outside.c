/*
 * Sockets whose other end somebody outside has: a stream is closed, datagrams find their way again. Started by a suite that
 * has the sockets "outside" and "log", sends "waiting" on the one, and looks what arrives at the other.
 */
#include "sockets.h"

int main(int count, char **arguments) {
    bool is_restored = count > 1 && strcmp(arguments[1], "restored") == 0;
    int stream = connected(SOCK_STREAM, "outside"), log = connected(SOCK_DGRAM, "log");
    int passing = connected(SOCK_DGRAM, "passing"), listener = listening(SOCK_STREAM, "ours", 3);
    struct sockaddr_un peer = {0}, found = {0};
    socklen_t length = sizeof peer;
    CHECK(getpeername(stream, (struct sockaddr *)&peer, &length) == 0);
    send_text(log, "before");
    struct pollfd polled = {.fd = stream, .events = POLLIN};
    CHECK(poll(&polled, 1, 10000) == 1); /* what was sent to us has arrived */

    save_point();

    check_read(stream, "waiting");
    length = sizeof found;
    CHECK(getpeername(stream, (struct sockaddr *)&found, &length) == 0 && memcmp(&peer, &found, length) == 0);
    if (is_restored) {
        check_end(stream);
        CHECK(send(stream, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
        CHECK(send(passing, "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED);
    } else {
        check_nothing(stream);
        send_text(stream, "still there");
    }
    send_text(log, "after");
    CHECK_EQ(int_option(listener, SO_ACCEPTCONN), 1);
    return ok();
}
