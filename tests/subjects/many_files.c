/* Many open files, as many as the argument says and the limit allows: eventfds, pipes, sockets, files; numbers of them twice. */
#include "subject.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { SPARE = 64 };

int main(int count, char **arguments) {
    CHECK_EQ(count, 2);
    int wanted = atoi(arguments[1]);
    struct rlimit most;
    CHECK(getrlimit(RLIMIT_NOFILE, &most) == 0);
    most.rlim_cur = most.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &most) == 0);
    int limit = most.rlim_cur - SPARE < (rlim_t)wanted ? (int)most.rlim_cur - SPARE : wanted;
    int file = open("file", O_RDWR | O_CREAT, 0600), opened[8];
    CHECK(file >= 0 && ftruncate(file, wanted) == 0);
    int begin = file + 1, end;
    for (end = begin; end + 8 < limit; end += 8) {
        uint64_t number = end;
        opened[0] = eventfd(end, EFD_CLOEXEC);
        CHECK(pipe(opened + 1) == 0 && write(opened[2], &number, 8) == 8);
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, opened + 3) == 0 && write(opened[3], &number, 8) == 8);
        opened[5] = open("file", O_RDONLY);
        CHECK(lseek(opened[5], end, SEEK_SET) == end);
        opened[6] = dup(opened[0]);
        opened[7] = dup(file);
        for (int i = 0; i < 8; i++) CHECK_EQ(opened[i], end + i);
    }

    save_point();

    for (int fd = begin; fd < end; fd += 8) {
        uint64_t number = 0;
        CHECK(read(fd + 6, &number, 8) == 8 && number == (uint64_t)fd);
        CHECK(read(fd + 1, &number, 8) == 8 && number == (uint64_t)fd);
        number = 0;
        CHECK(read(fd + 4, &number, 8) == 8 && number == (uint64_t)fd);
        CHECK_EQ(lseek(fd + 5, 0, SEEK_CUR), fd);
        CHECK_EQ(lseek(fd + 7, fd, SEEK_SET), fd);
        CHECK_EQ(lseek(file, 0, SEEK_CUR), fd);
        CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(fd + 6, F_GETFD), 0);
    }
    return ok();
}
