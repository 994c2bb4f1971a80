/* A memfd of huge pages, with a descriptor and mappings. */
#include "subject.h"

#define HUGE (2 * MIB)

int main(void) {
    int fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
    NEEDS(fd >= 0, "hugetlbfs");
    CHECK(ftruncate(fd, 2 * HUGE) == 0);
    char *mapped = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEEDS(mapped != MAP_FAILED, "two free huge pages (sysctl vm.nr_hugepages)");
    fill(mapped + HUGE, HUGE, 1);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);

    save_point();

    check_zero(mapped, HUGE);
    check_filled(mapped + HUGE, HUGE, 1);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK);
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0);
    CHECK_EQ(stat.st_size, 2 * HUGE);
    CHECK_EQ(stat.st_blksize, HUGE);
    char *again = mmap(NULL, HUGE, PROT_READ, MAP_SHARED, fd, HUGE);
    CHECK(again != MAP_FAILED);
    check_filled(again, HUGE, 1);
    return ok();
}
