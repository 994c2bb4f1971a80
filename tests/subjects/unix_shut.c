/* Half shut and closed: what had been sent is read first; then the end, or the error that was still to be told. */
#include "sockets.h"

static void check_epipe(int fd) { CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE); }

int main(void) {
    int writes[2], reads[2], both[2], closed[2], packets[2], reset[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, writes) == 0);
    send_text(writes[0], "all I had to say");
    CHECK(shutdown(writes[0], SHUT_WR) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, reads) == 0);
    send_text(reads[1], "sent before");
    CHECK(shutdown(reads[0], SHUT_RD) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0);
    send_text(both[0], "packet");
    CHECK(shutdown(both[0], SHUT_RDWR) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, closed) == 0);
    send_text(closed[0], "last words");
    CHECK(close(closed[0]) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
    send_text(packets[0], "last");
    send_text(packets[0], "words");
    CHECK(close(packets[0]) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, reset) == 0);
    send_text(reset[0], "read me first");
    send_text(reset[1], "never read");
    CHECK(close(reset[0]) == 0);
    int listener = listening(SOCK_STREAM, "gone", 1);
    int widow = connected(SOCK_STREAM, "gone");
    int orphan_client = connected(SOCK_STREAM, "gone");
    int first = accepted(listener), orphan = accepted(listener);
    CHECK(close(first) == 0 && close(listener) == 0 && unlink("gone") == 0 && close(orphan_client) == 0);

    save_point();

    check_read(writes[1], "all I had to say");
    check_end(writes[1]);
    check_epipe(writes[0]);
    send_text(writes[1], "the other way");
    check_read(writes[0], "the other way");
    check_epipe(reads[1]);
    send_text(reads[0], "one way still works");
    check_read(reads[1], "one way still works");
    check_read(both[1], "packet");
    check_end(both[1]);
    check_epipe(both[1]);
    check_epipe(both[0]);
    check_end(both[0]);
    check_read(closed[1], "last words");
    check_end(closed[1]);
    check_epipe(closed[1]);
    check_read(packets[1], "last");
    check_read(packets[1], "words");
    check_end(packets[1]);
    struct pollfd polled = {.fd = reset[1], .events = POLLIN};
    CHECK(poll(&polled, 1, 0) == 1);
    CHECK_EQ(polled.revents, POLLIN | POLLERR | POLLHUP);
    CHECK_EQ(int_option(reset[1], SO_ERROR), ECONNRESET);
    check_read(reset[1], "read me first");
    check_end(reset[1]);
    check_end(widow);
    check_peer(widow, "gone");
    check_name(orphan, "gone");
    check_peer(orphan, "");
    check_end(orphan);
    return ok();
}
