/* What of sockets is refused, by its first argument. Untouched, all of it still works. */
#include "sockets.h"
#include <linux/userfaultfd.h>

int main(int count, char **arguments) {
    int pair[2];
    CHECK(count > 1 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int listener = listening(SOCK_STREAM, "service", 3);
    char what = arguments[1][0], byte;
    if (what == 'w') send_text(connected(SOCK_STREAM, "service"), "waits"); /* to be accepted, with something sent */
    if (what == 'c') CHECK(close(connected(SOCK_STREAM, "service")) == 0);
    if (what == 'o') NEEDS(send(pair[0], "!", 1, MSG_OOB) == 1, "out-of-band data on sockets (CONFIG_AF_UNIX_OOB)");
    static char much[1 << 20];
    if (what == 'm') {
        CHECK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &(int){1 << 23}, 4) == 0);
        CHECK_EQ(send(pair[0], much, sizeof much, 0), sizeof much);
    }
    if (what == 'f') { /* a descriptor on its way, of a kind that is refused */
        int faults = syscall(SYS_userfaultfd, O_NONBLOCK | UFFD_USER_MODE_ONLY);
        NEEDS(faults >= 0, "userfaultfd");
        send_with(pair[0], "x", &faults, 1);
        CHECK(close(faults) == 0);
    }

    save_point();

    int rights[4], server;
    switch (what) {
    case 'w':
        server = accepted(listener);
        check_read(server, "waits");
        break;
    case 'c':
        check_end(accepted(listener));
        break;
    case 'o':
        CHECK(recv(pair[1], &byte, 1, MSG_OOB) == 1 && byte == '!');
        break;
    case 'm':
        CHECK_EQ(recv(pair[1], much, sizeof much, MSG_WAITALL), sizeof much);
        break;
    case 'f':
        CHECK_EQ(receive_with(pair[1], 1, "x", rights, NULL), 1);
        struct uffdio_api api = {.api = UFFD_API};
        CHECK(ioctl(rights[0], UFFDIO_API, &api) == 0);
        break;
    }
    return ok();
}
