/* Standard output under a second number (`exec 3>&1` in a shell): it leads outside by the same description, and still does. */
#include "subject.h"

int main(void) {
    CHECK(dup2(1, 30) == 30);
    CHECK(fcntl(30, F_SETFD, FD_CLOEXEC) == 0);

    save_point();

    CHECK_EQ(syscall(SYS_kcmp, getpid(), getpid(), 0, 1, 30), 0);
    CHECK_EQ(fcntl(30, F_GETFD), FD_CLOEXEC);
    CHECK(write(30, "ok\n", 3) == 3);
    return 0;
}
