/*
 * Sockets between processes: a pair made by the parent for two children, a pair between parent and child, a connection to a
 * socket that another process listens at, one that waits there, a descriptor on its way from one process to another.
 */
#include "sockets.h"

static void check_peer_is(int fd, pid_t pid) { CHECK_EQ(peer_credentials(fd).pid, pid); }

/* Reads one command of one byte at a time, and answers with one. */
static char command(int from) {
    char byte;
    return read(from, &byte, 1) == 1 ? byte : 0;
}
static void answer(int to, char what) { CHECK(write(to, &what, 1) == 1); }
static void ask(int child, char what) {
    char answer;
    CHECK(write(child, &what, 1) == 1);
    CHECK(read(child, &answer, 1) == 1 && answer == what);
}

static pid_t start(int *ends, void (*body)(int, int, pid_t), int fd) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(ends[1], fd, parent);
        _exit(0);
    }
    close(ends[1]);
    return pid;
}

/* Has one end of a pair of its parent's making, and listens. */
static void server(int orders, int pair, pid_t parent) {
    int listener = listening(SOCK_STREAM, "service", 5), connection = -1;
    CHECK(write(orders, "r", 1) == 1);
    for (char what; (what = command(orders)) != 0; answer(orders, what)) {
        int got[4];
        switch (what) {
        case 'a': connection = accepted(listener); break;
        case 's':
            send_text(pair, "from the server");
            send_with(connection, "a descriptor", (int[]){listener}, 1);
            break;
        case 'c':
            check_peer_is(orders, parent);
            check_peer_is(pair, parent);
            check_read(pair, "from the client");
            check_read(connection, "to the service");
            int late = accepted(listener);
            check_read(late, "to who accepts it");
            CHECK_EQ(receive_with(pair, 100, "my listener", got, NULL), 1);
            CHECK_EQ(int_option(got[0], SO_ACCEPTCONN), 1);
            break;
        }
    }
}
static void client(int orders, int pair, pid_t parent) {
    int connection = connected(SOCK_STREAM, "service"), waiting = -1, other = -1, got[4];
    CHECK(write(orders, "r", 1) == 1);
    for (char what; (what = command(orders)) != 0; answer(orders, what)) {
        switch (what) {
        case 's':
            waiting = connected(SOCK_STREAM, "service");
            send_text(pair, "from the client");
            send_text(connection, "to the service");
            break;
        case 'c':
            check_peer_is(orders, parent);
            check_peer_is(pair, parent);
            check_name(connection, "");
            check_peer(connection, "service");
            check_read(pair, "from the server");
            CHECK_EQ(receive_with(connection, 100, "a descriptor", got, NULL), 1);
            other = got[0];
            check_name(other, "service");
            send_text(waiting, "to who accepts it");
            send_with(pair, "my listener", &other, 1);
            break;
        }
    }
}

int main(void) {
    int pair[2], to_server[2], to_client[2], status;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    pid_t one = start(to_server, server, pair[0]);
    char ready;
    CHECK(read(to_server[0], &ready, 1) == 1);
    pid_t other = start(to_client, client, pair[1]);
    CHECK(read(to_client[0], &ready, 1) == 1);
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    ask(to_server[0], 'a');
    ask(to_client[0], 's');
    ask(to_server[0], 's');

    save_point();

    ask(to_client[0], 'c');
    ask(to_server[0], 'c');
    check_peer_is(to_server[0], getpid());
    CHECK(close(to_server[0]) == 0 && close(to_client[0]) == 0);
    CHECK(waitpid(one, &status, 0) == one && status == 0);
    CHECK(waitpid(other, &status, 0) == other && status == 0);
    return ok();
}
