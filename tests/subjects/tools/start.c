/*
 * Starts a program with nothing but the three standard streams: what the test runner itself inherited (a CI's pipes, a
 * build tool's job server) would otherwise be found in every program, and refused as a pipe that nobody declared.
 *
 *     start PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 2) return 2;
    if (close_range(3, ~0u, 0) != 0) return 2;
    execv(arguments[1], arguments + 1);
    fprintf(stderr, "start: %s: %s\n", arguments[1], strerror(errno));
    return 2;
}
