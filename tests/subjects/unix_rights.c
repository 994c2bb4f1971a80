/*
 * Descriptors on their way: some that the program still has, some that only the queue has; in a stream between bytes, with
 * a message, inside a socket that is on its way itself, and a socket in its own queue.
 */
#include "sockets.h"

int main(void) {
    int stream[2], packets[2], inner[2], self[2], got[253], count;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, self) == 0);
    int kept = open("kept", O_RDWR | O_CREAT, 0600), sent = open("sent", O_RDWR | O_CREAT, 0600);
    CHECK(write(kept, "kept", 4) == 4 && write(sent, "sent away", 9) == 9 && lseek(sent, 5, SEEK_SET) == 5);
    send_text(stream[0], "before ");
    send_with(stream[0], "with two", (int[]){kept, sent}, 2);
    send_text(stream[0], "after");
    send_with(stream[0], "again", (int[]){sent}, 1);
    send_with(packets[0], "packet", (int[]){sent}, 1);
    send_text(packets[0], "plain packet");
    CHECK(close(sent) == 0);
    /* one end of a pair that is only on its way, with a descriptor in its queue */
    send_with(inner[0], "nested", (int[]){kept}, 1);
    send_with(packets[0], "a socket", (int[]){inner[1]}, 1);
    CHECK(close(inner[1]) == 0);
    send_with(self[0], "myself and my peer", (int[]){self[1], self[0]}, 2);

    save_point();

    struct stat one, other;
    char text[16] = {0};
    /* who reads the bytes before alone has no descriptors with them */
    CHECK_EQ(receive_with(stream[1], 7, "before ", got, NULL), 0);
    CHECK_EQ(receive_with(stream[1], 100, "with two", got, NULL), 2);
    CHECK(fstat(got[0], &one) == 0 && fstat(kept, &other) == 0 && one.st_ino == other.st_ino);
    CHECK(lseek(kept, 2, SEEK_SET) == 2 && lseek(got[0], 0, SEEK_CUR) == 2);
    CHECK(read(got[1], text, sizeof text) == 4 && memcmp(text, "away", 4) == 0);
    CHECK(lseek(got[1], 1, SEEK_SET) == 1);
    int same = got[1];
    CHECK_EQ(receive_with(stream[1], 100, "afteragain", got, NULL), 1);
    CHECK_EQ(lseek(got[0], 0, SEEK_CUR), 1);
    check_nothing(stream[1]);
    CHECK_EQ(receive_with(packets[1], 100, "packet", got, NULL), 1);
    CHECK(lseek(same, 3, SEEK_SET) == 3 && lseek(got[0], 0, SEEK_CUR) == 3);
    check_read(packets[1], "plain packet");
    CHECK_EQ(receive_with(packets[1], 100, "a socket", got, NULL), 1);
    int travelled = got[0];
    CHECK_EQ(receive_with(travelled, 100, "nested", got, NULL), 1);
    CHECK(lseek(kept, 1, SEEK_SET) == 1 && lseek(got[0], 0, SEEK_CUR) == 1);
    check_talk(travelled, inner[0]);
    count = receive_with(self[1], 100, "myself and my peer", got, NULL);
    CHECK_EQ(count, 2);
    check_talk(got[0], got[1]);
    check_talk(self[0], got[0]);
    return ok();
}
