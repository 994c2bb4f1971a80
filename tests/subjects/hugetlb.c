/* Huge pages of the explicit kind (MAP_HUGETLB), private and shared. */
#include "subject.h"
enum { HUGE = 2 * 1024 * 1024 };

static char *huge(int kind) {
    char *start = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

int main(void) {
    /* let the kernel make huge pages when asked for, and drop them when freed: no memory is set aside */
    FILE *overcommit = fopen("/proc/sys/vm/nr_overcommit_hugepages", "we");
    if (overcommit != NULL) {
        fprintf(overcommit, "64\n");
        fclose(overcommit);
    }
    char *own = huge(MAP_PRIVATE), *shared = huge(MAP_SHARED);
    NEEDS(own != NULL && shared != NULL, "huge pages (vm.nr_overcommit_hugepages or vm.nr_hugepages)");
    fill(own, HUGE, 1);
    fill(shared + HUGE, HUGE, 2);
    CHECK(has_vm_flag(own, "ht") && has_vm_flag(shared, "ht"));

    save_point();

    CHECK(has_vm_flag(own, "ht") && has_vm_flag(shared, "ht"));
    check_filled(own, HUGE, 1);
    check_filled(shared + HUGE, HUGE, 2);
    check_zero(own + HUGE, HUGE);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        strcpy(shared, "still shared");
        strcpy(own, "not shared");
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(strcmp(shared, "still shared") == 0);
    check_filled(own, HUGE, 1);
    return ok();
}
