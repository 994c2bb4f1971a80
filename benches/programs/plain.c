// What a checkpoint and a restore are compared with: the same bytes, moved by the plainest program there is.
//
//     plain write FILE BYTES           1 MiB at a time, then fsync of the file and of its directory
//     plain write-direct FILE BYTES    the same by O_DIRECT
//     plain read FILE                  into fresh memory of the same size, 1 MiB at a time
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static void *fresh(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	return memory;
}

static void sync_directory(char *file)
{
	int fd = open(dirname(file), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		err(1, "syncing the directory");
}

static int write_file(char *file, size_t bytes, int flags)
{
	uint64_t *piece = fresh(PIECE), x = 88172645463325252ull;
	for (size_t i = 0; i < PIECE / sizeof *piece; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		piece[i] = x;
	}
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		err(1, "%s", file);
	while (bytes > 0) {
		ssize_t n = write(fd, piece, bytes < PIECE ? bytes : PIECE);
		if (n <= 0)
			err(1, "write");
		bytes -= n;
	}
	if (fsync(fd) < 0)
		err(1, "fsync");
	sync_directory(file);
	return 0;
}

static int read_file(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", file);
	char *memory = fresh(st.st_size);
	for (off_t at = 0; at < st.st_size;) {
		off_t left = st.st_size - at;
		ssize_t n = read(fd, memory + at, left < PIECE ? left : PIECE);
		if (n <= 0)
			err(1, "read");
		at += n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "write") == 0)
		return write_file(argv[2], strtoull(argv[3], NULL, 10), 0);
	if (argc == 4 && strcmp(argv[1], "write-direct") == 0)
		return write_file(argv[2], strtoull(argv[3], NULL, 10), O_DIRECT);
	if (argc == 3 && strcmp(argv[1], "read") == 0)
		return read_file(argv[2]);
	errx(2, "plain write|write-direct FILE BYTES, plain read FILE");
}
