/* Who is at the other end, and who has sent what: another user than root, who becomes root again. */
#include "sockets.h"
#include <grp.h>

static void check_is(struct ucred who, int pid, int uid, int gid) {
    CHECK_EQ(who.pid, pid);
    CHECK_EQ((int)who.uid, uid);
    CHECK_EQ((int)who.gid, gid);
}

int main(void) {
    NEEDS(geteuid() == 0, "root");
    CHECK(chmod(".", 0777) == 0);
    int listener = listening(SOCK_STREAM, "service", 5), pair[2], tagged[2], got[4];
    gid_t groups[] = {7, 2000}, none;
    int had = getgroups(0, &none);
    CHECK(had <= 0 || setgroups(0, NULL) == 0);
    CHECK(chmod("service", 0777) == 0);
    CHECK(setgroups(2, groups) == 0 && setegid(1001) == 0 && seteuid(1000) == 0);
    int client = connected(SOCK_STREAM, "service");
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(seteuid(0) == 0 && setegid(0) == 0 && setgroups(0, NULL) == 0);
    int server = accepted(listener);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, tagged) == 0);
    send_text(tagged[0], "nobody asked");
    CHECK(setsockopt(tagged[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, 4) == 0);
    send_text(tagged[0], "from root");
    /* here it is the real ids that count */
    CHECK(setresgid(1001, 1001, 0) == 0 && setresuid(1000, 1000, 0) == 0);
    send_text(tagged[0], "from a user");
    CHECK(setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0);

    save_point();

    check_is(peer_credentials(client), getpid(), 0, 0);
    check_is(peer_credentials(server), getpid(), 1000, 1001);
    check_is(peer_credentials(pair[0]), getpid(), 1000, 1001);
    check_is(peer_credentials(pair[1]), getpid(), 1000, 1001);
    check_is(peer_credentials(listener), getpid(), 0, 0);
    gid_t found[16];
    socklen_t length = sizeof found;
    CHECK(getsockopt(server, SOL_SOCKET, 59 /* SO_PEERGROUPS */, found, &length) == 0);
    CHECK(length == 2 * sizeof(gid_t) && found[0] == 7 && found[1] == 2000);
    struct stat status;
    CHECK(fstat(pair[0], &status) == 0 && status.st_uid == 1000 && status.st_gid == 1001);
    CHECK_EQ(int_option(tagged[1], SO_PASSCRED), 1);
    struct ucred who = {.pid = -1};
    receive_with(tagged[1], 100, "nobody asked", got, &who);
    check_is(who, 0, 65534, 65534);
    receive_with(tagged[1], 100, "from root", got, &who);
    check_is(who, getpid(), 0, 0);
    receive_with(tagged[1], 100, "from a user", got, &who);
    check_is(who, getpid(), 1000, 1001);
    check_talk(client, server);
    return ok();
}
