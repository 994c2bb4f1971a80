// The programs that are checkpointed. Each sets itself up, waits in sigwait(3) (which /proc/PID/syscall tells, so that no
// pipe is needed), and on SIGUSR1 looks whether all is as it was: exit code 0 says so.
//
//     subject memory MIB       that much random memory
//     subject sparse MIB       that much memory, of which every second page is random and the others were never touched
//     subject threads N        that many threads, asleep
//     subject mappings N       that many mappings of a page each, all with contents
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8 };

static uint64_t *memory;
static size_t pages, stride = 1;
static pthread_barrier_t ready;

// Fills a page, or compares it with what would fill it.
static int page(size_t index, int compare)
{
	uint64_t *words = memory + index * WORDS, x = (index + 1) * 0x9e3779b97f4a7c15ull;
	int same = 1;
	for (size_t i = 0; i < WORDS; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if (compare)
			same &= words[i] == x;
		else
			words[i] = x;
	}
	return same;
}

static void reserve(size_t count)
{
	pages = count;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	for (size_t i = 0; i < pages; i += stride)
		page(i, 0);
}

static void *sleeper(void *nothing)
{
	pthread_barrier_wait(&ready);
	for (;;)
		pause();
	return nothing;
}

static void start_threads(size_t count)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	pthread_barrier_init(&ready, NULL, count + 1);
	for (size_t i = 0; i < count; i++) {
		pthread_t thread;
		if ((errno = pthread_create(&thread, &small, sleeper, NULL)))
			err(1, "pthread_create");
	}
	pthread_barrier_wait(&ready);
}

// Neighbours of different protection are mappings of their own.
static void split(void)
{
	for (size_t i = 0; i < pages; i += 2)
		if (mprotect(memory + i * WORDS, PAGE, PROT_READ))
			err(1, "mprotect");
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	close_range(3, ~0U, 0); // what whoever started the benchmark left open
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	size_t size = strtoull(argv[2], NULL, 10);
	if (strcmp(argv[1], "sparse") == 0)
		stride = 2;
	if (strcmp(argv[1], "threads") == 0)
		start_threads(size);
	else if (strcmp(argv[1], "mappings") == 0)
		reserve(size), split();
	else
		reserve(size << 20 >> 12);
	int signal;
	sigwait(&wanted, &signal);
	for (size_t i = 0; i < pages; i += stride)
		if (!page(i, 1))
			errx(1, "page %zu is not as it was", i);
	return 0;
}
