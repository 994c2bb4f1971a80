/* Pipes in all states: closed at one end, in packet mode, resized, opened several times, and FIFOs, one without its name. */
#include "subject.h"
#include <poll.h>

static int again(int fd, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int opened = open(path, flags);
    CHECK(opened >= 0);
    return opened;
}

static void check_reads(int fd, const char *wanted) {
    char text[256] = {0};
    CHECK_EQ(read(fd, text, sizeof text - 1), strlen(wanted));
    CHECK(strcmp(text, wanted) == 0);
}

int main(void) {
    int no_writer[2], no_reader[2], packets[2], large[2], many[2], both[2];
    CHECK(pipe(no_writer) == 0 && pipe(no_reader) == 0 && pipe2(packets, O_DIRECT | O_NONBLOCK) == 0);
    CHECK(pipe(large) == 0 && pipe(many) == 0 && pipe(both) == 0);

    CHECK(write(no_writer[1], "left behind", 11) == 11);
    close(no_writer[1]);
    close(no_reader[0]);
    signal(SIGPIPE, SIG_IGN);

    CHECK(write(packets[1], "one", 3) == 3 && write(packets[1], "three", 5) == 5 && write(packets[1], "x", 1) == 1);

    CHECK(fcntl(large[1], F_SETPIPE_SZ, 512 * KIB) >= 0);
    static char block[300 * KIB];
    fill(block, sizeof block, 7);
    CHECK_EQ(write(large[1], block, sizeof block), sizeof block);

    int second = again(many[0], O_RDONLY | O_NONBLOCK), third = again(many[1], O_RDWR);
    CHECK(write(third, "many", 4) == 4);

    int only = again(both[0], O_RDWR);
    close(both[0]);
    close(both[1]);
    CHECK(write(only, "both", 4) == 4);

    CHECK(mkfifo("named", 0600) == 0 && mkfifo("deleted", 0600) == 0);
    int named_in = open("named", O_RDONLY | O_NONBLOCK), named_out = open("named", O_WRONLY);
    int deleted = open("deleted", O_RDWR | O_NONBLOCK);
    CHECK(named_in >= 0 && named_out >= 0 && deleted >= 0);
    CHECK(write(named_out, "fifo", 4) == 4 && write(deleted, "nameless", 8) == 8);
    CHECK(unlink("deleted") == 0);
    /* nobody has written yet, and poll does not tell of an end before somebody has */
    CHECK(mkfifo("awaited", 0600) == 0);
    int awaited = open("awaited", O_RDONLY | O_NONBLOCK);

    save_point();

    struct pollfd reader = {.fd = awaited, .events = POLLIN};
    CHECK(poll(&reader, 1, 0) == 0);
    int writer = open("awaited", O_WRONLY | O_NONBLOCK);
    CHECK(writer >= 0 && write(writer, "first", 5) == 5 && close(writer) == 0);
    CHECK(poll(&reader, 1, 0) == 1 && reader.revents == (POLLIN | POLLHUP));
    check_reads(awaited, "first");

    char c;
    check_reads(no_writer[0], "left behind");
    CHECK_EQ(read(no_writer[0], &c, 1), 0);
    CHECK(write(no_reader[1], "x", 1) == -1 && errno == EPIPE);

    check_reads(packets[0], "one");
    check_reads(packets[0], "three");
    check_reads(packets[0], "x");
    CHECK(read(packets[0], &c, 1) == -1 && errno == EAGAIN);
    CHECK_EQ(fcntl(packets[1], F_GETFL) & (O_DIRECT | O_NONBLOCK), O_DIRECT | O_NONBLOCK);

    CHECK_EQ(fcntl(large[0], F_GETPIPE_SZ), 512 * KIB);
    memset(block, 0, sizeof block);
    for (size_t got = 0; got < sizeof block;) {
        long length = read(large[0], block + got, sizeof block - got);
        CHECK(length > 0);
        got += length;
    }
    check_filled(block, sizeof block, 7);

    CHECK_EQ(fcntl(many[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(second, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    check_reads(second, "many");
    CHECK(write(many[1], "more", 4) == 4);
    check_reads(third, "more");

    check_reads(only, "both");
    CHECK(read(named_in, &c, 1) == 1 && c == 'f');
    CHECK(write(named_out, "!", 1) == 1);
    check_reads(named_in, "ifo!");
    CHECK_EQ(fcntl(named_in, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(fcntl(named_out, F_GETFL) & O_NONBLOCK, 0);
    check_reads(deleted, "nameless");
    CHECK(access("named", F_OK) == 0 && access("deleted", F_OK) == -1);
    return ok();
}
