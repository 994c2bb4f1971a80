/*
 * What subjects about sockets share: names, and reading messages with all that travels with them.
 */
#ifndef SOCKETS_H
#define SOCKETS_H
#include "subject.h"
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/ioctl.h>

/* The address of a path; of an abstract name, if it begins with '@'. Its length goes to *length. */
UNUSED static struct sockaddr_un address_of(const char *name, socklen_t *length) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = strlen(name);
    memcpy(address.sun_path, name, bytes);
    if (name[0] == '@') address.sun_path[0] = 0;
    *length = offsetof(struct sockaddr_un, sun_path) + bytes + (name[0] != '@');
    return address;
}

UNUSED static int new_socket(int type) {
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    return fd;
}
UNUSED static int bound(int type, const char *name) {
    socklen_t length;
    struct sockaddr_un address = address_of(name, &length);
    int fd = new_socket(type);
    CHECK(bind(fd, (struct sockaddr *)&address, length) == 0);
    return fd;
}
UNUSED static int listening(int type, const char *name, int backlog) {
    int fd = bound(type, name);
    CHECK(listen(fd, backlog) == 0);
    return fd;
}
UNUSED static void connect_to(int fd, const char *name) {
    socklen_t length;
    struct sockaddr_un address = address_of(name, &length);
    CHECK(connect(fd, (struct sockaddr *)&address, length) == 0);
}
UNUSED static int connected(int type, const char *name) {
    int fd = new_socket(type);
    connect_to(fd, name);
    return fd;
}
UNUSED static int accepted(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void check_address(const char *what, int result, struct sockaddr_un *address, socklen_t length, const char *name) {
    socklen_t wanted_length;
    struct sockaddr_un wanted = address_of(name, &wanted_length);
    if (name[0] == 0) wanted_length = offsetof(struct sockaddr_un, sun_path);
    if (result != 0) FAIL("%s: %s\n", what, strerror(errno));
    if (length != wanted_length || memcmp(address, &wanted, length) != 0)
        FAIL("%s: the name has %d bytes and begins with '%c%.90s', not '%s'\n", what, (int)length, address->sun_path[0] ?: '@',
             address->sun_path + 1, name);
}
/* getsockname and getpeername; "" is no name. */
UNUSED static void check_name(int fd, const char *name) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    int result = getsockname(fd, (struct sockaddr *)&address, &length);
    check_address("getsockname", result, &address, length, name);
}
UNUSED static void check_peer(int fd, const char *name) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    int result = getpeername(fd, (struct sockaddr *)&address, &length);
    check_address("getpeername", result, &address, length, name);
}

/* The next message, or what there is of a stream, is this; nothing waits for more. */
UNUSED static void check_read(int fd, const char *wanted) {
    char bytes[512] = {0};
    long length = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length != (long)strlen(wanted) || memcmp(bytes, wanted, length) != 0)
        FAIL("recv(%d) gives %ld (errno %d) and '%s', not '%s'\n", fd, length, errno, bytes, wanted);
}
UNUSED static void check_nothing(int fd) {
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}
UNUSED static void check_end(int fd) {
    char byte;
    CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}
UNUSED static void send_text(int fd, const char *text) { CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text)); }
UNUSED static void check_talk(int one, int other) {
    send_text(one, "from one to the other");
    check_read(other, "from one to the other");
    send_text(other, "and back");
    check_read(one, "and back");
}

/* Sends text with descriptors. */
UNUSED static void send_with(int fd, const char *text, const int *rights, int count) {
    char control[CMSG_SPACE(sizeof(int) * 253)] = {0};
    struct iovec part = {.iov_base = (void *)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), rights, sizeof(int) * count);
    CHECK_EQ(sendmsg(fd, &message, MSG_NOSIGNAL), strlen(text));
}
/* Receives at most `most` bytes, which are this text; gives the number of descriptors that came with it. */
UNUSED static int receive_with(int fd, int most, const char *wanted, int *rights, struct ucred *sender) {
    char bytes[512] = {0}, control[CMSG_SPACE(sizeof(int) * 253) + 256] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = most};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    long length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length != (long)strlen(wanted) || memcmp(bytes, wanted, length) != 0)
        FAIL("recvmsg(%d) gives %ld (errno %d) and '%s', not '%s'\n", fd, length, errno, bytes, wanted);
    int count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_type == SCM_RIGHTS) {
            count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(rights, CMSG_DATA(header), count * sizeof(int));
        } else if (header->cmsg_type == SCM_CREDENTIALS && sender) {
            memcpy(sender, CMSG_DATA(header), sizeof *sender);
        }
    }
    return count;
}

UNUSED static int int_option(int fd, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    CHECK(getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0);
    return value;
}
UNUSED static struct ucred peer_credentials(int fd) {
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0);
    return peer;
}
#endif
