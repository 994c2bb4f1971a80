// Calls the interface once and tells what came of it: `tool checkpoint PID FILE [kill]`, `tool restart FILE [accept]`.
//
// Prints "value V errno E" and then the sentence. A restarted process is waited for, and its exit code is ours.
#include <errno.h>
#include <fcntl.h>
#include <rekindle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(int value) {
    printf("value %d errno %d %s\n", value, value < 0 ? errno : 0, rekindle_error());
    fflush(stdout);
}

static int checkpoint(int pid, const char *file, unsigned long flags) {
    // "-": a descriptor that is not open; "/...": one that is open for reading only, if it says so.
    int fd = strcmp(file, "-") == 0 ? 99 : open(file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    tell(rekindle_checkpoint(pid, fd, flags));
    return 0;
}

static int restart(const char *file, unsigned long flags) {
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    pid_t pid = rekindle_restart(fd, flags);
    tell(pid);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 100;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "version") == 0)
        return strcmp(rekindle_version(), REKINDLE_VERSION) != 0;
    unsigned long flags = argc > 3 ? strtoul(argv[argc - 1], NULL, 0) : 0;
    if (argc == 5 && strcmp(argv[1], "checkpoint") == 0)
        return checkpoint(atoi(argv[2]), argv[3], flags);
    if (argc == 4 && strcmp(argv[1], "restart") == 0)
        return restart(argv[2], flags);
    return 99;
}
