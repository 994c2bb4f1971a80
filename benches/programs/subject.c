// The programs that are checkpointed. Each sets itself up, waits in sigwait(3) (which /proc/PID/syscall tells, so that no
// pipe is needed), and on SIGUSR1 looks whether all is as it was: exit code 0 says so.
//
//     subject memory MIB       that much random memory
//     subject sparse MIB       that much memory, of which every second page is random and the others were never touched
//     subject threads N        that many threads, asleep
//     subject mappings N       that many mappings of a page each, all with contents
//     subject descriptors N    that many open files: eventfds, ends of pipes, sockets and files of their own, in equal parts
//     subject epoll N          that many eventfds, all watched by one epoll
//     subject tree N           64 MiB of random memory, and that many children that have it in common, and wait, too
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static size_t opened;
static int epoll = -1;

// As many descriptors as there can be, as none are kept for anything else.
static void make_room(void)
{
	struct rlimit most;
	getrlimit(RLIMIT_NOFILE, &most);
	most.rlim_cur = most.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &most))
		err(1, "setrlimit");
}

// Every eight: two eventfds, a pipe, a pair of sockets, and two files beside the program, at other offsets.
static void open_all(size_t count)
{
	char name[4096];
	ssize_t length = readlink("/proc/self/exe", name, sizeof name - 32);
	if (length < 0)
		err(1, "readlink");
	make_room();
	for (opened = 0; opened < count; opened += 8) {
		int ends[2];
		if (eventfd(opened + 1, 0) < 0 || eventfd(opened + 2, EFD_SEMAPHORE) < 0 || pipe(ends)
		    || write(ends[1], &opened, sizeof opened) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends)
		    || write(ends[1], &opened, sizeof opened) < 0)
			err(1, "opening");
		for (int i = 0; i < 2; i++) {
			sprintf(name + length, ".%zu", opened + i);
			int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
			if (file < 0 || ftruncate(file, 64) || lseek(file, opened % 64, SEEK_SET) < 0)
				err(1, "%s", name);
		}
	}
}

static void watch_all(size_t count)
{
	make_room();
	epoll = epoll_create1(0);
	for (opened = 0; opened < count; opened++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u64 = opened };
		int watched = eventfd(0, 0);
		if (watched != (int)opened + 4 || epoll_ctl(epoll, EPOLL_CTL_ADD, watched, &event))
			err(1, "watching");
	}
}

static void compare_descriptors(void)
{
	for (size_t i = 0; i < opened && epoll < 0; i += 8) {
		int fd = i + 3;
		uint64_t count = 0, one = 0, byte = 0, message = 0;
		read(fd, &count, 8), read(fd + 1, &one, 8), read(fd + 2, &byte, 8), read(fd + 4, &message, 8);
		off_t where = i % 64;
		if (count != i + 1 || one != 1 || byte != i || message != i || lseek(fd + 6, 0, SEEK_CUR) != where
		    || lseek(fd + 7, 0, SEEK_CUR) != where)
			errx(1, "descriptors from %d on are not as they were", fd);
	}
	for (size_t i = 0; i < opened && epoll >= 0; i++) {
		uint64_t one = 1;
		struct epoll_event told[2];
		write(i + 4, &one, 8);
		if (epoll_wait(epoll, told, 2, 0) != 1 || told[0].data.u64 != i)
			errx(1, "descriptor %zu is not watched as it was", i + 4);
		read(i + 4, &one, 8);
	}
}

enum { TREE_PAGES = 64 << 8, CHECKED_BY_CHILDREN = 16 };
static pid_t *children;
static size_t child_count;

// A child looks at some of the pages, and ends with its parent.
static void bear(size_t count, const sigset_t *wanted)
{
	children = calloc(count, sizeof *children);
	for (; child_count < count; child_count++) {
		pid_t child = children[child_count] = fork();
		if (child < 0)
			err(1, "fork");
		if (child > 0)
			continue;
		if (prctl(PR_SET_PDEATHSIG, SIGKILL))
			_exit(1);
		int signal, same = 1;
		sigwait(wanted, &signal);
		for (size_t i = 0; i < CHECKED_BY_CHILDREN; i++)
			same &= page(i * (TREE_PAGES / CHECKED_BY_CHILDREN), 1);
		_exit(!same);
	}
}

static void ask_children(void)
{
	for (size_t i = 0; i < child_count; i++) {
		int status;
		if (kill(children[i], SIGUSR1) || waitpid(children[i], &status, 0) != children[i] || status != 0)
			errx(1, "child %zu is not as it was", i);
	}
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
	else if (strcmp(argv[1], "descriptors") == 0)
		open_all(size);
	else if (strcmp(argv[1], "epoll") == 0)
		watch_all(size);
	else if (strcmp(argv[1], "tree") == 0)
		reserve(TREE_PAGES), bear(size, &wanted);
	else
		reserve(size << 20 >> 12);
	int signal;
	sigwait(&wanted, &signal);
	for (size_t i = 0; i < pages; i += stride)
		if (!page(i, 1))
			errx(1, "page %zu is not as it was", i);
	compare_descriptors();
	ask_children();
	return 0;
}
