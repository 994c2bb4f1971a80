/* Pairs of sockets of each type: what is queued in them, how far apart, who is at the other end. */
#include "sockets.h"

static void set_up(int *ends, int type) {
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
    send_text(ends[0], "first");
    send_text(ends[0], "second");
    send_text(ends[1], "answer");
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
}

static void check(int *ends, bool keeps_boundaries) {
    struct ucred peer = peer_credentials(ends[0]);
    CHECK_EQ(peer.pid, getpid());
    CHECK_EQ(peer.uid, geteuid());
    CHECK_EQ(peer.gid, getegid());
    check_name(ends[0], "");
    check_peer(ends[0], "");
    CHECK_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(ends[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
    check_read(ends[0], "answer");
    check_nothing(ends[0]);
    if (keeps_boundaries) {
        check_read(ends[1], "first");
        check_read(ends[1], "second");
    } else {
        check_read(ends[1], "firstsecond");
    }
    check_nothing(ends[1]);
    check_talk(ends[0], ends[1]);
    CHECK(close(ends[0]) == 0);
    if (keeps_boundaries) return;
    check_end(ends[1]);
}

int main(void) {
    int stream[2], datagram[2], packets[2], large[2], empty[2];
    set_up(stream, SOCK_STREAM);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, empty) == 0);
    CHECK(send(empty[0], "", 0, 0) == 0);
    send_text(empty[0], "after an empty one");
    set_up(datagram, SOCK_DGRAM);
    set_up(packets, SOCK_SEQPACKET);
    /* as much as goes in */
    static char much[1 << 20];
    fill(much, sizeof much, 1);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, large) == 0);
    long sent = send(large[0], much, sizeof much, MSG_DONTWAIT);
    CHECK(sent > 100000);

    save_point();

    static char found[1 << 20];
    CHECK_EQ(recv(large[1], found, sizeof found, MSG_DONTWAIT | MSG_WAITALL), sent);
    CHECK(memcmp(much, found, sent) == 0);
    check_nothing(large[1]);
    check(stream, false);
    char byte;
    int copy = dup(datagram[1]);
    struct ucred peer = peer_credentials(copy);
    CHECK_EQ(peer.pid, getpid());
    check_read(copy, "first");
    check_read(copy, "second");
    check_nothing(copy);
    CHECK_EQ(recv(empty[1], &byte, 1, MSG_DONTWAIT), 0);
    check_read(empty[1], "after an empty one");
    check_nothing(empty[1]);
    check_read(datagram[0], "answer");
    check_talk(datagram[0], datagram[1]);
    check(packets, true);
    return ok();
}
