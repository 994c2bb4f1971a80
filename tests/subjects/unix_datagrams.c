/* Datagrams: who has sent each, where they go; connected one way, both ways, to itself, to one that is closed. */
#include "sockets.h"

static void check_from(int fd, const char *wanted, const char *sender) {
    char bytes[256] = {0};
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    long got = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&address, &length);
    if (got != (long)strlen(wanted) || memcmp(bytes, wanted, got) != 0) FAIL("'%s' (%ld, errno %d), not '%s'\n", bytes, got, errno, wanted);
    if (sender[0] == 0) CHECK_EQ(length, 0);
    else check_address("recvfrom", 0, &address, length, sender);
}
static void send_to(int fd, const char *text, const char *name) {
    socklen_t length;
    struct sockaddr_un address = address_of(name, &length);
    CHECK_EQ(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, length), strlen(text));
}

int main(void) {
    char abstract[64];
    snprintf(abstract, sizeof abstract, "@rekindle sender %d", getpid());
    int receiver = bound(SOCK_DGRAM, "receiver");
    int by_path = bound(SOCK_DGRAM, "by_path"), by_abstract = bound(SOCK_DGRAM, abstract), nameless = new_socket(SOCK_DGRAM);
    int passing = bound(SOCK_DGRAM, "passing");
    connect_to(by_path, "receiver");
    connect_to(nameless, "receiver");
    send_text(by_path, "one");
    send_to(by_abstract, "two", "receiver");
    send_text(nameless, "three");
    send_to(passing, "four", "receiver");
    CHECK(close(passing) == 0 && unlink("passing") == 0);
    send_text(by_path, "five");
    /* both ways, each with a name */
    int left = bound(SOCK_DGRAM, "left"), right = bound(SOCK_DGRAM, "right");
    send_to(nameless, "before they were connected", "left");
    connect_to(left, "right");
    connect_to(right, "left");
    send_text(right, "after");
    int self = bound(SOCK_DGRAM, "self");
    connect_to(self, "self");
    send_text(self, "to me");
    int closed = bound(SOCK_DGRAM, "closed"), widow = connected(SOCK_DGRAM, "closed");
    CHECK(close(closed) == 0);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    send_text(pair[0], "last words");
    CHECK(close(pair[0]) == 0);
    struct ucred nobody = peer_credentials(receiver);

    save_point();

    CHECK_EQ(peer_credentials(receiver).pid, nobody.pid);
    CHECK_EQ(peer_credentials(receiver).uid, nobody.uid);
    check_from(receiver, "one", "by_path");
    check_from(receiver, "two", abstract);
    check_from(receiver, "three", "");
    check_from(receiver, "four", "passing");
    check_from(receiver, "five", "by_path");
    check_nothing(receiver);
    send_text(by_path, "six");
    check_from(receiver, "six", "by_path");
    check_from(left, "before they were connected", "");
    check_from(left, "after", "right");
    check_peer(left, "right");
    check_talk(left, right);
    CHECK(send(left, "x", 1, 0) == 1);
    socklen_t length;
    struct sockaddr_un address = address_of("left", &length);
    CHECK(sendto(nameless, "x", 1, 0, (struct sockaddr *)&address, length) == -1 && errno == EPERM);
    check_from(self, "to me", "self");
    send_text(self, "again");
    check_from(self, "again", "self");
    check_peer(widow, "closed");
    CHECK(send(widow, "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED);
    check_from(pair[1], "last words", "");
    CHECK(send(pair[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED);
    return ok();
}
