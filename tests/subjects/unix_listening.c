/*
 * Listening sockets of three kinds of names, each with a connection accepted before and one that waits, and one that is
 * shut before it was accepted.
 */
#include "sockets.h"

static const char *const NAMES[] = {"listening", "@rekindle listening, abstract", NULL};

struct service {
    int listener, client, server, waiting, shut;
    char name[108];
};

int main(void) {
    struct service services[3];
    char cwd[64];
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    for (int i = 0; i < 3; i++) {
        struct service *s = &services[i];
        if (NAMES[i]) snprintf(s->name, sizeof s->name, "%s %d", NAMES[i], i == 1 ? getpid() : 0);
        else snprintf(s->name, sizeof s->name, "%s/absolute", cwd);
        s->listener = listening(i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, s->name, 3);
        int type = int_option(s->listener, SO_TYPE);
        s->client = connected(type, s->name);
        s->server = accepted(s->listener);
        s->waiting = connected(type, s->name);
        s->shut = connected(type, s->name);
        CHECK(shutdown(s->shut, SHUT_WR) == 0);
        send_text(s->client, "to the server");
        send_text(s->server, "to the client");
    }
    CHECK(chmod("listening 0", 0640) == 0);

    save_point();

    struct stat status;
    CHECK(stat("listening 0", &status) == 0);
    CHECK_EQ(status.st_mode, S_IFSOCK | 0640);
    for (int i = 0; i < 3; i++) {
        struct service *s = &services[i];
        CHECK_EQ(int_option(s->listener, SO_ACCEPTCONN), 1);
        check_name(s->listener, s->name);
        check_name(s->server, s->name);
        check_peer(s->client, s->name);
        check_name(s->client, "");
        check_peer(s->server, "");
        check_read(s->server, "to the server");
        check_read(s->client, "to the client");
        check_talk(s->client, s->server);
        check_peer(s->waiting, s->name);
        send_text(s->waiting, "before it is accepted");
        int first = accepted(s->listener), second = accepted(s->listener);
        check_name(first, s->name);
        check_read(first, "before it is accepted");
        check_talk(first, s->waiting);
        check_end(second);
        send_text(second, "half of it still works");
        check_read(s->shut, "half of it still works");
        CHECK(fcntl(s->listener, F_SETFL, O_NONBLOCK) == 0);
        CHECK(accept(s->listener, NULL, NULL) == -1 && errno == EAGAIN);
        /* the backlog is what it was: four fit */
        int type = int_option(s->listener, SO_TYPE);
        for (int n = 0; n < 4; n++) CHECK(close(connected(type, s->name)) == 0 || true);
        int more = new_socket(type | SOCK_NONBLOCK);
        socklen_t length;
        struct sockaddr_un address = address_of(s->name, &length);
        CHECK(connect(more, (struct sockaddr *)&address, length) == -1 && errno == EAGAIN);
        struct ucred peer = peer_credentials(s->client);
        CHECK_EQ(peer.pid, getpid());
        CHECK_EQ(peer_credentials(first).pid, getpid());
    }
    return ok();
}
