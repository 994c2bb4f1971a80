/*
 * Runs a command and tells what it cost: the last line on standard output is "maxrss_kib N status N", wait4(2)'s ru_maxrss
 * and the exit code (128 + the signal if one killed it).
 *
 *     bounded PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 2) return 2;
    pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) {
        execv(arguments[1], arguments + 1);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (wait4(child, &status, 0, &usage) != child) return 2;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("maxrss_kib %ld status %d\n", usage.ru_maxrss, code);
    return 0;
}
