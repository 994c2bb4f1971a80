// Checkpoints itself while three other threads count and allocate, then tells in which copy it is, and that its state
// is what it was: `own FILE FLAGS [MODE]`.
//
// Modes: "ignore" ignores SIGCHLD, so that the helper leaves no status behind; "packet" has a
// packet socket, which is refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rekindle.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 3, BYTES = 4 << 20 };
static atomic_long counters[THREADS];
static atomic_int done;

static void *count(void *at) {
    while (!done) {
        free(malloc(100 + (size_t)rand() % 10000)); // the allocator's locks are taken most of the time
        atomic_fetch_add((atomic_long *)at, 1);
    }
    return NULL;
}

static long least(void) {
    long least = counters[0];
    for (int i = 1; i < THREADS; i++)
        least = counters[i] < least ? counters[i] : least;
    return least;
}

static int count_descriptors(void) {
    int open = 0;
    for (int fd = 0; fd < 256; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 99;
    const char *mode = argc > 3 ? argv[3] : "";
    if (strcmp(mode, "ignore") == 0)
        signal(SIGCHLD, SIG_IGN);
    if (strcmp(mode, "packet") == 0 && socket(AF_PACKET, SOCK_RAW, 0) < 0)
        return 1;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, &counters[i]);
    while (least() < 1000)
        usleep(1000);
    unsigned char *memory = malloc(BYTES);
    for (int i = 0; i < BYTES; i++)
        memory[i] = (unsigned char)(i * 7 / 5);

    int fd = strcmp(argv[1], "-") == 0 ? 99 : open(argv[1], O_CREAT | O_TRUNC | O_RDWR, 0600);
    int descriptors = count_descriptors();
    long before = least();
    int value = rekindle_checkpoint(0, fd, strtoul(argv[2], NULL, 0));
    int error = value < 0 ? errno : 0;
    printf("value %d errno %d %s\n", value, error, rekindle_error());

    long now = least();
    while (least() < now + 1000) // all threads are alive
        usleep(1000);
    done = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < BYTES; i++)
        if (memory[i] != (unsigned char)(i * 7 / 5))
            return 98;
    if (now < before || count_descriptors() != descriptors)
        return 97;
    printf("counted on, descriptor at %ld\n", (long)lseek(fd, 0, SEEK_CUR));
    return value < 0 ? 20 : 10 + value;
}
