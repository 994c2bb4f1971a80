/* For the refusals: a mapping and a descriptor of a file that has been deleted. Untouched, it goes on. */
#include "subject.h"

int main(void) {
    int fd = open("deleted.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0);
    char *mapped = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED);
    fill(mapped, 4 * PAGE, 1);
    CHECK(unlink("deleted.data") == 0);

    save_point();

    check_filled(mapped, 4 * PAGE, 1);
    CHECK(pwrite(fd, "alive", 5, 0) == 5 && memcmp(mapped, "alive", 5) == 0);
    return ok();
}
