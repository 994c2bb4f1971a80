/* Descriptions shared by several descriptors (dup) move together; a second open of the same file moves by itself. */
#include "subject.h"

int main(void) {
    int one = open("shared-offset.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(one >= 0 && write(one, "abcdefghij", 10) == 10 && lseek(one, 2, SEEK_SET) == 2);
    int two = dup(one), three = fcntl(one, F_DUPFD_CLOEXEC, 50);
    int alone = open("shared-offset.data", O_RDWR);
    CHECK(two >= 0 && three >= 50 && alone >= 0);
    /* and a standard stream under a second number */
    CHECK(dup2(2, 40) == 40);

    save_point();

    char c;
    CHECK(read(two, &c, 1) == 1 && c == 'c');
    CHECK(read(three, &c, 1) == 1 && c == 'd');
    CHECK(read(one, &c, 1) == 1 && c == 'e');
    CHECK(read(alone, &c, 1) == 1 && c == 'a');
    CHECK(lseek(one, 0, SEEK_CUR) == 5 && lseek(alone, 0, SEEK_CUR) == 1);
    CHECK_EQ(fcntl(three, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(two, F_GETFD), 0);
    /* flags belong to the description too */
    CHECK(fcntl(two, F_SETFL, O_APPEND) == 0);
    CHECK((fcntl(one, F_GETFL) & O_APPEND) && !(fcntl(alone, F_GETFL) & O_APPEND));
    CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, one, three), 0);
    CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, 2, 40), 0);
    CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, one, alone) != 0);
    return ok();
}
