/*
 * Runs a command as if on another machine, or on the same one after a reboot: in a time namespace in which CLOCK_MONOTONIC and
 * CLOCK_BOOTTIME have just come to so many seconds, and (with a file) where /proc tells another boot id, which the file holds.
 *
 *     elsewhere SECONDS FILE|- PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static int failed(const char *what) {
    perror(what);
    return 2;
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    if (strcmp(arguments[2], "-") != 0) {
        if (unshare(CLONE_NEWNS) != 0) return failed("unshare: a mount namespace");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return failed("mount: private");
        if (mount(arguments[2], "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) != 0) return failed("mount: boot_id");
    }
    if (unshare(CLONE_NEWTIME) != 0) return failed("unshare: a time namespace");
    struct timespec monotonic, boottime;
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_BOOTTIME, &boottime);
    FILE *offsets = fopen("/proc/self/timens_offsets", "we");
    if (offsets == NULL) return failed("timens_offsets");
    long seconds = atol(arguments[1]);
    fprintf(offsets, "monotonic %ld 0\nboottime %ld 0\n", seconds - monotonic.tv_sec, seconds - boottime.tv_sec);
    if (fclose(offsets) != 0) return failed("timens_offsets");
    int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWTIME) != 0) return failed("setns");
    execv(arguments[3], arguments + 3);
    return failed(arguments[3]);
}
