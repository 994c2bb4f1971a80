/* A program that runs from a memfd, sealed, as container runtimes do. */
#include "subject.h"
#include <sys/sendfile.h>

int main(int argc, char **argv) {
    (void)argv;
    if (argc < 2) {
        int program = memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING), self = open("/proc/self/exe", O_RDONLY);
        struct stat stat;
        CHECK(program >= 0 && self >= 0 && fstat(self, &stat) == 0);
        CHECK(sendfile(program, self, NULL, stat.st_size) == stat.st_size);
        CHECK(fcntl(program, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
        CHECK(close(self) == 0);
        char *arguments[] = {"program", "again", NULL};
        fexecve(program, arguments, environ);
        FAIL("fexecve: %s\n", strerror(errno));
    }

    save_point();

    char link[64] = {0};
    CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0);
    CHECK(strcmp(link, "/memfd:program (deleted)") == 0);
    int self = open("/proc/self/exe", O_RDONLY);
    CHECK_EQ(fcntl(self, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    return ok();
}
