/* A file mapping that reaches beyond the end of its file: the tail of the last page is zero, what lies behind is SIGBUS. */
#include "subject.h"

int main(void) {
    int fd = open("short.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    static char content[2 * PAGE + 100];
    fill(content, 2 * PAGE, 1);
    memset(content + 2 * PAGE, 'x', 100);
    CHECK(fd >= 0 && write(fd, content, sizeof content) == sizeof content);
    char *shared = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *outside = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 64 * PAGE);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED && outside != MAP_FAILED);
    private[PAGE] = 'p';
    private[2 * PAGE + 200] = 'q'; /* behind the end, in the last page: only this mapping sees it */
    catch_faults();
    CHECK_EQ(signal_of_read(shared + 3 * PAGE), SIGBUS);

    save_point();

    CHECK_EQ(signal_of_read(shared + 3 * PAGE), SIGBUS);
    CHECK_EQ(signal_of_write(private + 7 * PAGE), SIGBUS);
    CHECK_EQ(signal_of_read(outside), SIGBUS);
    CHECK(private[PAGE] == 'p' && private[2 * PAGE + 200] == 'q' && private[2 * PAGE] == 'x');
    CHECK(shared[2 * PAGE + 99] == 'x' && shared[2 * PAGE + 100] == 0);
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    CHECK_EQ(status.st_size, sizeof content);
    CHECK(ftruncate(fd, 8 * PAGE) == 0);
    CHECK_EQ(signal_of_write(shared + 3 * PAGE), 0);
    CHECK_EQ(private[3 * PAGE], 1);
    return ok();
}
