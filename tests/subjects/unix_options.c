/* Options, sizes of buffers, filters, and where looks into a socket are. */
#include "sockets.h"
#include <linux/filter.h>

int main(void) {
    int ends[2], filtered[2], looked[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    struct timeval receive = {.tv_sec = 3, .tv_usec = 500000}, send_time = {.tv_sec = 7};
    struct linger linger = {.l_onoff = 1, .l_linger = 9};
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &send_time, sizeof send_time) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    for (const int *option = (int[]){SO_PASSCRED, SO_PASSSEC, SO_KEEPALIVE, SO_REUSEADDR, SO_BROADCAST, SO_TIMESTAMP, SO_RXQ_OVFL, 0}; *option; option++)
        CHECK(setsockopt(ends[0], SOL_SOCKET, *option, &(int){1}, 4) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_PRIORITY, &(int){5}, 4) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_MARK, &(int){77}, 4) == 0);
    /* more than it may hold by now is in it */
    static char much[100000];
    memset(much, 'm', sizeof much);
    CHECK_EQ(send(ends[1], much, sizeof much, MSG_DONTWAIT), sizeof much);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){4096}, 4) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_RCVBUFFORCE, &(int){9999999}, 4) == 0);
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &(int){5555555}, 4) == 0);
    /* messages that begin with 'y' pass, but what was there before stays */
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, filtered) == 0);
    send_text(filtered[0], "not to pass");
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    CHECK(setsockopt(filtered[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    CHECK(setsockopt(filtered[1], SOL_SOCKET, SO_LOCK_FILTER, &(int){1}, 4) == 0);
    /* looks go on where they were */
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, looked) == 0);
    send_text(looked[0], "abcdef");
    CHECK(setsockopt(looked[1], SOL_SOCKET, SO_PEEK_OFF, &(int){2}, 4) == 0);

    save_point();

    struct timeval found;
    socklen_t length = sizeof found;
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &found, &length) == 0 && found.tv_sec == 3 && found.tv_usec == 500000);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &found, &length) == 0 && found.tv_sec == 7 && found.tv_usec == 0);
    length = sizeof linger;
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff == 1 && linger.l_linger == 9);
    for (const int *option = (int[]){SO_PASSCRED, SO_PASSSEC, SO_KEEPALIVE, SO_REUSEADDR, SO_BROADCAST, SO_TIMESTAMP, SO_RXQ_OVFL, 0}; *option; option++)
        CHECK(int_option(ends[0], *option) == 1 && int_option(ends[1], *option) == 0);
    CHECK_EQ(int_option(ends[0], SO_PRIORITY), 5);
    CHECK_EQ(int_option(ends[0], SO_MARK), 77);
    CHECK_EQ(int_option(ends[1], SO_SNDBUF), 2 * 4096);
    CHECK_EQ(int_option(ends[1], SO_RCVBUF), 2 * 9999999);
    CHECK_EQ(int_option(ends[0], SO_SNDBUF), 2 * 5555555);
    CHECK_EQ(int_option(ends[1], 72 /* SO_BUF_LOCK */), 3);
    CHECK_EQ(int_option(looked[0], 72), 0);
    CHECK_EQ(int_option(looked[0], SO_SNDBUF), int_option(new_socket(SOCK_STREAM), SO_SNDBUF));
    static char got[sizeof much];
    CHECK_EQ(recv(ends[0], got, sizeof got, MSG_WAITALL), sizeof got);
    CHECK(memcmp(got, much, sizeof got) == 0);
    check_read(filtered[1], "not to pass");
    CHECK(send(filtered[0], "not", 3, 0) >= -1);
    check_nothing(filtered[1]);
    send_text(filtered[0], "yes");
    check_read(filtered[1], "yes");
    CHECK_EQ(int_option(filtered[1], SO_LOCK_FILTER), 1);
    CHECK(setsockopt(filtered[1], SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, 4) == -1 && errno == EPERM);
    CHECK_EQ(int_option(looked[1], SO_PEEK_OFF), 2);
    char bytes[8] = {0};
    CHECK_EQ(recv(looked[1], bytes, 2, MSG_PEEK), 2);
    CHECK(memcmp(bytes, "cd", 2) == 0);
    check_read(looked[1], "abcdef");
    CHECK_EQ(int_option(looked[0], SO_PEEK_OFF), -1);
    return ok();
}
