/*
 * Traces a process as a debugger would, until standard input ends: says "tracing" when it does.
 *
 *     tracer PID
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int count, char **arguments) {
    char byte;
    if (count != 2 || ptrace(PTRACE_SEIZE, atoi(arguments[1]), 0, 0) != 0) return 1;
    if (write(1, "tracing\n", 8) != 8) return 1;
    while (read(0, &byte, 1) > 0) continue;
    return 0;
}
