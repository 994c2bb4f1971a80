// Runs a command and tells, as one line on standard error, what wait4(2) says of it:
//
//     measured STATUS WALL_NS CPU_NS MAXRSS_BYTES
//
// A program of its own because it must be small: the kernel counts the memory of whoever calls execve(2), a copy of its
// parent until then, to the maximum of the program that comes after it.
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long ns(struct timeval t)
{
	return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	long long begin = now_ns();
	pid_t child = fork();
	if (child == 0) {
		execv(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	int status;
	struct rusage usage;
	if (child < 0 || wait4(child, &status, 0, &usage) != child) {
		perror("measure");
		return 1;
	}
	long long end = now_ns();
	fprintf(stderr, "measured %d %lld %lld %lld\n", status, end - begin, ns(usage.ru_utime) + ns(usage.ru_stime),
		usage.ru_maxrss * 1024LL);
	return 0;
}
