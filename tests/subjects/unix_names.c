/* Names that lead elsewhere by now, or nowhere: deleted, replaced, renamed, linked, below a directory that is gone, autobound, of full length. */
#include "sockets.h"

int main(void) {
    /* the socket that had the path first goes on, unseen; another has it now */
    int replaced = listening(SOCK_STREAM, "service", 5);
    int old_client = connected(SOCK_STREAM, "service"), old_server = accepted(replaced);
    CHECK(unlink("service") == 0);
    int current = listening(SOCK_STREAM, "service", 5);
    /* deleted with its directory; somebody is connected to it */
    CHECK(mkdir("passing", 0700) == 0);
    int deleted = bound(SOCK_DGRAM, "passing/datagrams");
    int sender = connected(SOCK_DGRAM, "passing/datagrams");
    send_text(sender, "to a name that is gone");
    CHECK(unlink("passing/datagrams") == 0 && rmdir("passing") == 0);
    /* a name of the kernel's making: five hexadecimal digits, abstract */
    int automatic = new_socket(SOCK_DGRAM);
    struct sockaddr_un address = {.sun_family = AF_UNIX}, was = {0};
    CHECK(bind(automatic, (struct sockaddr *)&address, sizeof address.sun_family) == 0);
    socklen_t length = sizeof was;
    CHECK(getsockname(automatic, (struct sockaddr *)&was, &length) == 0 && length == 8);
    /* a name of full length, without a zero at its end */
    struct sockaddr_un longest = {.sun_family = AF_UNIX};
    memset(longest.sun_path, 'x', sizeof longest.sun_path);
    int full = new_socket(SOCK_DGRAM);
    CHECK(bind(full, (struct sockaddr *)&longest, sizeof longest) == 0);
    /* an abstract name with zeros and what is no text */
    struct sockaddr_un odd = {.sun_family = AF_UNIX, .sun_path = {0, 'a', 0, '\xff', 0}};
    memcpy(odd.sun_path + 5, &(pid_t){getpid()}, sizeof(pid_t));
    int abstract = new_socket(SOCK_STREAM);
    CHECK(bind(abstract, (struct sockaddr *)&odd, 11) == 0);
    /* a client with a name */
    int named = bound(SOCK_STREAM, "client");
    connect_to(named, "service");
    int named_server = accepted(current);
    /* renamed when it was ready; another is at its path. One with a link, one that has lost its path to the link */
    int renamed = listening(SOCK_STREAM, "making", 5);
    CHECK(chmod("making", 0640) == 0 && rename("making", "ready") == 0);
    int next = listening(SOCK_STREAM, "making", 5);
    int linked = listening(SOCK_STREAM, "one", 5), moved = listening(SOCK_STREAM, "three", 5);
    CHECK(link("one", "two") == 0 && link("three", "four") == 0 && unlink("three") == 0);

    save_point();

    check_name(replaced, "service");
    check_name(old_server, "service");
    check_talk(old_client, old_server);
    int client = connected(SOCK_STREAM, "service");
    CHECK(fcntl(replaced, F_SETFL, O_NONBLOCK) == 0);
    CHECK(accept(replaced, NULL, NULL) == -1 && errno == EAGAIN);
    check_talk(client, accepted(current));
    check_name(deleted, "passing/datagrams");
    CHECK(access("passing", F_OK) == -1 && errno == ENOENT);
    check_read(deleted, "to a name that is gone");
    send_text(sender, "and again");
    check_read(deleted, "and again");
    struct sockaddr_un is = {0};
    length = sizeof is;
    CHECK(getsockname(automatic, (struct sockaddr *)&is, &length) == 0 && length == 8);
    CHECK(memcmp(&is, &was, 8) == 0);
    int other = new_socket(SOCK_DGRAM);
    CHECK(sendto(other, "found", 5, 0, (struct sockaddr *)&was, 8) == 5);
    check_read(automatic, "found");
    CHECK(sendto(other, "found too", 9, 0, (struct sockaddr *)&longest, sizeof longest) == 9);
    check_read(full, "found too");
    length = sizeof is;
    CHECK(getsockname(abstract, (struct sockaddr *)&is, &length) == 0 && length == 11);
    CHECK(memcmp(&is, &odd, 11) == 0);
    CHECK(listen(abstract, 1) == 0);
    check_name(named, "client");
    check_peer(named_server, "client");
    check_peer(named, "service");
    check_talk(named, named_server);
    check_name(renamed, "making");
    check_name(moved, "three");
    struct stat file, other_name;
    CHECK(lstat("ready", &file) == 0 && (file.st_mode & 0777) == 0640 && access("three", F_OK) == -1);
    CHECK(lstat("one", &file) == 0 && lstat("two", &other_name) == 0 && file.st_ino == other_name.st_ino);
    client = connected(SOCK_STREAM, "ready");
    check_talk(client, accepted(renamed));
    client = connected(SOCK_STREAM, "making");
    check_talk(client, accepted(next));
    client = connected(SOCK_STREAM, "one");
    check_talk(client, accepted(linked));
    client = connected(SOCK_STREAM, "two");
    check_talk(client, accepted(linked));
    client = connected(SOCK_STREAM, "four");
    check_talk(client, accepted(moved));
    return ok();
}
