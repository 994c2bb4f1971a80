/*
 * The executable and a library of a program that is running have been replaced by new ones, as an upgrade does: the program
 * goes on with the old ones, which nobody can find any more.
 */
#include "subject.h"
#include <dlfcn.h>
#include <sys/sendfile.h>

static void copy(const char *from, const char *to) {
    int source = open(from, O_RDONLY), target = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    struct stat stat;
    CHECK(source >= 0 && target >= 0 && fstat(source, &stat) == 0);
    for (off_t left = stat.st_size; left > 0;) {
        ssize_t sent = sendfile(target, source, NULL, left);
        CHECK(sent > 0);
        left -= sent;
    }
    close(source);
    close(target);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        copy("/proc/self/exe", "program");
        execl("./program", "./program", "again", NULL);
        FAIL("exec: %s\n", strerror(errno));
    }
    (void)argv;
    copy("/usr/lib/x86_64-linux-gnu/libm.so.6", "library.so");
    void *library = dlopen("./library.so", RTLD_NOW);
    NEEDS(library != NULL, "libm");
    double (*cosine)(double) = (double (*)(double))dlsym(library, "cos");
    CHECK(cosine != NULL && cosine(0) == 1.0);
    int new = open("new", O_WRONLY | O_CREAT, 0755);
    CHECK(write(new, "new", 3) == 3 && close(new) == 0);
    CHECK(link("new", "newer") == 0);
    CHECK(rename("new", "library.so") == 0 && rename("newer", "program") == 0);

    save_point();

    CHECK(cosine(0) == 1.0);
    CHECK(dlclose(library) == 0);
    /* it is executed, and nobody may write to it: open(2), ETXTBSY */
    CHECK(open("/proc/self/exe", O_WRONLY) == -1 && errno == ETXTBSY);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char *argument[] = {"true", "again", NULL};
        (void)argument;
        _exit(access("/proc/self/exe", X_OK));
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    CHECK(strcmp(slurp("program"), "new") == 0);
    return ok();
}
